//! The SQLite heap passes the suite, in memory and in a file that each handle opens by itself.

use async_trait::async_trait;
use outbox_conformance::ManualClock;
use outbox_conformance::heap::{CorruptFixture, HeapFixture, NamedFixture};
use outbox_core::{DlqEntry, DlqHeap, EventId, OutboxError};
use outbox_dlq_sqlite::SqliteDlqHeap;
use outbox_dlq_sqlite::rusqlite::Connection;
use outbox_driver_sqlite::micros;
use std::path::{Path, PathBuf};
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
        Self {
            clock: ManualClock::new(),
            folder,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("heap.db")
    }

    async fn open(&self, path: &Path) -> Arc<dyn DlqHeap> {
        let heap = SqliteDlqHeap::migrate(path).await.expect("opened");
        Arc::new(heap.with_clock(self.clock.clock()))
    }
}

#[async_trait]
impl HeapFixture for File {
    async fn handle(&self) -> Arc<dyn DlqHeap> {
        self.open(&self.path()).await
    }

    async fn neighbour(&self) -> Arc<dyn DlqHeap> {
        self.open(&self.folder.path().join("heap.db 2 'é\".db"))
            .await
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
        let connection = Connection::open(self.path()).expect("opened");
        connection.execute(insert, values).expect("planted");
    }
}

#[async_trait]
impl NamedFixture for File {
    async fn named(&self, name: &str) -> Result<Arc<dyn DlqHeap>, OutboxError> {
        let heap = SqliteDlqHeap::migrate(self.folder.path().join(name)).await?;
        Ok(Arc::new(heap.with_clock(self.clock.clock())))
    }
}

#[async_trait]
impl CorruptFixture for File {
    async fn plant_corrupt(&self, id: EventId) -> Vec<EventId> {
        let connection = Connection::open(self.path()).expect("opened");
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
    File::new(),
    counting,
    races,
    leases,
    durability,
    names,
    corruption,
);
