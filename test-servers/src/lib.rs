//! Servers for tests, from a URL in the environment or started from an installed program.
//!
//! `./test` runs the program of this crate. It starts each server once and names it in the environment
//! for all tests; RabbitMQ it starts when a test first asks for it. A test binary that runs alone starts
//! its own servers.

mod demand;
mod error;
mod full_disk;
mod installed;
mod kind;
mod launch;
mod nats;
mod pgbouncer;
#[cfg(feature = "postgres")]
pub mod postgres;
mod postmaster;
mod rabbitmq;
mod redis;
mod search;
mod supervised;
#[cfg(feature = "tls")]
pub mod tls;

pub use demand::PROGRAM;
pub use error::Error;
pub use full_disk::{file_on_a_full_disk, on_a_full_disk};
pub use installed::Server;
pub use kind::Kind;
pub use launch::free_ports;
pub use rabbitmq::{MANAGEMENT, management};
pub use search::search_path;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The URL of a server that answers. It is the server that the environment names, or else an installed
/// one (see [`search_path`]), which is started once and stopped when this process ends.
///
/// All tests share the server, so each creates its own schema, database or prefix.
///
/// # Errors
///
/// One line that says what to install or which variable to set.
pub fn url(kind: Kind) -> Result<String, Error> {
    static KNOWN: Mutex<Option<HashMap<Kind, Known>>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if let Some(known) = known.get(&kind) {
        return Ok(known.url.clone());
    }
    let new = Known::find(kind)?;
    let url = new.url.clone();
    known.insert(kind, new);
    Ok(url)
}

/// A server that answered.
struct Known {
    url: String,
    _started: Option<Server>,
}

impl Known {
    fn find(kind: Kind) -> Result<Self, Error> {
        let mut elsewhere = named(kind)?;
        if elsewhere.is_none() && kind.is_on_demand() {
            elsewhere = demand::ask(kind)?;
        }
        if let Some(url) = elsewhere {
            return Ok(Self {
                url,
                _started: None,
            });
        }
        let server = Server::start(kind, &search_path())?;
        Ok(Self {
            url: server.url().to_owned(),
            _started: Some(server),
        })
    }
}

/// The URL in the environment, if there is one. Its server has answered.
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
