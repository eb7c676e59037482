//! Servers for tests: found by a URL in the environment, or started from what is installed.
//!
//! `./test` runs the program of this crate, which brings each server once and names it in the
//! environment for all tests. A test binary that is run by itself starts its own.

mod installed;
mod kind;
mod pgbouncer;
#[cfg(feature = "postgres")]
pub mod postgres;
mod redis;
mod supervised;
#[cfg(feature = "tls")]
pub mod tls;
mod wire;

pub use installed::{Server, search_path};
pub use kind::Kind;
pub use wire::Wire;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Why no server can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The environment names a server, and it does not answer.
    #[error("{variable} names {address}, where nothing answers")]
    Silent {
        /// The variable.
        variable: &'static str,
        /// Host and port, without the user's name and password.
        address: String,
        /// What the connection came to.
        source: std::io::Error,
    },
    /// The environment holds something that is not a URL of a server.
    #[error("{variable} is not a URL such as {example}")]
    NoUrl {
        /// The variable.
        variable: &'static str,
        /// One that would do.
        example: &'static str,
    },
    /// No server is named, and none is installed.
    #[error("no {name} for the tests: install {name} ({programs}), or set {variable}")]
    NotInstalled {
        /// The server.
        name: &'static str,
        /// The programs that were looked for.
        programs: String,
        /// The variable that would name one.
        variable: &'static str,
    },
    /// An installed server does not start.
    #[error("{name} does not start: {log}")]
    DoesNotStart {
        /// The server.
        name: &'static str,
        /// The end of what it printed.
        log: String,
    },
    /// A certificate cannot be made.
    #[cfg(feature = "tls")]
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// A folder or a process cannot be made.
    #[error("cannot start a server")]
    Io(#[from] std::io::Error),
}

/// The URL of a server that answers: the one in the environment, else one from what is installed
/// (see [`search_path`]), started once in this process and gone with it.
///
/// Its data is shared by all tests: each creates its own schema, database or prefix.
///
/// # Errors
///
/// One line that says what to install or which variable to set. A test fails with it.
pub fn url(kind: Kind) -> Result<String, Error> {
    static STARTED: Mutex<Option<HashMap<Kind, Server>>> = Mutex::new(None);
    if let Some(url) = named(kind)? {
        return Ok(url);
    }
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    let servers = started.get_or_insert_default();
    if let Some(server) = servers.get(&kind) {
        return Ok(server.url().to_owned());
    }
    let server = Server::start(kind, &search_path())?;
    let url = server.url().to_owned();
    servers.insert(kind, server);
    Ok(url)
}

/// The URL in the environment, if there is one, after its server has answered.
///
/// # Errors
///
/// [`Error::NoUrl`] and [`Error::Silent`].
pub fn named(kind: Kind) -> Result<Option<String>, Error> {
    match std::env::var(kind.variable()) {
        Ok(url) if !url.is_empty() => kind.check(&url).map(|()| Some(url)),
        _ => Ok(None),
    }
}

/// The first of `folders` that has all of `programs`.
fn find(programs: &[&str], folders: &[PathBuf]) -> Option<PathBuf> {
    let has_all = |folder: &&PathBuf| {
        programs
            .iter()
            .all(|program| folder.join(program).is_file())
    };
    folders.iter().find(has_all).cloned()
}
