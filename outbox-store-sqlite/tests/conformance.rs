//! The SQLite store passes the suite; each handle and each transaction has its own connection.

use async_trait::async_trait;
use outbox_conformance::ManualClock;
use outbox_conformance::store::{AppTransaction, HoldingFixture, Store, StoreFixture};
use outbox_core::{ErrorKind, Event, OutboxError};
use outbox_store_sqlite::rusqlite::{Connection, DropBehavior, Transaction, TransactionBehavior};
use outbox_store_sqlite::{SqliteOutbox, append};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

struct File {
    clock: ManualClock,
    folder: TempDir,
}

impl File {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut connection = Connection::open(folder.path().join("shop.db")).expect("opened");
        SqliteOutbox::migrate_on(&mut connection).expect("migrated");
        Self {
            clock: ManualClock::new(),
            folder,
        }
    }
}

impl File {
    async fn open(&self) -> SqliteOutbox {
        let store = SqliteOutbox::open(self.folder.path().join("shop.db"))
            .await
            .expect("opened");
        store.with_clock(self.clock.clock())
    }
}

/// A connection whose transaction is left open between the calls, and rolls back with it.
struct Writer(Connection);

impl AppTransaction for Writer {
    fn append(&mut self, events: &[Event]) -> Result<(), OutboxError> {
        let immediate = TransactionBehavior::Immediate;
        let mut tx = Transaction::new(&mut self.0, immediate).map_err(unavailable)?;
        tx.set_drop_behavior(DropBehavior::Ignore);
        append(&tx, events)
    }

    fn commit(self: Box<Self>) -> Result<(), OutboxError> {
        self.0.execute_batch("COMMIT").map_err(unavailable)
    }
}

fn unavailable(error: outbox_store_sqlite::rusqlite::Error) -> OutboxError {
    OutboxError::new(ErrorKind::Unavailable, "sqlite", "test").with_source(error)
}

#[async_trait]
impl StoreFixture for File {
    async fn handle(&self) -> Arc<dyn Store> {
        Arc::new(self.open().await)
    }

    fn begin(&self) -> Box<dyn AppTransaction> {
        let connection = Connection::open(self.folder.path().join("shop.db")).expect("opened");
        connection
            .busy_timeout(Duration::from_secs(10))
            .expect("set");
        Box::new(Writer(connection))
    }

    async fn elapse(&self, time: Duration) {
        self.clock.advance(time);
    }
}

#[async_trait]
impl HoldingFixture for File {
    async fn holding_handle(&self) -> Arc<dyn Store> {
        Arc::new(self.open().await.holding_keys())
    }
}

outbox_conformance::store_suite!(file, File::new(), claims, quarantine, letters, holding);
