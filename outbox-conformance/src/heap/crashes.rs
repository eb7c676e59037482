//! A server that is killed during calls.

use super::{CrashFixture, counts};
use crate::case::progress;
use crate::check::{check, check_eq, ok, refuse, unwrapped};
use outbox_core::{DlqHeap, ErrorKind, EventId, FailedAttempt, OutboxError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, yield_now};

const CRASHES: usize = 4;
const CALLERS: usize = 3;
const IDS: usize = 4;

/// How many calls are answered before the next crash.
const CALLS: u32 = 100;

const LEASE: Duration = Duration::from_secs(60);

/// The least and the most that an event may have been counted.
type Bounds = BTreeMap<EventId, (u32, u32)>;

/// H1, H4: an answered call survives the death of the server, a call without an answer is applied
/// or not, and the handles work afterwards.
pub async fn what_was_answered_survives_a_crash<F: CrashFixture>(fixture: F) {
    let (answered, is_over) = (
        Arc::new(Semaphore::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let (is_down, seen) = watch::channel(false);
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let heap = fixture.handle().await;
        let (answered, is_over) = (Arc::clone(&answered), Arc::clone(&is_over));
        callers.spawn(call(heap, answered, is_over, seen.clone()));
    }
    for crash in 1..=CRASHES {
        progress!("crash {crash} of {CRASHES}");
        // Calls are under way when the server dies, and others follow.
        answered.forget_permits(usize::MAX);
        tokio::select! {
            _ = answered.acquire_many(CALLS) => {}
            failed = callers.join_next() => {
                drop(failed.map(unwrapped));
                refuse!("expected callers that continue after a crash, came an end")
            },
        }
        is_down.send_replace(true);
        fixture.crash().await;
        is_down.send_replace(false);
    }
    is_over.store(true, SeqCst);
    let mut bounds = Bounds::new();
    while let Some(caller) = callers.join_next().await {
        bounds.extend(unwrapped(caller));
    }
    fixture.elapse(LEASE).await;
    let rest = counts(ok(fixture.handle().await.drain_exceeded(1).await));
    let rest: BTreeMap<EventId, u32> = rest.into_iter().collect();
    check!(
        rest.keys().all(|id| bounds.contains_key(id)),
        "expected only events that failed, came {rest:?}"
    );
    for (id, (least, most)) in bounds {
        let count = rest.get(&id).copied().unwrap_or_default();
        check!(
            (least..=most).contains(&count),
            "expected a count of {least} to {most}, came {count}"
        );
    }
}

/// Counts and forgets its own events repeatedly, and records the expected counts.
async fn call(
    heap: Arc<dyn DlqHeap>,
    answered: Arc<Semaphore>,
    is_over: Arc<AtomicBool>,
    mut is_down: watch::Receiver<bool>,
) -> Bounds {
    let ids: Vec<EventId> = (0..IDS).map(|_| EventId::new()).collect();
    let mut bounds: Bounds = ids.iter().map(|id| (*id, (0, 0))).collect();
    for step in 0.. {
        if is_over.load(SeqCst) {
            break;
        }
        let id = ids[step % IDS];
        match take(&*heap, step % 5, id, &ids, &mut bounds).await {
            Ok(()) => answered.add_permits(1),
            Err(error) => {
                doubt(&mut bounds, step % 5, id);
                check_eq!(error.kind(), ErrorKind::Unavailable, "the kind of {error}");
                drop(is_down.wait_for(|is_down| !is_down).await);
                ok(heap.size().await);
            }
        }
        yield_now().await;
    }
    bounds
}

/// Makes one call and records its effect. One of five calls forgets, another event each time.
async fn take(
    heap: &dyn DlqHeap,
    step: usize,
    id: EventId,
    ids: &[EventId],
    bounds: &mut Bounds,
) -> Result<(), OutboxError> {
    match step {
        0 => {
            heap.record_failure(id).await?;
            add(bounds, &[id], 1);
        }
        3 => drop(heap.lease_exceeded(1, 2, LEASE).await?),
        4 => {
            heap.forget(&[id]).await?;
            bounds.insert(id, (0, 0));
        }
        _ => {
            let batch: Vec<_> = ids.iter().map(|id| FailedAttempt::new(*id)).collect();
            heap.record_failures(&batch).await?;
            add(bounds, ids, 1);
        }
    }
    Ok(())
}

fn add(bounds: &mut Bounds, ids: &[EventId], least: u32) {
    for id in ids {
        let (at_least, at_most) = bounds.entry(*id).or_default();
        *at_least += least;
        *at_most += 1;
    }
}

/// A call whose answer is lost was applied or not.
fn doubt(bounds: &mut Bounds, step: usize, id: EventId) {
    match step {
        0 => add(bounds, &[id], 0),
        3 => {}
        4 => bounds.entry(id).or_default().0 = 0,
        _ => {
            let ids: Vec<EventId> = bounds.keys().copied().collect();
            add(bounds, &ids, 0);
        }
    }
}
