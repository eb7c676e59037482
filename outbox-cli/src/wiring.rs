//! The one place that knows which backends there are.

use crate::failure::Failure;
use crate::ndjson::{NdjsonFile, NdjsonPipe};
use outbox_core::{DeadLetters, DlqHeap, OutboxStorage, Transport};
use outbox_dlq_sqlite::SqliteDlqHeap;
use outbox_store_sqlite::SqliteOutbox;
use std::sync::Arc;

/// Everything that lives behind a store's URL.
pub(crate) struct Backend {
    pub(crate) storage: Arc<dyn OutboxStorage>,
    pub(crate) letters: Arc<dyn DeadLetters>,
    pub(crate) heap: Arc<dyn DlqHeap>,
}

/// The path of a `sqlite:` URL.
fn sqlite_path(url: &str) -> Result<&str, Failure> {
    let allowed = "allowed: sqlite:PATH, such as sqlite:shop.db or sqlite:///var/lib/shop.db";
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(Failure::Input(format!(
            "store {url:?} is not a URL; {allowed}"
        )));
    };
    if scheme != "sqlite" {
        let message = format!("store has the unknown scheme {scheme:?}; {allowed}");
        return Err(Failure::Input(message));
    }
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() {
        return Err(Failure::Input(format!(
            "store {url:?} names no file; {allowed}"
        )));
    }
    Ok(path)
}

/// Opens a store that was migrated before.
pub(crate) async fn open(url: &str) -> Result<Backend, Failure> {
    let path = sqlite_path(url)?;
    let store = SqliteOutbox::open(path).await?;
    let heap = SqliteDlqHeap::open(path).await?;
    Ok(backend(store, heap))
}

/// Creates what is missing, then opens the store.
pub(crate) async fn migrate(url: &str) -> Result<Backend, Failure> {
    let path = sqlite_path(url)?;
    let store = SqliteOutbox::migrate(path).await?;
    let heap = SqliteDlqHeap::migrate(path).await?;
    Ok(backend(store, heap))
}

fn backend(store: SqliteOutbox, heap: SqliteDlqHeap) -> Backend {
    Backend {
        storage: Arc::new(store.clone()),
        letters: Arc::new(store),
        heap: Arc::new(heap),
    }
}

/// The statements of all migrations.
pub(crate) fn migrations() -> impl Iterator<Item = &'static str> {
    outbox_store_sqlite::MIGRATIONS
        .iter()
        .chain(outbox_dlq_sqlite::MIGRATIONS)
        .copied()
}

/// A transport, and a way to learn that its other end is gone for good.
pub(crate) struct Outlet {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) closed: Arc<tokio::sync::Notify>,
}

/// Makes the transport that a URL names.
pub(crate) fn outlet(url: &str) -> Result<Outlet, Failure> {
    if url == "stdout://" || url == "stdout:" {
        let pipe = NdjsonPipe::stdout();
        let closed = pipe.closed();
        return Ok(Outlet {
            transport: Arc::new(pipe),
            closed,
        });
    }
    let path = url
        .strip_prefix("file://")
        .or_else(|| url.strip_prefix("file:"));
    match path.filter(|path| !path.is_empty()) {
        Some(path) => Ok(Outlet {
            transport: Arc::new(NdjsonFile::open(path)?),
            closed: Arc::default(),
        }),
        None => Err(Failure::Input(format!(
            "destination {url:?} is not known; allowed: stdout://, file:PATH"
        ))),
    }
}
