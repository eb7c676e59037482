//! A connection that is cut at each piece of a request, and within each reply at the first bytes and
//! then at regular distances.

use super::{WireFixture, counts, each};
use crate::check::{check, check_eq, nth, ok};
use crate::wire::at_each_place;
use outbox_core::{DlqHeap, EventId, FailedAttempt, HeapSize};
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(60);

fn some_ids() -> [EventId; 3] {
    std::array::from_fn(|_| EventId::new())
}

fn failures(ids: &[EventId]) -> Vec<FailedAttempt> {
    ids.iter().map(|id| FailedAttempt::new(*id)).collect()
}

async fn fail(heap: &dyn DlqHeap, ids: &[EventId]) {
    ok(heap.record_failures(&failures(ids)).await);
}

/// A count of 2, so that a reset shows.
async fn fail_twice(heap: &dyn DlqHeap, ids: &[EventId]) {
    fail(heap, &[ids, ids].concat()).await;
}

/// What another handle drains, by id and count.
async fn rest<F: WireFixture>(fixture: &F) -> Vec<(EventId, u32)> {
    counts(ok(fixture.handle().await.drain_exceeded(1).await))
}

/// H1: a failure counts once; if its call fails, once or not at all.
pub async fn a_cut_failure_is_counted_once_or_not<F: WireFixture>(fixture: F) {
    let (heap, id) = (fixture.wired().await, EventId::new());
    at_each_place(fixture.wire(), async |cut| {
        fail_twice(&*heap, &[id]).await;
        let result = cut.during(heap.record_failure(id)).await;
        ok(heap.record_failure(id).await);
        let rest = rest(&fixture).await;
        check_eq!(rest.len(), 1, "entries of one event");
        let (_, count) = rest[0];
        check!(
            count == 4 || result.is_err() && count == 3,
            "expected a count of 4, or of 3 after an error, came {count} after {result:?}"
        );
    })
    .await;
}

/// H7: a batch counts whole; if its call fails, whole or not at all.
pub async fn a_cut_batch_is_counted_whole_or_not<F: WireFixture>(fixture: F) {
    let (heap, ids) = (fixture.wired().await, some_ids());
    at_each_place(fixture.wire(), async |cut| {
        fail_twice(&*heap, &ids).await;
        let failures = failures(&ids);
        let result = cut.during(heap.record_failures(&failures)).await;
        fail(&*heap, &ids).await;
        let counted = rest(&fixture).await;
        let (_, count) = *nth(&counted, 0, "drained entries");
        check!(
            count == 4 || result.is_err() && count == 3,
            "expected a count of 4, or of 3 after an error, came {count} after {result:?}"
        );
        check_eq!(counted, each(&ids, count));
    })
    .await;
}

/// H4: an event is forgotten or keeps its count, and no other event loses one.
pub async fn a_cut_success_is_applied_or_not<F: WireFixture>(fixture: F) {
    let (heap, ids) = (fixture.wired().await, some_ids());
    for forgotten in [1, 2] {
        at_each_place(fixture.wire(), async |cut| {
            fail_twice(&*heap, &ids).await;
            let result = cut
                .during(async {
                    match ids[..forgotten] {
                        [id] => heap.record_success(id).await,
                        ref ids => heap.forget(ids).await,
                    }
                })
                .await;
            fail(&*heap, &ids).await;
            for (id, count) in rest(&fixture).await {
                let kept = !ids[..forgotten].contains(&id);
                let may_be_kept = kept || result.is_err();
                check!(count == 3 && may_be_kept || count == 1 && !kept, "expected a count of 1 if {id} was forgotten, and else of 3, came {count} after {result:?}");
            }
        })
        .await;
    }
}

