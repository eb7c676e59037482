//! The SQLite heap passes the suite, in memory and in files; each handle has its own connection.

use async_trait::async_trait;
use outbox_conformance::heap::{CorruptFixture, HeapFixture, NamedFixture};
use outbox_conformance::{Folder, ManualClock};
use outbox_core::{DlqEntry, DlqHeap, EventId, OutboxError};
use outbox_dlq_sqlite::rusqlite::Connection;
use outbox_dlq_sqlite::{SqliteConfig, SqliteDlqHeap, memory_uri};
use outbox_driver_sqlite::micros;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Databases in files or in memory.
struct Sqlite {
    clock: ManualClock,
    place: Place,
}

enum Place {
    Files(Folder),
    /// The prefix of all names, and connections that keep the databases while no handle is open.
    Memory(String, Mutex<Vec<Connection>>),
}

impl Sqlite {
    fn in_files() -> Self {
        Self {
            clock: ManualClock::new(),
            place: Place::Files(Folder::new()),
        }
    }

    fn in_memory() -> Self {
        let name = EventId::new().to_string();
        Self {
            clock: ManualClock::new(),
            place: Place::Memory(name, Mutex::default()),
        }
    }

    async fn open(&self, name: &str) -> Result<Arc<dyn DlqHeap>, OutboxError> {
        let heap = match &self.place {
            Place::Files(folder) => SqliteDlqHeap::migrate(folder.path().join(name)).await?,
            Place::Memory(prefix, kept) => {
                let name = format!("{prefix}.{name}");
                let heap = SqliteDlqHeap::migrate(SqliteConfig::in_memory(&name)).await?;
                let connection = Connection::open(memory_uri(&name)?).expect("opened");
                kept.lock().expect("no panic").push(connection);
                heap
            }
        };
        Ok(Arc::new(heap.with_clock(self.clock.clock())))
    }

    fn connect(&self) -> Connection {
        let opened = match &self.place {
            Place::Files(folder) => Connection::open(folder.path().join(HEAP)),
            Place::Memory(prefix, _) => {
                Connection::open(memory_uri(&format!("{prefix}.{HEAP}")).expect("a name"))
            }
        };
        opened.expect("opened")
    }
}

const HEAP: &str = "heap.db";

#[async_trait]
impl HeapFixture for Sqlite {
    async fn handle(&self) -> Arc<dyn DlqHeap> {
        self.open(HEAP).await.expect("opened")
    }

    async fn neighbour(&self) -> Arc<dyn DlqHeap> {
        self.open("heap.db-2").await.expect("opened")
    }

    async fn elapse(&self, time: Duration) {
        self.clock.advance(time);
    }

    async fn plant(&self, entry: DlqEntry) {
        let insert = "INSERT INTO outbox_dlq_heap
            (event_id, failure_count, first_failed_at, last_failed_at) VALUES (?1, ?2, ?3, ?4)";
        let (first, last) = (micros(entry.first_failed_at), micros(entry.last_failed_at));
        let values = (
            entry.id.as_uuid().as_bytes(),
            entry.failure_count,
            first,
            last,
        );
        let connection = self.connect();
        connection.execute(insert, values).expect("planted");
    }
}

#[async_trait]
impl NamedFixture for Sqlite {
    async fn named(&self, name: &str) -> Result<Arc<dyn DlqHeap>, OutboxError> {
        self.open(name).await
    }
}

#[async_trait]
impl CorruptFixture for Sqlite {
    async fn plant_corrupt(&self, id: EventId) -> Vec<EventId> {
        let connection = self.connect();
        let unchecked = connection.pragma_update(None, "ignore_check_constraints", true);
        unchecked.expect("set");
        let plant = |id: &[u8], count: i64, error: &[u8]| {
            let insert = "INSERT INTO outbox_dlq_heap
                (event_id, failure_count, last_error, first_failed_at, last_failed_at)
                VALUES (?1, ?2, CAST(?3 AS TEXT), 2, 1)";
            let planted = connection.execute(insert, (id, count, error));
            planted.expect("planted");
        };
        let new = || *EventId::new().as_uuid().as_bytes();
        plant(id.as_uuid().as_bytes(), -1, b"a bad count");
        plant(&new(), 0, b"a bad count");
        plant(&new(), 1 << 32, b"a bad count");
        plant(&new(), i64::MAX, b"a bad count");
        plant(&new()[..15], 7, b"a short id");
        plant(&[&new()[..], b"+"].concat(), 7, b"a long id");
        let whole = EventId::new();
        plant(whole.as_uuid().as_bytes(), 1, b"not UTF-8: \xff");
        vec![whole]
    }
}

outbox_conformance::dlq_heap_suite!(
    file,
    Sqlite::in_files(),
    counting,
    races,
    leases,
    cancellation,
    durability,
    names,
    corruption,
);
outbox_conformance::dlq_heap_suite!(
    memory,
    Sqlite::in_memory(),
    counting,
    races,
    leases,
    cancellation,
    names,
    corruption,
);
