//! Claims, settlements, late settlements, quarantines, replays, purges and resumptions at once: each event
//! ends in one place.

mod support;

use outbox_conformance::seeds;
use outbox_conformance::store::StoreFixture;
use outbox_core::{
    Claim, ClaimLimit, DeadLetterFilter, DeadLetters, DlqEntry, ErrorKind, Event, EventId,
    OutboxError, OutboxStorage, Outcome, QuarantineOutcome, Settlement,
};
use outbox_store_postgres::PostgresStore;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use support::Own;
use support::load::random;
use tokio::sync::Barrier;

const LEASE: Duration = Duration::from_secs(30);
const EVENTS: usize = 120;
const TURNS: usize = 60;

fn below(seed: &mut u64, limit: usize) -> usize {
    usize::try_from(random(seed)).expect("31 bits") % limit
}

/// The result of a call, or none if its lease was lost. Other errors are not allowed.
#[track_caller]
fn allowed<T>(result: Result<T, OutboxError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.kind() == ErrorKind::LeaseLost => None,
        Err(error) => panic!("{error}"),
    }
}

fn outcome(seed: &mut u64) -> Outcome {
    let delay = Duration::from_millis(random(seed) % 3);
    match random(seed) % 14 {
        0..3 => Outcome::Published,
        3..6 => Outcome::Retry {
            delay,
            error: "refused".into(),
        },
        6..8 => Outcome::Dead {
            reason: "never".into(),
        },
        8..10 => Outcome::Released { delay },
        10..12 => Outcome::Held {
            destination: ["a", "b"][below(seed, 2)].into(),
            delay: if delay.is_zero() { LEASE } else { delay },
        },
        _ => Outcome::Kept,
    }
}

/// Claims and settles, but lets one lease in eight run out. Returns the published events.
async fn work(store: PostgresStore, mut seed: u64) -> Vec<EventId> {
    let mut published = Vec::new();
    for _ in 0..TURNS {
        let limit = 1 + below(&mut seed, 9);
        let lease = Duration::from_millis(1 + random(&mut seed) % 40);
        let claim =
            allowed(store.claim(ClaimLimit::events(limit), lease).await).expect("no lease yet");
        if claim.events.is_empty() || random(&mut seed).is_multiple_of(8) {
            continue;
        }
        let mut open: Vec<EventId> = claim.events.iter().map(|one| one.event.id).collect();
        // Kept events are settled later, or their lease runs out.
        while !open.is_empty() && !random(&mut seed).is_multiple_of(8) {
            let settlement = |id: &EventId| Settlement::new(*id, outcome(&mut seed));
            let settlements: Vec<Settlement> = open.iter().map(settlement).collect();
            if allowed(store.settle(claim.token, &settlements).await).is_none() {
                break;
            }
            let with = |meant: fn(&Outcome) -> bool| {
                let meant = settlements.iter().filter(move |one| meant(&one.outcome));
                meant.map(|one| one.id)
            };
            published.extend(with(|outcome| matches!(outcome, Outcome::Published)));
            open = with(|outcome| matches!(outcome, Outcome::Kept)).collect();
        }
    }
    published
}

/// Quarantines the events in a random order, a few at a time.
async fn quarantine(store: PostgresStore, ids: Arc<Vec<EventId>>, mut seed: u64) -> usize {
    let mut moved = 0;
    for _ in 0..TURNS {
        let now = SystemTime::now();
        let entry = |seed: &mut u64| {
            let id = ids[below(seed, ids.len())];
            DlqEntry::new(id, 3, now, now)
        };
        let entries: Vec<DlqEntry> = (0..4).map(|_| entry(&mut seed)).collect();
        let outcomes = allowed(store.quarantine_events(&entries).await).expect("no lease");
        let is_moved = |outcome: &&QuarantineOutcome| **outcome == QuarantineOutcome::Moved;
        moved += outcomes.iter().filter(is_moved).count();
    }
    moved
}

