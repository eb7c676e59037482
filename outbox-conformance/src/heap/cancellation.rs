//! Callers that go away at each await point of a call in turn.

use super::dropped::dropped_anywhere;
use super::{AGE, COUNT, Call, HeapFixture, LEASE};
use outbox_core::{EventId, FailedAttempt};

/// H19: A call whose future is dropped at any of its waits is applied or not, and later calls work.
pub async fn a_dropped_call_is_applied_or_not<F: HeapFixture>(fixture: F) {
    let record = |ids: &[EventId]| Call::RecordFailure(ids[0]);
    dropped_anywhere(&fixture, "record_failure", record).await;
    let clear = |ids: &[EventId]| Call::RecordSuccess(ids[0]);
    dropped_anywhere(&fixture, "record_success", clear).await;
    let threshold = COUNT;
    let drain = |_: &[EventId]| Call::Drain { threshold };
    dropped_anywhere(&fixture, "drain_exceeded", drain).await;
}

/// H7: a batch whose future is dropped at any of its waits is counted as a whole or not at all;
/// what is forgotten or pruned goes with its whole count or stays. A look changes nothing.
pub async fn a_dropped_batch_is_applied_or_not<F: HeapFixture>(fixture: F) {
    let record = |ids: &[EventId]| {
        Call::RecordFailures(ids.iter().map(|id| FailedAttempt::new(*id)).collect())
    };
    dropped_anywhere(&fixture, "record_failures", record).await;
    let forget = |ids: &[EventId]| Call::Forget(ids.to_vec());
    dropped_anywhere(&fixture, "forget", forget).await;
    let (age, limit) = (AGE, 1000);
    let prune = |_: &[EventId]| Call::Prune { age, limit };
    dropped_anywhere(&fixture, "prune", prune).await;
    dropped_anywhere(&fixture, "size", |_| Call::Size).await;
}

/// H8: a lease whose future is dropped at any of its waits, as if its reply was lost, loses
/// nothing.
pub async fn a_dropped_lease_loses_nothing<F: HeapFixture>(fixture: F) {
    let lease = |_: &[EventId]| Call::Lease {
        threshold: COUNT,
        limit: 2,
        lease: LEASE,
    };
    dropped_anywhere(&fixture, "lease_exceeded", lease).await;
}
