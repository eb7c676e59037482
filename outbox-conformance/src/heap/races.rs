//! Several handles at once, with a start barrier and in rounds, as a single round may pass by luck.

use super::concurrency::histories_are_linear;
use super::{HeapFixture, STUCK, counts, each};
use crate::check::{check, check_eq, joined, ok, refuse};
use outbox_core::{DlqHeap, EventId, FailedAttempt};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use tokio::sync::Barrier;
use tokio::task::yield_now;
use tokio::time::timeout;

pub(crate) const ROUNDS: usize = 10;
const TASKS: u8 = 4;

/// Runs `work` in several tasks at once, each with its own handle, and returns their results.
pub(crate) async fn all_at_once<F, W, T>(
    fixture: &F,
    work: impl Fn(u8, Arc<dyn DlqHeap>) -> W,
) -> Vec<T>
where
    F: HeapFixture,
    W: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let barrier = Arc::new(Barrier::new(TASKS.into()));
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let (work, barrier) = (work(task, fixture.handle().await), Arc::clone(&barrier));
        tasks.push(tokio::spawn(async move {
            barrier.wait().await;
            work.await
        }));
    }
    let mut results = Vec::new();
    for task in tasks {
        results.push(joined(task).await);
    }
    results
}

/// H1: failures of one id from many handles are all counted, the first ones too.
pub async fn concurrent_failures_count_exactly<F: HeapFixture>(fixture: F) {
    for _ in 0..ROUNDS {
        let id = EventId::new();
        all_at_once(&fixture, |_, heap| async move {
            for _ in 0..5 {
                ok(heap.record_failure(id).await);
            }
        })
        .await;
        let drained = ok(fixture.handle().await.drain_exceeded(1).await);
        check_eq!(counts(drained), [(id, 20)]);
    }
}

/// H1: concurrent first failures of an id all count.
pub async fn first_failures_of_an_id_all_count<F: HeapFixture>(fixture: F) {
    for _ in 0..ROUNDS {
        let ids: Vec<EventId> = (0..10).map(|_| EventId::new()).collect();
        all_at_once(&fixture, |_, heap| {
            let ids = ids.clone();
            async move {
                for id in ids {
                    ok(heap.record_failure(id).await);
                }
            }
        })
        .await;
        let drained = ok(fixture.handle().await.drain_exceeded(1).await);
        check_eq!(counts(drained), each(&ids, TASKS.into()));
    }
}

/// H6: concurrent drains return disjoint entries, and together all of them.
pub async fn concurrent_drains_are_disjoint_and_complete<F: HeapFixture>(fixture: F) {
    for _ in 0..ROUNDS {
        let ids: Vec<EventId> = (0..40).map(|_| EventId::new()).collect();
        let failures = failures(&ids);
        ok(fixture.handle().await.record_failures(&failures).await);
        let drained = all_at_once(&fixture, |_, heap| async move {
            ok(heap.drain_exceeded(1).await)
        })
        .await;
        let mut all: Vec<EventId> = drained
            .into_iter()
            .flatten()
            .map(|entry| entry.id)
            .collect();
        all.sort_unstable();
        let mut expected = ids;
        expected.sort_unstable();
        check_eq!(all, expected, "events of all drains together");
    }
}

