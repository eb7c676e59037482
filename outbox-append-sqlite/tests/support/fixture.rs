//! An outbox in a file of a temporary folder. The tests of each crate that appends in the transactions of a
//! data layer on SQLite include this file, and add how their layer connects and does a transaction.

use async_trait::async_trait;
use outbox_conformance::append::AppendFixture;
use outbox_conformance::store::Store;
use outbox_core::ClaimLimit;
use outbox_store_sqlite::{SqliteStore, rusqlite::Connection};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) struct Fixture {
    folder: tempfile::TempDir,
    /// Counted by the connections of the layer.
    pub(crate) statements: Arc<AtomicU64>,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let fixture = Self {
            folder: tempfile::tempdir().expect("a folder"),
            statements: Arc::default(),
        };
        let migrated = SqliteStore::migrate(fixture.path()).await;
        migrated.expect("migrated").close().await.expect("closed");
        fixture
    }

    pub(crate) fn path(&self) -> String {
        let path = self.folder.path().join("shop.db");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// Runs statements on a connection of rusqlite.
    pub(crate) fn elsewhere(&self) -> Connection {
        Connection::open(self.path()).expect("opened")
    }

    /// The types of the events that can be claimed, sorted.
    pub(crate) async fn types(&self) -> Vec<String> {
        let store = self.store().await;
        let claim = store.claim(ClaimLimit::events(100), Duration::from_secs(30));
        let events = claim.await.expect("claimed").events;
        let mut types: Vec<String> = events.into_iter().map(|it| it.event.event_type).collect();
        types.sort_unstable();
        types
    }
}

#[async_trait]
impl AppendFixture for Fixture {
    async fn store(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(self.path()).await.expect("opened"))
    }

    async fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    async fn remove_tables(&self) {
        let dropped = self.elsewhere().execute_batch("DROP TABLE outbox_events");
        dropped.expect("dropped");
    }
}
