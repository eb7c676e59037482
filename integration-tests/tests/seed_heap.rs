//! A heap with the required methods only passes the groups that need no others.

use async_trait::async_trait;
use integration_tests::SeedHeap;
use outbox_conformance::ManualClock;
use outbox_conformance::heap::{HeapFixture, cancellation};
use outbox_core::{DlqEntry, DlqHeap, EventId};
use outbox_dlq_memory::MemoryDlqHeap;
use std::sync::Arc;
use std::time::Duration;

struct Seed {
    clock: ManualClock,
    heap: MemoryDlqHeap,
}

impl Seed {
    fn new() -> Self {
        let clock = ManualClock::new();
        let heap = MemoryDlqHeap::new().with_clock(clock.clock());
        Self { clock, heap }
    }
}

#[async_trait]
impl HeapFixture for Seed {
    async fn handle(&self) -> Arc<dyn DlqHeap> {
        Arc::new(SeedHeap(self.heap.clone()))
    }

    async fn neighbour(&self) -> Arc<dyn DlqHeap> {
        Arc::new(SeedHeap(
            MemoryDlqHeap::new().with_clock(self.clock.clock()),
        ))
    }

    async fn elapse(&self, time: Duration) {
        self.clock.advance(time);
    }

    async fn plant(&self, entry: DlqEntry) {
        self.heap.restore(entry);
    }
}

outbox_conformance::dlq_heap_suite!(seed, Seed::new(), counting, races);

/// The other cases of the group need leases.
#[test]
fn a_dropped_call_is_applied_or_not() {
    outbox_conformance::run(async || {
        cancellation::a_dropped_call_is_applied_or_not(Seed::new()).await;
    });
}

#[tokio::test]
async fn a_heap_of_the_required_methods_alone_has_no_size_and_prunes_nothing() {
    let (heap, id) = (SeedHeap::default(), EventId::new());
    heap.record_failure(id).await.expect("recorded");
    assert_eq!(heap.size().await.expect("answered"), None);
    assert_eq!(heap.prune(Duration::ZERO, 10).await.expect("pruned"), 0);
    assert_eq!(heap.drain_exceeded(1).await.expect("drained")[0].id, id);
}
