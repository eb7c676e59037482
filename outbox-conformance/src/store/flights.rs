//! Several claims of one handle that are open at once, with events that are kept or held.

use super::{Store, StoreFixture, append, keyed, publish_all, released, retry};
use crate::case::progress;
use crate::check::{check, check_eq, ok};
use crate::effort::{again, choose, runner, seeds};
use outbox_core::{Claim, ClaimLimit, ClaimToken, DeadLetterFilter, EventId, Outcome, Settlement};
use proptest::test_runner::TestRunner;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

const KEYS: usize = 4;
const STEPS: usize = 60;

/// No lease ends during a script.
const LEASE: Duration = Duration::from_secs(24 * 3600);

/// The events of a script, and where they are.
#[derive(Default)]
struct Flight {
    /// The events of each key, in their order.
    keys: HashMap<String, Vec<EventId>>,
    /// Published, or dead.
    gone: HashSet<EventId>,
    open: Vec<(ClaimToken, Vec<EventId>)>,
}

impl Flight {
    /// Checks that no other claim has an event of this one, and that each earlier event of its key is gone or
    /// comes before it in this claim.
    fn take(&mut self, claim: &Claim) {
        let mut before: HashSet<EventId> = self.gone.clone();
        for event in claim.events.iter().map(|one| &one.event) {
            let is_open = self.open.iter().any(|(_, ids)| ids.contains(&event.id));
            check!(
                !is_open,
                "expected each event in one claim, came {} twice",
                event.id
            );
            check!(
                !self.gone.contains(&event.id),
                "expected events that are not settled, came {}",
                event.id
            );
            let key = event.ordering_key.clone().unwrap_or_default();
            let of_key = self.keys.get(&key).map_or(&[][..], Vec::as_slice);
            let earlier = of_key.iter().take_while(|id| **id != event.id);
            let missing: Vec<_> = earlier.filter(|id| !before.contains(id)).collect();
            check_eq!(
                missing.len(),
                0,
                "earlier events of {key} before {}",
                event.id
            );
            before.insert(event.id);
        }
        let ids = claim.events.iter().map(|one| one.event.id).collect();
        self.open.push((claim.token, ids));
    }

    /// Settles the open claim `at` with these outcomes.
    async fn settle(&mut self, store: &Arc<dyn Store>, at: usize, outcomes: Vec<Outcome>) {
        let (token, ids) = self.open.swap_remove(at);
        let pairs = ids.into_iter().zip(outcomes);
        let settlements: Vec<Settlement> = pairs
            .map(|(id, outcome)| Settlement::new(id, outcome))
            .collect();
        ok(store.settle(token, &settlements).await);
        let mut kept = Vec::new();
        for one in settlements {
            match one.outcome {
                Outcome::Published | Outcome::Dead { .. } => drop(self.gone.insert(one.id)),
                Outcome::Kept => kept.push(one.id),
                _ => {}
            }
        }
        if !kept.is_empty() {
            self.open.push((token, kept));
        }
    }

    fn ids_at(&self, at: usize) -> usize {
        self.open.get(at).map_or(0, |(_, ids)| ids.len())
    }
}

fn below(limit: usize, choices: &mut TestRunner) -> usize {
    choose(&(0..limit), choices)
}

fn outcome(choices: &mut TestRunner) -> Outcome {
    let delay = Duration::from_secs(below(3, choices) as u64);
    match below(12, choices) {
        0..4 => Outcome::Published,
        4 => Outcome::Dead {
            reason: "broken".into(),
        },
        5 => retry(delay.as_secs()),
        6 => Outcome::Released { delay },
        7 => released(),
        8 | 9 => Outcome::Held {
            destination: ["a", "b"][below(2, choices)].into(),
            delay: 2 * delay,
        },
        _ => Outcome::Kept,
    }
}

/// S2, S3, S22, S23: several claims are open at once and are settled with random outcomes in a random order. No
/// event is in two claims, each waits for the earlier events of its key, and none is lost.
pub async fn claims_in_flight_share_no_event_and_keep_their_order<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    for seed in seeds(6) {
        progress!("{}", again(seed));
        let (mut flight, mut choices) = (Flight::default(), runner(seed));
        for _ in 0..STEPS {
            step(&fixture, &store, &mut flight, &mut choices).await;
        }
        while !flight.open.is_empty() {
            let published = vec![Outcome::Published; flight.ids_at(0)];
            flight.settle(&store, 0, published).await;
        }
        fixture.elapse(Duration::from_secs(60)).await;
        let rest: HashSet<EventId> = publish_all(&store).await.into_iter().collect();
        let all: HashSet<EventId> = flight.keys.values().flatten().copied().collect();
        let left: HashSet<EventId> = all.difference(&flight.gone).copied().collect();
        check_eq!(rest, left, "events in the end; {}", again(seed));
        check_eq!(ok(store.backlog().await).pending, 0);
        while !ok(store.purge(&DeadLetterFilter::all(), 100).await).is_empty() {}
    }
}

async fn step<F: StoreFixture>(
    fixture: &F,
    store: &Arc<dyn Store>,
    flight: &mut Flight,
    choices: &mut TestRunner,
) {
    match below(10, choices) {
        0 | 1 => {
            let key = format!("key {}", below(KEYS, choices));
            let events = keyed(&key, 1 + below(3, choices));
            append(fixture, &events);
            let ids = events.iter().map(|event| event.id);
            flight.keys.entry(key).or_default().extend(ids);
        }
        2..6 => {
            let limit = ClaimLimit::events(1 + below(8, choices));
            let claim = ok(store.claim(limit, LEASE).await);
            if !claim.events.is_empty() {
                flight.take(&claim);
            }
        }
        6..8 if !flight.open.is_empty() => {
            let at = below(flight.open.len(), choices);
            let outcomes = (0..flight.ids_at(at)).map(|_| outcome(choices)).collect();
            flight.settle(store, at, outcomes).await;
        }
        8 => drop(ok(store.resume(["a", "b"][below(2, choices)], 1).await)),
        _ => fixture.elapse(Duration::from_secs(1)).await,
    }
}
