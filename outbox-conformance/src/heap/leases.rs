//! What the provided methods promise when an adapter overrides them.

use super::concurrency::histories_are_linear;
use super::dropped::{self, dropped_anywhere};
use super::races::{ROUNDS, all_at_once};
use super::script::scripts_match;
use super::{Call, HeapFixture, STUCK, counts, each, ok};
use outbox_core::{DlqHeap, ErrorText, EventId, FailedAttempt, HeapSize};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Barrier;
use tokio::task::yield_now;
use tokio::time::timeout;

pub(crate) const LEASE: Duration = Duration::from_secs(2);

/// Longer than a case takes.
const LONG: Duration = Duration::from_secs(3600);

async fn failed(heap: &dyn DlqHeap, count: usize) -> Vec<EventId> {
    let ids: Vec<EventId> = (0..count).map(|_| EventId::new()).collect();
    let failures: Vec<_> = ids.iter().map(|id| FailedAttempt::new(*id)).collect();
    ok(heap.record_failures(&failures).await);
    ids
}

/// H8: a leased entry is nowhere until the lease runs out, then it is back with its count. The
/// handle that leased it is gone by then, as if its process had died.
pub async fn a_lease_hides_an_entry_until_it_runs_out<F: HeapFixture>(fixture: F) {
    let heap = fixture.handle().await;
    let id = failed(&*heap, 1).await[0];
    let dying = fixture.handle().await;
    assert_eq!(
        counts(ok(dying.lease_exceeded(1, 10, LEASE).await)),
        [(id, 1)]
    );
    drop(dying);
    assert_eq!(ok(heap.lease_exceeded(1, 10, LEASE).await), []);
    assert_eq!(ok(heap.drain_exceeded(1).await), []);
    fixture.elapse(LEASE).await;
    assert_eq!(
        counts(ok(heap.lease_exceeded(1, 10, LEASE).await)),
        [(id, 1)]
    );
    fixture.elapse(LEASE).await;
    assert_eq!(counts(ok(heap.drain_exceeded(1).await)), [(id, 1)]);
}

/// H8: a leased entry that is forgotten does not come back.
pub async fn forgetting_ends_a_lease<F: HeapFixture>(fixture: F) {
    let heap = fixture.handle().await;
    let id = failed(&*heap, 1).await[0];
    ok(heap.lease_exceeded(1, 10, LEASE).await);
    ok(heap.forget(&[id]).await);
    fixture.elapse(LEASE).await;
    assert_eq!(ok(heap.drain_exceeded(0).await), []);
}

/// H8: a failure during a lease is there when it runs out, and does not end it.
pub async fn a_failure_during_a_lease_counts<F: HeapFixture>(fixture: F) {
    let heap = fixture.handle().await;
    let id = failed(&*heap, 1).await[0];
    ok(heap.lease_exceeded(1, 10, LEASE).await);
    ok(heap.record_failure(id).await);
    assert_eq!(
        ok(heap.drain_exceeded(1).await),
        [],
        "the failure ended the lease"
    );
    fixture.elapse(LEASE).await;
    assert_eq!(counts(ok(heap.drain_exceeded(1).await)), [(id, 2)]);
}

/// H8: no two leases hold the same entry.
pub async fn concurrent_leases_are_disjoint<F: HeapFixture>(fixture: F) {
    for _ in 0..10 {
        let heap = fixture.handle().await;
        let ids = failed(&*heap, 20).await;
        let barrier = Arc::new(Barrier::new(4));
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let (heap, barrier) = (fixture.handle().await, Arc::clone(&barrier));
            tasks.push(tokio::spawn(async move {
                barrier.wait().await;
                ok(heap.lease_exceeded(1, 7, LEASE).await)
            }));
        }
        let mut leased = Vec::new();
        for task in tasks {
            leased.extend(
                task.await
                    .unwrap_or_else(|error| panic!("a task failed: {error}")),
            );
        }
        let distinct: HashSet<EventId> = leased.iter().map(|entry| entry.id).collect();
        assert_eq!((leased.len(), distinct.len()), (20, 20));
        ok(heap.forget(&ids).await);
    }
}

