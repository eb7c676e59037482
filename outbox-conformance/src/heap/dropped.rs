//! A caller that goes away at each await point of a call in turn.

use super::{AGE, COUNT, Call, HeapFixture, LEASE};
use crate::check::{check, check_eq, ok};
use crate::crash::at_each_point;
use outbox_core::{DlqHeap, EventId, FailedAttempt};
use std::collections::HashMap;

/// Drops a call at each of its await points. Each time it is applied or not, and later calls work,
/// on its handle and on a fresh one. A server may still execute the call at the first look.
pub(super) async fn dropped_anywhere<F: HeapFixture>(
    fixture: &F,
    name: &str,
    call: impl Fn(&[EventId]) -> Call,
) {
    let heap = fixture.handle().await;
    at_each_point(name, async |point| {
        let ids = [(); 3].map(|()| EventId::new());
        let failures = ids.map(FailedAttempt::new);
        for _ in 0..COUNT {
            ok(heap.record_failures(&failures).await);
        }
        fixture.elapse(AGE + AGE / 2).await;
        let call = call(&ids);
        let answer = point.reach(call.run(&*heap)).await;
        let ended = answer.map(ok).is_some();

        let (fresh, marker) = (fixture.handle().await, EventId::new());
        ok(heap.record_failure(marker).await);
        ok(fresh.record_failure(marker).await);
        let mut counted = HashMap::new();
        for is_last in [ended, true] {
            fixture.elapse(LEASE).await;
            drain_into(&mut counted, &*fresh).await;
            let found = ids.map(|id| counted.get(&id).copied().unwrap_or(0));
            if fits(&call, ended, &ids, &found) {
                break;
            }
            check!(
                !is_last,
                "{call}, dropped at {point:?}: expected each count before or after it, came {found:?}"
            );
            fixture.end_abandoned_calls().await;
        }
        check_eq!(counted.get(&marker), Some(&2), "failures after {call} was dropped at {point:?}");
        ended
    })
    .await;
}

async fn drain_into(counted: &mut HashMap<EventId, u32>, heap: &dyn DlqHeap) {
    for entry in ok(heap.drain_exceeded(1).await) {
        *counted.entry(entry.id).or_default() += entry.failure_count;
    }
}

/// Whether the call was applied to all events or, if it was dropped, to none. Calls that may be
/// repeated without harm are applied to each event or not.
fn fits(call: &Call, ended: bool, ids: &[EventId], found: &[u32]) -> bool {
    let applied = |(id, count): (&EventId, &u32)| *count == after(call, *id);
    let mut events = ids.iter().zip(found);
    if ended {
        return events.all(applied);
    }
    if matches!(call, Call::Forget(_) | Call::Prune { .. }) {
        return events.all(|event| *event.1 == COUNT || applied(event));
    }
    found.iter().all(|count| *count == COUNT) || events.all(applied)
}

/// The count of an event after the call.
fn after(call: &Call, id: EventId) -> u32 {
    match call {
        Call::RecordFailure(one) if *one == id => COUNT + 1,
        Call::RecordFailures(_) => COUNT + 1,
        Call::RecordSuccess(one) if *one == id => 0,
        Call::Forget(_) | Call::Drain { .. } | Call::Prune { .. } => 0,
        _ => COUNT,
    }
}
