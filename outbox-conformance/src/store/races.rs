//! Several handles and transactions at once, with a start barrier and in rounds, as a single round
//! may pass by luck.

use super::{
    Store, StoreFixture, append, claim, event_ids, ids, keyed, publish_all, retry, settle,
};
use crate::check::{check, check_eq, joined, ok, refuse};
use outbox_core::{
    DeadLetterFilter, DlqEntry, ErrorKind, Event, EventId, Outcome, QuarantineOutcome,
};
use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::Barrier;
use tokio::task::{spawn_blocking, yield_now};

const ROUNDS: usize = 10;

fn dead() -> Outcome {
    Outcome::Dead {
        reason: "broken".into(),
    }
}

/// S3: concurrent claims are disjoint, and the events that they leave are claimed afterwards.
pub async fn concurrent_claims_are_disjoint<F: StoreFixture>(fixture: F) {
    for _ in 0..10 {
        let events: Vec<Event> = (0..20).map(|_| Event::new("conformance", "x")).collect();
        append(&fixture, &events);
        let barrier = Arc::new(Barrier::new(4));
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let (store, barrier) = (fixture.handle().await, Arc::clone(&barrier));
            tasks.push(tokio::spawn(async move {
                barrier.wait().await;
                let claim = claim(&store, 5).await;
                let claimed = ids(&claim.events);
                yield_now().await;
                if !claimed.is_empty() {
                    settle(&store, &claim, &Outcome::Published).await;
                }
                claimed
            }));
        }
        let mut claimed = Vec::new();
        for task in tasks {
            claimed.extend(joined(task).await);
        }
        claimed.extend(publish_all(&fixture.handle().await).await);
        claimed.sort_unstable();
        let mut expected = event_ids(&events);
        expected.sort_unstable();
        check_eq!(claimed, expected);
    }
}

/// S1, S2: eight writers with rollbacks, two workers: each committed event once, in order.
pub async fn concurrent_writers_are_delivered_once_and_in_order<F: StoreFixture>(fixture: F) {
    let fixture = Arc::new(fixture);
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let fixture = Arc::clone(&fixture);
            tokio::task::spawn_blocking(move || {
                let mut committed = Vec::new();
                for (turn, event) in keyed(&format!("writer {writer}"), 30)
                    .into_iter()
                    .enumerate()
                {
                    let mut transaction = fixture.begin();
                    ok(transaction.append(std::slice::from_ref(&event)));
                    if turn % 3 == 2 {
                        drop(transaction);
                    } else {
                        ok(transaction.commit());
                        committed.push(event.id);
                    }
                }
                committed
            })
        })
        .collect();
    let mut delivered: HashMap<String, Vec<EventId>> = HashMap::new();
    let workers = [fixture.handle().await, fixture.handle().await];
    let mut written = HashSet::new();
    for writer in writers {
        drain(&workers, &mut delivered).await;
        written.insert(joined(writer).await);
    }
    drain(&workers, &mut delivered).await;
    let delivered: HashSet<Vec<EventId>> = delivered.into_values().collect();
    check_eq!(delivered, written, "the delivered events of each writer");
}

async fn drain(workers: &[Arc<dyn Store>], delivered: &mut HashMap<String, Vec<EventId>>) {
    for store in workers.iter().cycle() {
        let claim = claim(store, 7).await;
        if claim.events.is_empty() {
            return;
        }
        settle(store, &claim, &Outcome::Published).await;
        for claimed in claim.events {
            let key = claimed.event.ordering_key.unwrap_or_default();
            delivered.entry(key).or_default().push(claimed.event.id);
        }
    }
}