/// H9: each of N entries is leased within ⌈N/limit⌉ calls, while new ones arrive and old leases
/// run out.
pub async fn leases_are_fair<F: HeapFixture>(fixture: F) {
    let heap = fixture.handle().await;
    let mut waiting: HashSet<EventId> = failed(&*heap, 10).await.into_iter().collect();
    for _ in 0..4 {
        let leased = ok(heap.lease_exceeded(1, 3, LEASE).await);
        assert!(leased.len() <= 3, "{} entries, of 3 at most", leased.len());
        for entry in leased {
            waiting.remove(&entry.id);
        }
        failed(&*heap, 3).await;
        fixture.elapse(LEASE).await;
    }
    assert!(waiting.is_empty(), "{} entries starved", waiting.len());
}

/// H16: Conservation: each failure is in a drain or still in the heap, while leases begin as well.
pub async fn nothing_is_lost_between_failures_drains_and_leases<F: HeapFixture>(fixture: F) {
    let ids: Vec<EventId> = (0..5).map(|_| EventId::new()).collect();
    for _ in 0..ROUNDS {
        let drained = all_at_once(&fixture, |task, heap| {
            let ids = ids.clone();
            async move {
                let mut drained = Vec::new();
                for id in ids.iter().cycle().take(25) {
                    match task {
                        0 => drained.extend(ok(heap.drain_exceeded(2).await)),
                        1 => drop(ok(heap.lease_exceeded(1, 2, LEASE).await)),
                        _ => ok(heap.record_failure(*id).await),
                    }
                    yield_now().await;
                }
                drained
            }
        })
        .await;
        fixture.elapse(LEASE).await;
        let rest = ok(fixture.handle().await.drain_exceeded(1).await);
        let mut sums: HashMap<EventId, u32> = HashMap::new();
        for entry in drained.into_iter().flatten().chain(rest) {
            *sums.entry(entry.id).or_default() += entry.failure_count;
        }
        // Two tasks record each id five times.
        assert!(ids.iter().all(|id| sums.get(id) == Some(&10)), "{sums:?}");
    }
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
    let (age, limit) = (dropped::AGE, 1000);
    let prune = |_: &[EventId]| Call::Prune { age, limit };
    dropped_anywhere(&fixture, "prune", prune).await;
    dropped_anywhere(&fixture, "size", |_| Call::Size).await;
}

/// H8: a lease whose future is dropped at any of its waits, as if its reply was lost, loses nothing.
pub async fn a_dropped_lease_loses_nothing<F: HeapFixture>(fixture: F) {
    let lease = |_: &[EventId]| Call::Lease {
        threshold: dropped::COUNT,
        limit: 2,
        lease: LEASE,
    };
    dropped_anywhere(&fixture, "lease_exceeded", lease).await;
}

/// H10: unicode, long texts, NUL; no text leaves the one before.
pub async fn the_latest_error_wins<F: HeapFixture>(fixture: F) {
    let (heap, id, silent) = (fixture.handle().await, EventId::new(), EventId::new());
    let long = "é".repeat(500_000);
    let latest = ErrorText::new(&format!("nul\0, \"quotes\" and {long}"));
    for text in ["first", &*latest] {
        let failure = FailedAttempt::new(id).with_error(ErrorText::new(text));
        ok(heap.record_failures(&[failure]).await);
    }
    ok(heap.record_failure(id).await);
    ok(heap.record_failure(silent).await);
    for entry in ok(heap.drain_exceeded(1).await) {
        let expected = (entry.id == id).then(|| latest.clone());
        assert_eq!(entry.last_error, expected);
    }
}

