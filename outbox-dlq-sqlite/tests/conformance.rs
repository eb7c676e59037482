//! The SQLite heap passes the suite, in memory and in a file that each handle opens by itself.

use async_trait::async_trait;
use outbox_conformance::{ManualClock, heap::HeapFixture};
use outbox_core::{DlqEntry, DlqHeap};
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

outbox_conformance::dlq_heap_suite!(file, File::new(), counting, races, leases, durability);
