//! The one place that knows which backends there are.

mod backend;
mod brokers;
mod open_files;
mod outlet;
mod postgres;
mod progress;
mod redis;
mod role;
mod sqlite;

pub(crate) use backend::{Backend, Store};
pub(crate) use brokers::{BrokerKind, broker};
pub(crate) use open_files::close_files;
pub(crate) use outlet::{Destination, Outlet, destination, outlet};
pub(crate) use postgres::{Database, with_schema};
pub(crate) use role::{DESTINATION, HEAP, INBOX, Role, STORE};

use crate::failure::Failure;
use crate::settings::Urls;
use outbox_core::DlqHeap;
use redis::Namespace;
use role::has_scheme;
use sqlite::SqliteFile;
use std::sync::Arc;

/// The backend of a URL, by its scheme. No message shows a part of the URL that may hold a password.
pub(crate) fn backend(role: Role, url: &str) -> Result<Box<dyn Backend>, Failure> {
    if has_scheme(url, sqlite::SCHEMES) {
        return Ok(Box::new(SqliteFile::parse(role, url)?));
    }
    if has_scheme(url, postgres::SCHEMES) {
        return Ok(Box::new(Database::parse(role, url)?));
    }
    if has_scheme(url, redis::SCHEMES) {
        return Ok(Box::new(Namespace::parse(role, url)?));
    }
    Err(role.unknown(url))
}

/// The table of a destination, from the URL that a relay has. Only PostgreSQL has one.
pub(crate) fn table(url: &str) -> Result<Box<dyn Backend>, Failure> {
    if Database::is_url(url) {
        return backend(DESTINATION, &broker(url)?.1);
    }
    let message = "destination has no tables, so nothing is to migrate; allowed: \
                   postgres://USER@HOST/DATABASE, with ?schema=NAME unless it is outbox";
    Err(Failure::Input(message.to_owned()))
}

/// Opens a store that was migrated before. With `block_keys`, a dead letter blocks its key.
pub(crate) async fn open_store(url: &str, block_keys: bool) -> Result<Store, Failure> {
    backend(STORE, url)?.store(block_keys).await
}

/// Opens a heap that was migrated before.
pub(crate) async fn open_heap(url: &str) -> Result<Arc<dyn DlqHeap>, Failure> {
    backend(HEAP, url)?.heap().await
}

/// Opens a heap for a relay, whose delivery does not wait for it.
pub(crate) async fn open_heap_for_relay(url: &str) -> Result<Arc<dyn DlqHeap>, Failure> {
    backend(HEAP, url)?.heap_for_relay().await
}

/// The store and the heap.
pub(crate) fn store_and_heap(urls: &Urls) -> Result<Vec<Box<dyn Backend>>, Failure> {
    Ok(vec![
        backend(STORE, &urls.store)?,
        backend(HEAP, &urls.heap)?,
    ])
}

/// Creates the missing tables. All backends are checked before anything is created.
pub(crate) async fn migrate(backends: &[Box<dyn Backend>]) -> Result<(), Failure> {
    for backend in backends {
        backend.applied().await?;
    }
    for backend in backends {
        backend.migrate().await?;
    }
    Ok(())
}
