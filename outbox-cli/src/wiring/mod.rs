//! The one place that knows which backends there are.

mod backend;
mod brokers;
mod budget;
mod checks;
mod examine;
mod open_files;
mod outlet;
mod pools;
mod postgres;
mod progress;
mod redis;
mod role;
mod sqlite;
mod switches;

pub(crate) use backend::{Backend, Store};
pub(crate) use brokers::{BrokerKind, broker, shown_destination, with_parameters};
pub(crate) use budget::Budget;
pub(crate) use checks::{check_apart, check_urls, shown_place};
pub(crate) use examine::{Finding, Severity, folder, full_disk, orphans};
pub(crate) use open_files::close_files;
pub(crate) use outlet::{Destination, Outlet, destination, outlet};
pub(crate) use pools::Pools;
pub(crate) use postgres::{Database, with_schema};
pub(crate) use role::{DESTINATION, HEAP, INBOX, Role, STORE, SWITCHES};
pub(crate) use switches::SwitchTable;

use crate::failure::Failure;
use crate::settings::Urls;
use outbox_core::DlqHeap;
use redis::Namespace;
use role::has_scheme;
use sqlite::SqliteFile;
use std::sync::Arc;

/// The backend of a URL, by its scheme. No message shows a part of the URL that may hold a password.
pub(crate) fn backend(role: Role, url: &str) -> Result<Box<dyn Backend>, Failure> {
    backend_within(role, url, &Pools::default())
}

/// The same, with connections of these pools.
fn backend_within(role: Role, url: &str, pools: &Pools) -> Result<Box<dyn Backend>, Failure> {
    if has_scheme(url, sqlite::SCHEMES) {
        return Ok(Box::new(SqliteFile::parse(role, url)?.within(pools)));
    }
    if has_scheme(url, postgres::SCHEMES) {
        return Ok(Box::new(Database::parse(role, url)?.within(pools)));
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

/// Opens a store that was migrated before.
pub(crate) async fn open_store(url: &str) -> Result<Store, Failure> {
    backend(STORE, url)?.store(false).await
}

/// The same for a relay. With `block_keys`, a dead letter blocks its key.
pub(crate) async fn open_store_for_relay(
    url: &str,
    block_keys: bool,
    pools: &Pools,
) -> Result<Store, Failure> {
    backend_within(STORE, url, pools)?.store(block_keys).await
}

/// Opens a heap that was migrated before.
pub(crate) async fn open_heap(url: &str) -> Result<Arc<dyn DlqHeap>, Failure> {
    backend(HEAP, url)?.heap().await
}

/// Opens a heap for a relay, whose delivery does not wait for it.
pub(crate) async fn open_heap_for_relay(
    url: &str,
    pools: &Pools,
) -> Result<Arc<dyn DlqHeap>, Failure> {
    backend_within(HEAP, url, pools)?.heap_for_relay().await
}

/// Opens the table of the destinations that are off.
pub(crate) async fn open_switches(url: &str) -> Result<Arc<dyn SwitchTable>, Failure> {
    Ok(backend(SWITCHES, url)?.switches().await?)
}

/// The store, the heap, and the table of the destinations that are off.
pub(crate) fn store_and_heap(urls: &Urls) -> Result<Vec<Box<dyn Backend>>, Failure> {
    Ok(vec![
        backend(STORE, &urls.store)?,
        backend(HEAP, &urls.heap)?,
        backend(SWITCHES, &urls.store)?,
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
