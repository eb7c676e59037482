//! What the suite cannot test with every heap.

use outbox_conformance::ManualClock;
use outbox_core::{DlqHeap, EventId};
use outbox_dlq_memory::MemoryDlqHeap;
use std::time::Duration;

const AGE: Duration = Duration::from_secs(60);

/// A heap with one entry, and its clock.
async fn heap() -> (MemoryDlqHeap, ManualClock) {
    let clock = ManualClock::new();
    let heap = MemoryDlqHeap::new().with_clock(clock.clock());
    let recorded = heap.record_failure(EventId::new()).await;
    recorded.expect("recorded");
    (heap, clock)
}

#[tokio::test]
async fn only_an_entry_older_than_the_age_is_pruned() {
    let (heap, clock) = heap().await;
    clock.advance(AGE);
    assert_eq!(heap.prune(AGE, 10).await.expect("pruned"), 0);
    clock.advance(Duration::from_micros(1));
    assert_eq!(heap.prune(AGE, 10).await.expect("pruned"), 1);
}

#[tokio::test]
async fn the_longest_times_are_accepted() {
    let (heap, clock) = heap().await;
    assert_eq!(heap.prune(Duration::MAX, 10).await.expect("pruned"), 0);
    let leased = heap.lease_exceeded(1, 10, Duration::MAX).await;
    assert_eq!(leased.expect("leased").len(), 1);
    let year = Duration::from_secs(365 * 24 * 3600);
    clock.advance(999 * year);
    assert_eq!(heap.drain_exceeded(1).await.expect("drained"), []);
    clock.advance(year);
    assert_eq!(heap.drain_exceeded(1).await.expect("drained").len(), 1);
}
