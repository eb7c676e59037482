//! The memory heap passes the suite, also behind an `Arc`, as a relay shares it.

use async_trait::async_trait;
use outbox_conformance::{ManualClock, heap::HeapFixture};
use outbox_core::{DlqEntry, DlqHeap};
use outbox_dlq_memory::MemoryDlqHeap;
use std::sync::Arc;
use std::time::Duration;

struct Memory {
    clock: ManualClock,
    heap: MemoryDlqHeap,
    handle: fn(MemoryDlqHeap) -> Arc<dyn DlqHeap>,
}

impl Memory {
    fn new(handle: fn(MemoryDlqHeap) -> Arc<dyn DlqHeap>) -> Self {
        let clock = ManualClock::new();
        let heap = MemoryDlqHeap::new().with_clock(clock.clock());
        Self {
            clock,
            heap,
            handle,
        }
    }
}

#[async_trait]
impl HeapFixture for Memory {
    async fn handle(&self) -> Arc<dyn DlqHeap> {
        (self.handle)(self.heap.clone())
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

outbox_conformance::dlq_heap_suite!(
    memory,
    Memory::new(|heap| Arc::new(heap)),
    counting,
    races,
    leases,
    cancellation,
);

outbox_conformance::dlq_heap_suite!(
    shared,
    Memory::new(|heap| Arc::new(Arc::new(heap))),
    counting,
    races,
    leases,
    cancellation,
);
