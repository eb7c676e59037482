//! The memory heap passes the suite.

use async_trait::async_trait;
use outbox_conformance::{ManualClock, heap::HeapFixture};
use outbox_core::{DlqEntry, DlqHeap};
use outbox_dlq_memory::MemoryDlqHeap;
use std::sync::Arc;
use std::time::Duration;

struct Memory {
    clock: ManualClock,
    heap: MemoryDlqHeap,
}

impl Memory {
    fn new() -> Self {
        let clock = ManualClock::new();
        let heap = MemoryDlqHeap::new().with_clock(clock.clock());
        Self { clock, heap }
    }
}

#[async_trait]
impl HeapFixture for Memory {
    async fn handle(&self) -> Arc<dyn DlqHeap> {
        Arc::new(self.heap.clone())
    }

    async fn neighbour(&self) -> Arc<dyn DlqHeap> {
        Arc::new(MemoryDlqHeap::new().with_clock(self.clock.clock()))
    }

    async fn elapse(&self, time: Duration) {
        self.clock.advance(time);
    }

    async fn plant(&self, entry: DlqEntry) {
        self.heap.restore(entry);
    }
}

outbox_conformance::dlq_heap_suite!(memory, Memory::new(), counting, races, leases, cancellation);
