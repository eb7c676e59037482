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
    static STARTED: Mutex<Option<HashMap<Kind, Server>>> = Mutex::new(None);
    if let Some(url) = named(kind)? {
        return Ok(url);
    }
    if kind.is_on_demand()
        && let Some(url) = demand::ask(kind)?
    {
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