/// Replays most dead letters and purges a few, which it returns.
async fn operate(store: PostgresStore, mut seed: u64) -> Vec<EventId> {
    let (mut purged, all) = (Vec::new(), DeadLetterFilter::all());
    for turn in 0..TURNS {
        let limit = 1 + below(&mut seed, 5);
        if turn % 6 == 0 {
            let gone = store.purge(&all, 1).await;
            purged.extend(allowed(gone).expect("no lease"));
        } else {
            allowed(store.replay(&all, limit).await).expect("no lease");
        }
        allowed(store.clean_up(20).await).expect("no lease");
        let destination = if turn % 2 == 0 { "a" } else { "b" };
        allowed(store.resume(destination, limit).await).expect("no lease");
    }
    purged
}

/// The events that are still in the outbox.
async fn rest(own: &Own, store: &PostgresStore) -> Vec<EventId> {
    let mut rest = Vec::new();
    while store.backlog().await.expect("read").pending > 0 {
        own.elapse(2 * LEASE).await;
        let claim: Claim = store
            .claim(ClaimLimit::events(100), LEASE)
            .await
            .expect("claimed");
        let ids = claim.events.iter().map(|one| one.event.id);
        let published: Vec<Settlement> = ids
            .clone()
            .map(|id| Settlement::new(id, Outcome::Published))
            .collect();
        rest.extend(ids);
        store
            .settle(claim.token, &published)
            .await
            .expect("settled");
    }
    rest
}

async fn dead_letters(store: &PostgresStore) -> Vec<EventId> {
    let all = DeadLetterFilter::all();
    let dead_letters = store.list(&all, None, 10 * EVENTS).await.expect("listed");
    dead_letters
        .iter()
        .map(|dead_letter| dead_letter.id)
        .collect()
}

async fn all_move_events(hold: bool) {
    let own = Own::in_schema("outbox");
    let open = async || {
        let store = own.open().await;
        if hold {
            store.block_key_on_dead_letter()
        } else {
            store
        }
    };
    for round in seeds(1) {
        let events: Vec<Event> = (0..EVENTS)
            .map(|n| match n % 4 {
                0 => Event::new("raced", ""),
                _ => Event::new("raced", "").ordering_key(format!("key {}", n % 23)),
            })
            .collect();
        let ids: Arc<Vec<EventId>> = Arc::new(events.iter().map(|event| event.id).collect());
        own.append(&events).await;
        let barrier = Arc::new(Barrier::new(6));
        let mut workers = Vec::new();
        for worker in 0..3 {
            let (store, barrier) = (open().await, Arc::clone(&barrier));
            workers.push(tokio::spawn(async move {
                barrier.wait().await;
                work(store, 100 * round + worker).await
            }));
        }
        let mut movers = Vec::new();
        for mover in 0..2 {
            let (store, barrier, ids) = (open().await, Arc::clone(&barrier), Arc::clone(&ids));
            movers.push(tokio::spawn(async move {
                barrier.wait().await;
                quarantine(store, ids, 100 * round + 50 + mover).await
            }));
        }
        let store = open().await;
        barrier.wait().await;
        let mut found = operate(store.clone(), 100 * round + 99).await;
        for worker in workers {
            found.extend(worker.await.expect("worked"));
        }
        let mut moved = 0;
        for mover in movers {
            moved += mover.await.expect("moved");
        }
        assert!(moved > 0, "nothing was quarantined in round {round}");
        found.extend(dead_letters(&store).await);
        while !store
            .purge(&DeadLetterFilter::all(), 100)
            .await
            .expect("purged")
            .is_empty()
        {}
        found.extend(rest(&own, &store).await);
        let mut places: HashMap<EventId, usize> = ids.iter().map(|id| (*id, 0)).collect();
        for id in &found {
            *places.get_mut(id).expect("an event of this round") += 1;
        }
        places.retain(|_, places| *places != 1);
        assert_eq!(places, HashMap::new(), "in round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_event_ends_in_one_place() {
    all_move_events(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_event_ends_in_one_place_if_dead_letters_block_their_keys() {
    all_move_events(true).await;
}
