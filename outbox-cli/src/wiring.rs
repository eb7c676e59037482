//! From URLs to backends. No other module of the command knows which stores there are.

use crate::exit::{Outcome, bad_input};
use outbox_core::{DeadLetters, DlqHeap, OutboxStorage};
use outbox_dlq_sqlite::SqliteDlqHeap;
use outbox_store_sqlite::SqliteOutbox;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One database, in the roles that the commands need.
pub(crate) struct Backend {
    pub(crate) storage: Arc<dyn OutboxStorage>,
    pub(crate) letters: Arc<dyn DeadLetters>,
    pub(crate) heap: Arc<dyn DlqHeap>,
}

impl Backend {
    fn new(store: SqliteOutbox, heap: SqliteDlqHeap) -> Self {
        let store = Arc::new(store);
        Self {
            storage: Arc::<SqliteOutbox>::clone(&store),
            letters: store,
            heap: Arc::new(heap),
        }
    }
}

/// Opens a store, and the heap in the same database unless another is named.
pub(crate) async fn open(store: &str, heap: Option<&str>) -> Outcome<Backend> {
    let path = sqlite_path("--store", store)?;
    let heap_path = heap.map_or_else(|| Ok(path.clone()), |url| sqlite_path("--heap", url))?;
    for (path, url) in [(&path, store), (&heap_path, heap.unwrap_or(store))] {
        if !path.is_file() {
            return Err(bad_input(format!(
                "there is no database file {}; make it with: outbox migrate --store {url}",
                path.display()
            )));
        }
    }
    Ok(Backend::new(
        SqliteOutbox::open(&path).await?,
        SqliteDlqHeap::open(&heap_path).await?,
    ))
}

/// Makes or upgrades the tables of store and heap.
pub(crate) async fn migrate(store: &str) -> Outcome<Backend> {
    migrate_file(&sqlite_path("--store", store)?).await
}

/// Makes or upgrades the tables of store and heap in one file.
pub(crate) async fn migrate_file(path: &Path) -> Outcome<Backend> {
    Ok(Backend::new(
        SqliteOutbox::migrate(path).await?,
        SqliteDlqHeap::migrate(path).await?,
    ))
}

/// The statements that `migrate` runs, oldest first.
pub(crate) fn statements() -> impl Iterator<Item = &'static str> {
    let store = outbox_store_sqlite::MIGRATIONS.iter();
    store.chain(outbox_dlq_sqlite::MIGRATIONS).copied()
}

fn sqlite_path(option: &str, url: &str) -> Outcome<PathBuf> {
    let path = url
        .strip_prefix("sqlite:")
        .map(|rest| rest.strip_prefix("//").unwrap_or(rest))
        .filter(|rest| !rest.is_empty());
    path.map(PathBuf::from).ok_or_else(|| {
        bad_input(format!(
            "{option} {url:?} is not allowed: sqlite:PATH, such as sqlite:outbox-demo/shop.db"
        ))
    })
}
