//! The decorators pass the suite when they do nothing, and do what they say when they are told to.

use async_trait::async_trait;
use outbox_conformance::heap::{HeapFixture, History};
use outbox_conformance::{Fails, Faulty, ManualClock, Slow, dlq_heap_suite};
use outbox_core::{DlqEntry, DlqHeap, ErrorKind, EventId};
use outbox_dlq_memory::MemoryDlqHeap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

type Decorate = fn(Arc<dyn DlqHeap>) -> Arc<dyn DlqHeap>;

/// A heap in memory, decorated anew for each handle.
struct Decorated {
    clock: ManualClock,
    heap: MemoryDlqHeap,
    decorate: Decorate,
}

impl Decorated {
    fn by(decorate: Decorate) -> Self {
        let clock = ManualClock::new();
        Self {
            heap: MemoryDlqHeap::new().with_clock(clock.clock()),
            clock,
            decorate,
        }
    }
}

#[async_trait]
impl HeapFixture for Decorated {
    async fn handle(&self) -> Arc<dyn DlqHeap> {
        (self.decorate)(Arc::new(self.heap.clone()))
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

fn faulty(heap: Arc<dyn DlqHeap>) -> Arc<dyn DlqHeap> {
    Arc::new(Faulty::new(heap))
}

fn slow(heap: Arc<dyn DlqHeap>) -> Arc<dyn DlqHeap> {
    Arc::new(Slow::new(heap, Duration::ZERO))
}

fn recording(heap: Arc<dyn DlqHeap>) -> Arc<dyn DlqHeap> {
    Arc::new(History::default().client(heap))
}

dlq_heap_suite!(faulty_heap, Decorated::by(faulty), counting, races, leases);
dlq_heap_suite!(slow_heap, Decorated::by(slow), counting, races, leases);
dlq_heap_suite!(
    recording_heap,
    Decorated::by(recording),
    counting,
    races,
    leases
);

#[tokio::test]
async fn a_faulty_heap_fails_before_or_after_until_it_is_mended() {
    let (heap, id) = (MemoryDlqHeap::new(), EventId::new());
    let faulty = Faulty::new(Arc::new(heap.clone()));
    for (fails, counted) in [(Fails::Before, 0), (Fails::After, 1)] {
        faulty.fail(fails);
        let error = faulty.record_failure(id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let size = heap.size().await.unwrap().unwrap();
        assert_eq!(size.entries, counted, "{fails:?}");
    }
    assert_eq!(faulty.failed(), 2);
    faulty.mend();
    assert_eq!(faulty.drain_exceeded(1).await.unwrap().len(), 1);
    assert_eq!(faulty.failed(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_heap_waits_before_and_after_its_call() {
    const WAIT: Duration = Duration::from_secs(10);
    let (heap, id) = (MemoryDlqHeap::new(), EventId::new());
    let slow = Slow::new(Arc::new(heap.clone()), WAIT);
    let begun = Instant::now();
    let half = tokio::time::timeout(WAIT / 2, slow.record_failure(id)).await;
    half.expect_err("it waits before");
    assert_eq!(heap.size().await.unwrap().unwrap().entries, 0);
    let most = tokio::time::timeout(WAIT + WAIT / 2, slow.record_failure(id)).await;
    most.expect_err("it waits after");
    assert_eq!(heap.size().await.unwrap().unwrap().entries, 1);
    slow.record_failure(id).await.unwrap();
    assert_eq!(begun.elapsed(), WAIT * 4);
}

/// A call that failed was applied or not, and not twice.
#[tokio::test]
async fn a_history_with_a_call_that_failed_is_explained() {
    for (fails, again, count, explained) in [
        (Fails::Before, false, 1, true),
        (Fails::After, false, 2, true),
        (Fails::After, true, 3, false),
    ] {
        let (heap, id) = (MemoryDlqHeap::new(), EventId::new());
        let faulty = Arc::new(Faulty::new(Arc::new(heap.clone())));
        let history = History::default();
        let client = history.client(faulty.clone());
        client.record_failure(id).await.unwrap();
        faulty.fail(fails);
        client.record_failure(id).await.unwrap_err();
        faulty.mend();
        if again {
            heap.record_failure(id).await.unwrap();
        }
        let drained = client.drain_exceeded(1).await.unwrap();
        assert_eq!(drained[0].failure_count, count);
        assert_eq!(history.len(), 3);
        assert_eq!(history.check().is_ok(), explained, "{fails:?}, {count}");
    }
}

#[tokio::test]
async fn a_violation_is_told_so_that_a_person_can_read_it() {
    let (heap, id) = (Arc::new(MemoryDlqHeap::new()), EventId::new());
    let history = History::default();
    let (one, two) = (history.client(heap.clone()), history.client(heap.clone()));
    one.record_failure(id).await.unwrap();
    two.drain_exceeded(2).await.unwrap();
    heap.record_success(id).await.unwrap();
    two.drain_exceeded(1).await.unwrap();
    let told = history.check().unwrap_err().to_string();
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].contains(&id.to_string()), "{told}");
    assert_eq!(
        lines[1..3],
        [
            "  [    1,     2] client 1: record_failure(it)",
            "  [    5,     6] client 2: drain_exceeded(1) -> not it"
        ]
    );
}
