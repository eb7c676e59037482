//! The SQLite store passes the suite, in memory and in a file; each handle and each transaction has its own connection.

use async_trait::async_trait;
use outbox_conformance::registry::{BlockingFixture, Observed, RegistryFixture};
use outbox_conformance::store::{
    AppTransaction, BystanderFixture, Edit, EditFixture, HoldingFixture, RestoreFixture, Store,
    StoreFixture,
};
use outbox_conformance::{Folder, ManualClock};
use outbox_core::{ErrorKind, Event, EventId, OutboxError};
use outbox_store_sqlite::rusqlite::{Connection, DropBehavior, Transaction, TransactionBehavior};
use outbox_store_sqlite::{SqliteConfig, SqliteStore, append, memory_uri};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A database in a file, or in memory without a folder.
struct Sqlite {
    clock: ManualClock,
    folder: Option<Folder>,
    name: Mutex<String>,
    /// Keeps a database in memory while it has no handle.
    _kept: Mutex<Connection>,
}

impl Sqlite {
    fn new(folder: Option<Folder>, name: String) -> Self {
        let connection = connect(folder.as_ref(), &name);
        let migrated = connection.execute_batch(&SqliteStore::script());
        migrated.expect("migrated");
        Self {
            clock: ManualClock::new(),
            folder,
            name: Mutex::new(name),
            _kept: Mutex::new(connection),
        }
    }

    fn in_a_file() -> Self {
        Self::new(Some(Folder::new()), "shop.db".to_owned())
    }

    fn in_memory() -> Self {
        Self::new(None, EventId::new().to_string())
    }

    fn name(&self) -> String {
        self.name.lock().expect("no panic").clone()
    }

    fn connect(&self) -> Connection {
        connect(self.folder.as_ref(), &self.name())
    }

    async fn open(&self) -> SqliteStore {
        let config = match &self.folder {
            Some(folder) => SqliteConfig::new(folder.path().join(self.name())),
            None => SqliteConfig::in_memory(self.name()),
        };
        let opened = SqliteStore::open(config).await;
        opened.expect("opened").with_clock(self.clock.clock())
    }
}

fn connect(folder: Option<&Folder>, name: &str) -> Connection {
    let opened = match folder {
        Some(folder) => Connection::open(folder.path().join(name)),
        None => Connection::open(memory_uri(name).expect("a name")),
    };
    let connection = opened.expect("opened");
    let set = connection.busy_timeout(Duration::from_secs(10));
    set.expect("set");
    connection
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
impl StoreFixture for Sqlite {
    async fn handle(&self) -> Arc<dyn Store> {
        Arc::new(self.open().await)
    }

    fn begin(&self) -> Box<dyn AppTransaction> {
        Box::new(Writer(self.connect()))
    }

    async fn elapse(&self, time: Duration) {
        self.clock.advance(time);
    }
}

#[async_trait]
impl EditFixture for Sqlite {
    async fn edit(&self, edit: Edit) {
        let mut connection = self.connect();
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let tx = tx.expect("begun");
        let delete = |id: &EventId| {
            let sql = "DELETE FROM outbox_events WHERE id = ?1";
            tx.execute(sql, [id.as_uuid().as_bytes()])
        };
        let edited = match &edit {
            Edit::Delete(id) => delete(id),
            Edit::Replace(event) => {
                let deleted = delete(&event.id);
                append(&tx, std::slice::from_ref(event)).expect("appended");
                deleted
            }
            Edit::ChangeKey(id, key) => {
                let sql = "UPDATE outbox_events SET ordering_key = ?2 WHERE id = ?1";
                tx.execute(sql, (id.as_uuid().as_bytes(), key))
            }
            _ => unreachable!("no case asks for another edit"),
        };
        assert_eq!(edited, Ok(1), "{edit:?}");
        tx.commit().expect("committed");
    }
}

#[async_trait]
impl HoldingFixture for Sqlite {
    async fn holding_handle(&self) -> Arc<dyn Store> {
        Arc::new(self.open().await.block_key_on_dead_letter())
    }
}

#[async_trait]
impl RegistryFixture for Sqlite {
    async fn observed(&self) -> Arc<dyn Observed> {
        Arc::new(self.open().await)
    }
}

#[async_trait]
impl BlockingFixture for Sqlite {
    async fn blocking_handle(&self) -> Arc<dyn Observed> {
        Arc::new(self.open().await.block_key_on_dead_letter())
    }
}

#[async_trait]
impl BystanderFixture for Sqlite {
    async fn begin_elsewhere(&self) -> Box<dyn Send> {
        let reader = self.connect();
        let read = "BEGIN; SELECT count(*) FROM outbox_events; SELECT count(*) FROM outbox_keys";
        reader.execute_batch(read).expect("read");
        Box::new(reader)
    }
}

#[async_trait]
impl RestoreFixture for Sqlite {
    async fn back_up(&self) {
        let connection = self.connect();
        let folder = self.folder.as_ref().expect("a file");
        let copy = folder.path().join(COPY);
        let copied = connection.execute("VACUUM INTO ?1", [copy.to_str().expect("UTF-8")]);
        copied.expect("copied");
    }

    async fn restore(&self) {
        COPY.clone_into(&mut self.name.lock().expect("no panic"));
    }
}

const COPY: &str = "copy.db";

outbox_conformance::store_suite!(
    file,
    Sqlite::in_a_file(),
    claims,
    settlements,
    outcomes,
    kept,
    flights,
    held,
    budgets,
    shares,
    races,
    quarantine,
    dead_letters,
    cancellation,
    passes,
    holding,
    edits,
    bystanders,
    restoring,
);
outbox_conformance::store_suite!(
    memory,
    Sqlite::in_memory(),
    claims,
    settlements,
    outcomes,
    kept,
    flights,
    held,
    budgets,
    shares,
    races,
    quarantine,
    dead_letters,
    cancellation,
    passes,
    holding,
    edits,
);
outbox_conformance::registry_suite!(
    file_registry,
    Sqlite::in_a_file(),
    reports,
    overviews,
    blocking,
    cancellation
);
outbox_conformance::registry_suite!(
    memory_registry,
    Sqlite::in_memory(),
    reports,
    overviews,
    blocking,
    cancellation
);
