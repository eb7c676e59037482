//! The methods that a heap need not override.

use super::concurrency::histories_are_linear;
use super::races::{ROUNDS, all_at_once};
use super::script::scripts_match;
use super::{HeapFixture, LEASE, STUCK, counts, each};
use crate::case::progress;
use crate::check::{check, check_eq, joined, nth, ok, refuse};
use crate::effort::times;
use outbox_core::{DlqHeap, ErrorText, EventId, FailedAttempt, HeapSize};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Barrier;
use tokio::task::yield_now;
use tokio::time::timeout;

/// Longer than a case takes.
const LONG: Duration = Duration::from_secs(3600);

/// A heap that takes longer than this is not filled with more entries. Some stores take a time that
/// grows with the square of the entries, and 25 times this time is still within the limit of a
/// case.
const SLOW: Duration = Duration::from_secs(10);

async fn failed(heap: &dyn DlqHeap, count: usize) -> Vec<EventId> {
    let ids: Vec<EventId> = (0..count).map(|_| EventId::new()).collect();
    let failures: Vec<_> = ids.iter().map(|id| FailedAttempt::new(*id)).collect();
    ok(heap.record_failures(&failures).await);
    ids
}

/// H8: a leased entry is in no other lease and no drain until its lease runs out, and then it has
/// its count. The handle that leased it is dropped, as if its process had died.
pub async fn a_lease_hides_an_entry_until_it_runs_out<F: HeapFixture>(fixture: F) {
    let heap = fixture.handle().await;
    let id = failed(&*heap, 1).await[0];
    let dying = fixture.handle().await;
    check_eq!(
        counts(ok(dying.lease_exceeded(1, 10, LEASE).await)),
        [(id, 1)]
    );
    drop(dying);
    check_eq!(ok(heap.lease_exceeded(1, 10, LEASE).await), []);
    check_eq!(ok(heap.drain_exceeded(1).await), []);
    fixture.elapse(LEASE).await;
    check_eq!(
        counts(ok(heap.lease_exceeded(1, 10, LEASE).await)),
        [(id, 1)]
    );
    fixture.elapse(LEASE).await;
    check_eq!(counts(ok(heap.drain_exceeded(1).await)), [(id, 1)]);
}

/// H8: a leased entry that is forgotten does not come back.
pub async fn forgetting_ends_a_lease<F: HeapFixture>(fixture: F) {
    let heap = fixture.handle().await;
    let id = failed(&*heap, 1).await[0];
    ok(heap.lease_exceeded(1, 10, LEASE).await);
    ok(heap.forget(&[id]).await);
    fixture.elapse(LEASE).await;
    check_eq!(ok(heap.drain_exceeded(0).await), []);
}

/// H8: a failure during a lease counts when the lease runs out, and does not end it.
pub async fn a_failure_during_a_lease_counts<F: HeapFixture>(fixture: F) {
    let heap = fixture.handle().await;
    let id = failed(&*heap, 1).await[0];
    ok(heap.lease_exceeded(1, 10, LEASE).await);
    ok(heap.record_failure(id).await);
    check_eq!(
        ok(heap.drain_exceeded(1).await),
        [],
        "a drain during the lease"
    );
    fixture.elapse(LEASE).await;
    check_eq!(counts(ok(heap.drain_exceeded(1).await)), [(id, 2)]);
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
            leased.extend(joined(task).await);
        }
        let distinct: HashSet<EventId> = leased.iter().map(|entry| entry.id).collect();
        check_eq!(
            (leased.len(), distinct.len()),
            (20, 20),
            "leased entries, and their events"
        );
        ok(heap.forget(&ids).await);
    }
}

/// H9: each of N entries is leased within ⌈N/limit⌉ calls, while new ones arrive and old leases run
/// out.
pub async fn leases_are_fair<F: HeapFixture>(fixture: F) {
    let heap = fixture.handle().await;
    let mut waiting: HashSet<EventId> = failed(&*heap, 10).await.into_iter().collect();
    for _ in 0..4 {
        let leased = ok(heap.lease_exceeded(1, 3, LEASE).await);
        check!(
            leased.len() <= 3,
            "expected 3 leased entries or fewer, came {}",
            leased.len()
        );
        for entry in leased {
            waiting.remove(&entry.id);
        }
        failed(&*heap, 3).await;
        fixture.elapse(LEASE).await;
    }
    check!(
        waiting.is_empty(),
        "expected each of 10 entries in 4 leases of 3, came no lease of {waiting:?}"
    );
}

/// H16: each failure is in one drain or still in the heap while other handles drain and lease.
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
        let mut sums: BTreeMap<EventId, u32> = BTreeMap::new();
        for entry in drained.into_iter().flatten().chain(rest) {
            *sums.entry(entry.id).or_default() += entry.failure_count;
        }
        let counted: Vec<_> = sums.into_iter().collect();
        // Two tasks record each id five times.
        check_eq!(counted, each(&ids, 10), "failures drained or left");
    }
}

/// H10: the last error is kept, with Unicode, NUL and long texts; a failure without an error keeps
/// the one before.
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
        check_eq!(
            entry.last_error,
            expected,
            "the error of the last failure with one"
        );
    }
}

