//! The heap on redb passes the suite.

use async_trait::async_trait;
use dlq_redb::RedbDlqHeap;
use outbox_conformance::{Folder, ManualClock, heap::HeapFixture};
use outbox_core::{DlqEntry, DlqHeap};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

struct Redb {
    folder: Folder,
    clock: ManualClock,
    /// A file is open once in a process, so handles share it; it closes with the last of them.
    open: Mutex<Weak<RedbDlqHeap>>,
}

impl Redb {
    fn new() -> Self {
        Self {
            folder: Folder::new(),
            clock: ManualClock::new(),
            open: Mutex::default(),
        }
    }

    fn shared(&self) -> Arc<RedbDlqHeap> {
        let mut open = self.open.lock().expect("no panic");
        open.upgrade().unwrap_or_else(|| {
            let heap = Arc::new(self.file("heap.redb"));
            *open = Arc::downgrade(&heap);
            heap
        })
    }

    fn file(&self, name: &str) -> RedbDlqHeap {
        let heap = RedbDlqHeap::open(self.folder.path().join(name));
        heap.expect("opened").with_clock(self.clock.clock())
    }
}

#[async_trait]
impl HeapFixture for Redb {
    async fn handle(&self) -> Arc<dyn DlqHeap> {
        self.shared()
    }

    async fn neighbour(&self) -> Arc<dyn DlqHeap> {
        Arc::new(self.file("neighbour.redb"))
    }

    async fn elapse(&self, time: Duration) {
        self.clock.advance(time);
    }

    async fn plant(&self, entry: DlqEntry) {
        self.shared().restore(entry).await.expect("planted");
    }
}

outbox_conformance::dlq_heap_suite!(
    redb,
    Redb::new(),
    counting,
    races,
    leases,
    cancellation,
    durability,
);