/// S14: Of transactions that append one token at once, one commits; the others are duplicates,
/// whether the append or the commit reports it.
pub async fn a_token_is_taken_by_one_of_many_transactions<F: StoreFixture>(fixture: F) {
    const WRITERS: usize = 4;
    let (store, fixture) = (fixture.handle().await, Arc::new(fixture));
    for round in 0..ROUNDS {
        let barrier = Arc::new(std::sync::Barrier::new(WRITERS));
        let writers = [(); WRITERS].map(|()| {
            let (fixture, barrier) = (Arc::clone(&fixture), Arc::clone(&barrier));
            let event = Event::new("conformance", "x").idempotency_token(format!("t{round}"));
            spawn_blocking(move || {
                barrier.wait();
                let mut transaction = fixture.begin();
                let appended = transaction.append(std::slice::from_ref(&event));
                appended
                    .and_then(|()| transaction.commit())
                    .map(|()| event.id)
            })
        });
        let mut committed = Vec::new();
        for writer in writers {
            match joined(writer).await {
                Ok(id) => committed.push(id),
                Err(error) => {
                    check_eq!(error.kind(), ErrorKind::Duplicate, "{error}");
                }
            }
        }
        check_eq!(committed.len(), 1, "transactions that took one token");
        check_eq!(publish_all(&store).await, committed);
    }
}

/// S8: a reader on another handle finds each event in the outbox or in the quarantine, never in
/// both and never in neither, while events go there and back.
pub async fn a_quarantine_is_never_seen_half_done<F: StoreFixture>(fixture: F) {
    const COUNT: usize = 20;
    let (store, reader) = (fixture.handle().await, fixture.handle().await);
    let events: Vec<Event> = (0..COUNT).map(|_| Event::new("conformance", "x")).collect();
    append(&fixture, &events);
    let now = SystemTime::now();
    let entries: Vec<_> = events
        .iter()
        .map(|event| DlqEntry::new(event.id, 3, now, now))
        .collect();
    let all = DeadLetterFilter::all();
    for _ in 0..ROUNDS {
        settle(&store, &claim(&store, COUNT).await, &retry(0)).await;
        let moved = watched(&reader, COUNT, store.quarantine_events(&entries)).await;
        check_eq!(ok(moved), [QuarantineOutcome::Moved; COUNT]);
        ok(watched(&reader, COUNT, store.replay(&all, COUNT)).await);
        let claim = claim(&store, COUNT).await;
        watched(&reader, COUNT, settle(&store, &claim, &dead())).await;
        ok(watched(&reader, COUNT, store.replay(&all, COUNT)).await);
    }
}

/// Makes a call, and checks where `count` events are until the call has ended: whenever it waits,
/// and at least once. Both are one task, as on a busy machine two threads need not run at the same
/// time.
async fn watched<T>(reader: &Arc<dyn Store>, count: usize, call: impl Future<Output = T>) -> T {
    let ended = AtomicBool::new(false);
    let looking = async {
        loop {
            let seen = ok(reader.backlog().await);
            check_eq!(
                seen.pending + seen.dead_letters,
                count as u64,
                "events in {seen:?}"
            );
            if ended.load(Ordering::SeqCst) {
                return;
            }
            yield_now().await;
        }
    };
    let calling = async {
        let output = call.await;
        ended.store(true, Ordering::SeqCst);
        output
    };
    // A look always goes before what the call does next.
    tokio::join!(biased; looking, calling).1
}

/// S17: a wait on one handle ends after a commit, and after a replay on another handle.
pub async fn a_wait_ends_when_another_handle_brings_work<F: StoreFixture>(fixture: F) {
    let (waiter, other) = (fixture.handle().await, fixture.handle().await);
    for round in 0..ROUNDS {
        let events = keyed("k", 1);
        if round % 2 == 1 {
            append(&fixture, &events);
            settle(&other, &claim(&other, 1).await, &dead()).await;
        }
        let mut waiting = pin!(waiter.wait_for_work(Duration::from_secs(600)));
        let begun = tokio::time::timeout(Duration::ZERO, &mut waiting).await;
        check!(
            begun.is_err(),
            "expected a wait without work to last, came its end"
        );
        if round % 2 == 1 {
            ok(other.replay(&DeadLetterFilter::all(), 1).await);
        } else {
            append(&fixture, &events);
        }
        let woken = tokio::time::timeout(Duration::from_secs(60), waiting).await;
        ok(woken.unwrap_or_else(|_| {
            refuse!("expected a wait to end within 60 s of new work, came no end")
        }));
        check_eq!(publish_all(&other).await, event_ids(&events));
    }
}