/// H17: the size has the number of tracked entries, with leased ones, and the time of the oldest.
pub async fn size_counts_entries<F: HeapFixture>(fixture: F) {
    let heap = fixture.handle().await;
    check_eq!(ok(heap.size().await), Some(HeapSize::new(0, None)));
    let oldest = failed(&*heap, 1).await[0];
    let leased = ok(heap.lease_exceeded(1, 1, LONG).await);
    fixture.elapse(LEASE).await;
    failed(&*heap, 3).await;
    ok(heap.record_failure(oldest).await);
    let size = HeapSize::new(4, Some(nth(&leased, 0, "leased entries").first_failed_at));
    check_eq!(
        ok(heap.size().await),
        Some(size),
        "the size with a leased entry"
    );

    ok(heap.forget(&[oldest]).await);
    fixture.elapse(LEASE).await;
    failed(&*heap, 1).await;
    let size = ok(heap.size().await);
    let rest = ok(heap.drain_exceeded(1).await);
    let first = rest.iter().map(|entry| entry.first_failed_at).min();
    check_eq!(
        size,
        Some(HeapSize::new(4, first)),
        "the size without the oldest entry"
    );
    check_eq!(ok(heap.size().await), Some(HeapSize::new(0, None)));
}

/// H18: entries whose last failure is older than the age are removed, in bounded steps; leased ones
/// stay.
pub async fn old_entries_are_pruned<F: HeapFixture>(fixture: F) {
    let heap = fixture.handle().await;
    failed(&*heap, 2_505).await;
    fixture.elapse(Duration::from_secs(10)).await;
    let leased = ok(heap.lease_exceeded(1, 1, LONG).await);
    let fresh = failed(&*heap, 1).await[0];
    let age = Duration::from_secs(8);
    check_eq!(ok(heap.prune(age, 3).await), 3);
    check_eq!(ok(heap.prune(age, 2_500).await), 2_500);
    check_eq!(ok(heap.prune(age, 2_500).await), 1);
    check_eq!(ok(heap.prune(age, 2_500).await), 0);
    fixture.elapse(LONG).await;
    let mut expected = vec![(nth(&leased, 0, "leased entries").id, 1), (fresh, 1)];
    expected.sort_unstable();
    check_eq!(counts(ok(heap.drain_exceeded(1).await)), expected);
}

/// H9: a heap leaves completely in pages, each page forgotten before the next, and calls of another
/// handle are answered while each page is leased. The heap grows to 20,000 entries. In a run that is
/// longer than by default it grows to 100,000, unless it is too slow for that.
pub async fn a_large_heap_leaves_in_pages<F: HeapFixture>(fixture: F) {
    let handles = [fixture.handle().await, fixture.handle().await];
    let sizes = [(3_000, 1_500), (20_000, 1_000), (100_000, 1_000)];
    let count = if times() > 1 { 3 } else { 2 };
    for (size, limit) in sizes.into_iter().take(count) {
        let begun = Instant::now();
        leaves_in_pages(&handles, size, limit).await;
        let time = begun.elapsed();
        println!("{size} entries left in pages of {limit} within {time:.1?}");
        if time > SLOW {
            println!("this took more than {SLOW:?}, so no larger heap is tried");
            break;
        }
    }
}

async fn leaves_in_pages([heap, other]: &[Arc<dyn DlqHeap>; 2], size: usize, limit: usize) {
    let mut waiting = HashSet::new();
    for count in 1..=size / 1000 {
        waiting.extend(failed(&**heap, 1000).await);
        progress!("{count},000 of {size} entries recorded");
    }
    let pages = size / limit;
    for page in 1..=pages {
        let fresh = EventId::new();
        waiting.insert(fresh);
        let meanwhile = async {
            ok(other.record_failure(fresh).await);
            ok(other.size().await)
        };
        let leased = async { tokio::join!(heap.lease_exceeded(1, limit, LONG), meanwhile) };
        let Ok((leased, _)) = timeout(STUCK, leased).await else {
            refuse!("expected answers while entries are leased, came none within {STUCK:?}");
        };
        let ids: Vec<EventId> = ok(leased).iter().map(|entry| entry.id).collect();
        check_eq!(ids.len(), limit, "entries of page {page} of {pages}");
        for id in &ids {
            check!(
                waiting.remove(id),
                "expected each entry on one page, came {id} again"
            );
        }
        ok(heap.forget(&ids).await);
        progress!("{page} of {pages} pages of {limit} entries");
    }
    // The events that failed meanwhile.
    let rest = counts(ok(heap.lease_exceeded(1, limit, LONG).await));
    let waiting: Vec<EventId> = waiting.into_iter().collect();
    check_eq!(rest, each(&waiting, 1), "entries of the last page");
    ok(heap.forget(&waiting).await);
    check_eq!(ok(heap.lease_exceeded(1, limit, LONG).await), []);
}

/// H1 to H11: random calls as in `random_scripts_match_the_model`, with leases, errors, times,
/// sizes and prunes.
pub async fn random_scripts_with_leases_match_the_model<F: HeapFixture>(
    fixtures: impl AsyncFn() -> F,
) {
    scripts_match(fixtures, true).await;
}

/// H14: as `histories_are_linearizable`, with leases, errors and prunes.
pub async fn histories_with_leases_are_linearizable<F: HeapFixture>(fixture: F) {
    histories_are_linear(&fixture, true).await;
}