/// H5: an entry is drained or keeps its count. After a drain that failed, a drained event counts
/// from one.
pub async fn a_cut_drain_takes_an_entry_whole_or_not<F: WireFixture>(fixture: F) {
    let (heap, ids) = (fixture.wired().await, some_ids());
    at_each_place(fixture.wire(), async |cut| {
        fail_twice(&*heap, &ids).await;
        let result = cut.during(heap.drain_exceeded(2)).await;
        let is_ok = result.is_ok();
        if let Ok(drained) = result {
            check_eq!(counts(drained), each(&ids, 2));
        }
        fail(&*heap, &ids).await;
        let rest = rest(&fixture).await;
        check_eq!(rest.len(), 3, "entries of three events");
        let sound = |(_, count): &(EventId, u32)| *count == 1 || *count == 3 && !is_ok;
        check!(rest.iter().all(sound), "expected counts of 1 if the drain took the entry, and else of 3, came {rest:?} (the drain succeeded: {is_ok})");
    })
    .await;
}

/// H8: entries of a lease whose reply was lost have their counts when the lease runs out.
pub async fn a_cut_lease_loses_nothing<F: WireFixture>(fixture: F) {
    let (heap, ids) = (fixture.wired().await, some_ids());
    at_each_place(fixture.wire(), async |cut| {
        fail_twice(&*heap, &ids).await;
        let leased = cut.during(heap.lease_exceeded(1, 2, LEASE)).await;
        let left = ok(heap.lease_exceeded(1, 3, LEASE).await).len();
        check!(
            left == 1 || left == 3 && leased.is_err(),
            "expected 1 entry that is not leased, or 3 after an error, came {left} after {leased:?}"
        );
        fixture.elapse(LEASE).await;
        check_eq!(rest(&fixture).await, each(&ids, 2));
    })
    .await;
}

/// H18, H20: a prune removes only old entries, and reading the size removes nothing.
pub async fn a_cut_prune_takes_only_what_is_old<F: WireFixture>(fixture: F) {
    let (heap, ids, fresh) = (fixture.wired().await, some_ids(), EventId::new());
    let age = Duration::from_secs(8);
    at_each_place(fixture.wire(), async |cut| {
        fail(&*heap, &ids).await;
        fixture.elapse(age * 2).await;
        fail(&*heap, &[fresh]).await;
        let pruned = cut.during(heap.prune(age, 3)).await;
        let left = ok(heap.size().await).map(|size| size.entries);
        check!(
            left == Some(1) || pruned.is_err(),
            "expected 1 entry after a prune, came {left:?} after {pruned:?}"
        );
        ok(heap.prune(age, 3).await);
        check_eq!(rest(&fixture).await, [(fresh, 1)]);
    })
    .await;
    at_each_place(fixture.wire(), async |cut| {
        fail(&*heap, &[fresh]).await;
        let size = cut.during(heap.size()).await;
        let size = size.map(|size| size.map(|size| size.entries));
        check!(
            size.is_err() || matches!(size, Ok(Some(1))),
            "expected a size of 1 or an error, came {size:?}"
        );
        fail(&*heap, &[fresh]).await;
        check_eq!(rest(&fixture).await, [(fresh, 2)]);
        check_eq!(ok(heap.size().await), Some(HeapSize::new(0, None)));
    })
    .await;
}

/// H20: a connection that is cut while it is idle, and again at each place of the next connection.
pub async fn a_cut_connection_is_replaced<F: WireFixture>(fixture: F) {
    let (heap, id) = (fixture.wired().await, EventId::new());
    at_each_place(fixture.wire(), async |cut| {
        fail_twice(&*heap, &[id]).await;
        fixture.wire().cut_all();
        let result = cut
            .during(async {
                // The handle may find only now that its connection has ended.
                let _ = heap.size().await;
                let recorded = heap.record_failure(id).await;
                Ok(recorded.is_ok())
            })
            .await;
        ok(heap.record_failure(id).await);
        let rest = rest(&fixture).await;
        check_eq!(rest.len(), 1, "entries of one event");
        let (_, count) = rest[0];
        let is_ok = matches!(result, Ok(true));
        check!(
            count == 4 || !is_ok && count == 3,
            "expected a count of 4, or of 3 after an error, came {count} after {result:?}"
        );
    })
    .await;
}
