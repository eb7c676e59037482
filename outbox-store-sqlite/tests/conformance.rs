//! The SQLite store passes the suite; each handle and each transaction has its own connection.

use async_trait::async_trait;
use outbox_conformance::ManualClock;
use outbox_conformance::store::{
    AppTransaction, BystanderFixture, HoldingFixture, RestoreFixture, Store, StoreFixture,
};
use outbox_core::{ErrorKind, Event, OutboxError};
use outbox_store_sqlite::rusqlite::{Connection, DropBehavior, Transaction, TransactionBehavior};
use outbox_store_sqlite::{SqliteOutbox, append};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

struct File {
    clock: ManualClock,
    folder: TempDir,
    name: Mutex<&'static str>,
}

impl File {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = Self {
            clock: ManualClock::new(),
            folder,
            name: Mutex::new("shop.db"),
        };
        let mut connection = Connection::open(file.path()).expect("opened");
        SqliteOutbox::migrate_on(&mut connection).expect("migrated");
        file
    }

    fn path(&self) -> PathBuf {
        self.folder
            .path()
            .join(*self.name.lock().expect("no panic"))
    }

    async fn open(&self) -> SqliteOutbox {
        let store = SqliteOutbox::open(self.path()).await.expect("opened");
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
        let connection = Connection::open(self.path()).expect("opened");
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

#[async_trait]
impl BystanderFixture for File {
    async fn begin_elsewhere(&self) -> Box<dyn Send> {
        let reader = Connection::open(self.path()).expect("opened");
        let read = "BEGIN; SELECT count(*) FROM outbox_events; SELECT count(*) FROM outbox_keys";
        reader.execute_batch(read).expect("read");
        Box::new(reader)
    }
}

#[async_trait]
impl RestoreFixture for File {
    async fn back_up(&self) {
        let connection = Connection::open(self.path()).expect("opened");
        let copy = self.folder.path().join("copy.db");
        let copied = connection.execute("VACUUM INTO ?1", [copy.to_str().expect("UTF-8")]);
        copied.expect("copied");
    }

    async fn restore(&self) {
        *self.name.lock().expect("no panic") = "copy.db";
    }
}

outbox_conformance::store_suite!(
    file,
    File::new(),
    claims,
    races,
    quarantine,
    letters,
    holding,
    bystanders,
    restoring,
);