/// H16: each failure is in one drain or still in the heap while other handles record and drain.
pub async fn nothing_is_lost_between_failures_and_drains<F: HeapFixture>(fixture: F) {
    let ids: Vec<EventId> = (0..5).map(|_| EventId::new()).collect();
    for _ in 0..ROUNDS {
        let ids = ids.clone();
        let drained = all_at_once(&fixture, |task, heap| {
            let ids = ids.clone();
            async move {
                let mut drained = Vec::new();
                for _ in 0..5 {
                    if task % 2 == 0 {
                        for id in &ids {
                            ok(heap.record_failure(*id).await);
                        }
                    } else {
                        drained.extend(ok(heap.drain_exceeded(2).await));
                    }
                }
                drained
            }
        })
        .await;
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

/// H7: concurrent batches with the same ids in opposite orders end and count, also with batches
/// that forget.
pub async fn batches_in_opposite_orders_do_not_block<F: HeapFixture>(fixture: F) {
    let ids: Vec<EventId> = (0..50).map(|_| EventId::new()).collect();
    let heap = fixture.handle().await;
    for _ in 0..ROUNDS {
        in_opposite_orders(&fixture, &ids, 0).await;
        check_eq!(counts(ok(heap.drain_exceeded(4).await)), each(&ids, 4));
        ok(heap.record_failures(&failures(&ids)).await);
        in_opposite_orders(&fixture, &ids, 2).await;
        let rest = counts(ok(heap.drain_exceeded(1).await));
        check!(
            rest.iter().all(|(_, count)| *count <= 3),
            "expected counts up to 3, came {rest:?}"
        );
    }
}

/// Two tasks start at the first id and two at the last. `forgetting` of the tasks forget, the
/// others count.
async fn in_opposite_orders<F: HeapFixture>(fixture: &F, ids: &[EventId], forgetting: u8) {
    let batches = all_at_once(fixture, |task, heap| {
        let mut ids = ids.to_vec();
        if task % 2 == 0 {
            ids.reverse();
        }
        async move {
            if task < forgetting {
                ok(heap.forget(&ids).await);
            } else {
                ok(heap.record_failures(&failures(&ids)).await);
            }
        }
    });
    let ended = timeout(STUCK, batches).await;
    ended.unwrap_or_else(|_| {
        refuse!("expected concurrent batches to end, came none within {STUCK:?}")
    });
}

fn failures(ids: &[EventId]) -> Vec<FailedAttempt> {
    ids.iter().map(|id| FailedAttempt::new(*id)).collect()
}

/// H4, H6: an event that is forgotten during a drain is drained with its count or forgotten, and
/// never still in the heap. The calls meet again at each few events.
pub async fn a_success_and_a_drain_leave_nothing<F: HeapFixture>(fixture: F) {
    const TURNS: usize = 20;
    for _ in 0..ROUNDS {
        let ids: Vec<EventId> = (0..4 * TURNS).map(|_| EventId::new()).collect();
        let meeting = Arc::new(Barrier::new(TASKS.into()));
        let drained = all_at_once(&fixture, |task, heap| {
            let (ids, meeting) = (ids.clone(), Arc::clone(&meeting));
            async move {
                let mut drained = Vec::new();
                for (turn, few) in ids.chunks(4).enumerate() {
                    if task == 0 {
                        ok(heap.record_failures(&failures(few)).await);
                        ok(heap.record_failures(&failures(few)).await);
                    }
                    meeting.wait().await;
                    if task % 2 == 0 {
                        // Early in one turn, later in another.
                        for _ in 0..(turn + usize::from(task)) % 6 {
                            yield_now().await;
                        }
                        drained.extend(ok(heap.drain_exceeded(2).await));
                    } else {
                        for id in few {
                            ok(heap.record_success(*id).await);
                        }
                    }
                    meeting.wait().await;
                }
                drained
            }
        })
        .await;
        let drained = counts(drained.into_iter().flatten().collect());
        let distinct: HashSet<EventId> = drained.iter().map(|(id, _)| *id).collect();
        check_eq!(
            drained.len(),
            distinct.len(),
            "drained entries of as many events"
        );
        check!(
            drained.iter().all(|(_, count)| *count == 2),
            "expected counts of 2, came {drained:?}"
        );
        let rest = ok(fixture.handle().await.drain_exceeded(1).await);
        check_eq!(
            counts(rest),
            [],
            "entries left after a success or a drain of each event"
        );
    }
}

/// H14: some order of the concurrent calls on each event explains all that they returned.
pub async fn histories_are_linearizable<F: HeapFixture>(fixture: F) {
    histories_are_linear(&fixture, false).await;
}