/// H17: How many are tracked, leased ones too, and since when.
pub async fn the_size_is_told<F: HeapFixture>(fixture: F) {
    let heap = fixture.handle().await;
    assert_eq!(ok(heap.size().await), Some(HeapSize::new(0, None)));
    let oldest = failed(&*heap, 1).await[0];
    let leased = ok(heap.lease_exceeded(1, 1, LONG).await);
    fixture.elapse(LEASE).await;
    failed(&*heap, 3).await;
    ok(heap.record_failure(oldest).await);
    let size = HeapSize::new(4, Some(leased[0].first_failed_at));
    assert_eq!(ok(heap.size().await), Some(size), "one is leased");

    ok(heap.forget(&[oldest]).await);
    fixture.elapse(LEASE).await;
    failed(&*heap, 1).await;
    let size = ok(heap.size().await);
    let rest = ok(heap.drain_exceeded(1).await);
    let first = rest.iter().map(|entry| entry.first_failed_at).min();
    assert_eq!(size, Some(HeapSize::new(4, first)), "the oldest is gone");
    assert_eq!(ok(heap.size().await), Some(HeapSize::new(0, None)));
}

/// H18: Entries without a new failure for longer than the age go, in bounded steps; leased ones stay.
pub async fn old_entries_are_pruned<F: HeapFixture>(fixture: F) {
    let heap = fixture.handle().await;
    failed(&*heap, 2_505).await;
    fixture.elapse(Duration::from_secs(10)).await;
    let leased = ok(heap.lease_exceeded(1, 1, LONG).await);
    let fresh = failed(&*heap, 1).await[0];
    let age = Duration::from_secs(8);
    assert_eq!(ok(heap.prune(age, 3).await), 3);
    assert_eq!(ok(heap.prune(age, 2_500).await), 2_500);
    assert_eq!(ok(heap.prune(age, 2_500).await), 1);
    assert_eq!(ok(heap.prune(age, 2_500).await), 0);
    fixture.elapse(LONG).await;
    let mut expected = vec![(leased[0].id, 1), (fresh, 1)];
    expected.sort_unstable();
    assert_eq!(counts(ok(heap.drain_exceeded(1).await)), expected);
}

/// H9: 100,000 entries leave completely in pages of 1,000, each page forgotten before the next, and
/// calls of another handle are answered while each page is leased. A small heap goes first, as what
/// is wrong with pages at all shows in it.
pub async fn a_large_heap_leaves_in_pages<F: HeapFixture>(fixture: F) {
    let (heap, other) = (fixture.handle().await, fixture.handle().await);
    for (size, limit) in [(3_000, 1_500), (100_000, 1_000)] {
        let mut waiting = HashSet::new();
        for _ in 0..size / 1000 {
            waiting.extend(failed(&*heap, 1000).await);
        }
        for _ in 0..size / limit {
            let fresh = EventId::new();
            waiting.insert(fresh);
            let meanwhile = async {
                ok(other.record_failure(fresh).await);
                ok(other.size().await)
            };
            let page = async { tokio::join!(heap.lease_exceeded(1, limit, LONG), meanwhile) };
            let Ok((page, _)) = timeout(STUCK, page).await else {
                panic!("no call was answered within {STUCK:?} while entries were leased");
            };
            let ids: Vec<EventId> = ok(page).iter().map(|entry| entry.id).collect();
            assert_eq!(ids.len(), limit);
            assert!(ids.iter().all(|id| waiting.remove(id)), "leased twice");
            ok(heap.forget(&ids).await);
        }
        // Those that failed meanwhile.
        let rest = counts(ok(heap.lease_exceeded(1, limit, LONG).await));
        let waiting: Vec<EventId> = waiting.into_iter().collect();
        assert_eq!(rest, each(&waiting, 1));
        ok(heap.forget(&waiting).await);
        assert_eq!(ok(heap.lease_exceeded(1, limit, LONG).await), []);
    }
}

/// H1 to H11: as `random_scripts_match_the_model`, with leases, errors, times, sizes and prunes.
pub async fn random_scripts_with_leases_match_the_model<F: HeapFixture>(fixture: F) {
    scripts_match(&fixture, true).await;
}

/// H14: as `histories_are_linearizable`, with leases, errors and prunes.
pub async fn histories_with_leases_are_linearizable<F: HeapFixture>(fixture: F) {
    histories_are_linear(&fixture, true).await;
}
