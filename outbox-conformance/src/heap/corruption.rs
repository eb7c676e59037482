//! Stores that can hold a row that is not a valid entry: one that another program wrote, or a
//! damaged one.

use super::{CorruptFixture, counts, each};
use crate::check::{check, check_eq, ok};
use crate::warnings::warnings;
use outbox_core::{DlqHeap, EventId, FailedAttempt};
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(2);

/// Four valid entries, and corrupt ones before, between and after them.
async fn mixed<F: CorruptFixture>(fixture: &F, heap: &dyn DlqHeap) -> Vec<(EventId, u32)> {
    let mut ids = fixture.plant_corrupt(EventId::new()).await;
    for _ in 0..4 {
        let id = EventId::new();
        ok(heap.record_failure(id).await);
        ids.push(id);
        ids.extend(fixture.plant_corrupt(EventId::new()).await);
    }
    each(&ids, 1)
}

/// H13: a drain and the pages of leases return every valid entry, and nothing else.
pub async fn a_corrupt_entry_costs_no_valid_one<F: CorruptFixture>(fixture: F) {
    let heap = fixture.handle().await;
    let valid = mixed(&fixture, &*heap).await;
    let mut leased = Vec::new();
    for _ in 0..valid.len().div_ceil(2) {
        leased.extend(ok(heap.lease_exceeded(1, 2, LEASE).await));
    }
    check_eq!(counts(leased), valid, "leased entries");
    fixture.elapse(LEASE).await;
    ok(heap.size().await);
    ok(heap.forget(&[valid[0].0]).await);
    check_eq!(counts(ok(heap.drain_exceeded(0).await)), valid[1..]);
    check_eq!(ok(heap.drain_exceeded(0).await), []);
}

/// H13: an event whose own entry is corrupt counts from one, and does not make its batch fail.
pub async fn an_event_with_a_corrupt_entry_counts_from_one<F: CorruptFixture>(fixture: F) {
    let (heap, id, other) = (fixture.handle().await, EventId::new(), EventId::new());
    fixture.plant_corrupt(id).await;
    ok(heap.drain_exceeded(1).await);
    let batch = [FailedAttempt::new(id), FailedAttempt::new(other)];
    ok(heap.record_failures(&batch).await);
    let drained = counts(ok(heap.drain_exceeded(1).await));
    check_eq!(drained, each(&[id, other], 1));
    ok(heap.record_success(id).await);
}

/// H13: a drain or a lease logs a warning of a corrupt entry, and of nothing else.
pub async fn a_corrupt_entry_is_reported<F: CorruptFixture>(fixture: F) {
    let heap = fixture.handle().await;
    ok(heap.record_failure(EventId::new()).await);
    let (drained, warned) = warnings(heap.drain_exceeded(1)).await;
    check_eq!(ok(drained).len(), 1, "drained entries");
    check_eq!(warned, 0, "warnings in a drain of valid entries");
    mixed(&fixture, &*fixture.handle().await).await;
    let heap = fixture.handle().await;
    let (leased, warned) = warnings(heap.lease_exceeded(1, 1000, LEASE)).await;
    ok(leased);
    check!(
        warned > 0,
        "expected a warning of a corrupt entry in a lease, came none"
    );
    let heap = fixture.handle().await;
    let (drained, warned) = warnings(heap.drain_exceeded(1)).await;
    ok(drained);
    check!(
        warned > 0,
        "expected a warning of a corrupt entry in a drain, came none"
    );
}
