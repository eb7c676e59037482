//! Rows that another program edits while a worker has claimed them (S13).

use super::{
    Edit, EditFixture, LEASE, Store, append, claim, each, event_ids, keyed, publish_all, released,
    retry, settle, sorted,
};
use crate::check::{check, check_eq, ok};
use outbox_core::{Claim, ClaimLimit, DeadLetterFilter, Event, EventId, Outcome};
use std::sync::Arc;
use std::time::Duration;

/// Of claims that take all events of a case.
const LIMIT: usize = 24;

fn dead() -> Outcome {
    Outcome::Dead {
        reason: "broken".into(),
    }
}

/// Three events of a key and one of another, from the log or after they were released.
async fn claimed<F: EditFixture>(
    fixture: &F,
    store: &Arc<dyn Store>,
    waits: bool,
) -> (Vec<Event>, Claim) {
    let events = [keyed("edited", 3), keyed("other", 1)].concat();
    append(fixture, &events);
    if waits {
        settle(store, &claim(store, LIMIT).await, &released()).await;
    }
    let claim = claim(store, LIMIT).await;
    check_eq!(claim.events.len(), events.len(), "claimed events");
    (events, claim)
}

/// Publishes the remaining events, and checks that nothing waits and no key is blocked.
async fn publish_the_rest<F: EditFixture>(fixture: &F, store: &Arc<dyn Store>) -> Vec<EventId> {
    let rest = publish_all(store).await;
    check_eq!(
        ok(store.backlog().await).pending,
        0,
        "pending events in the end"
    );
    for key in ["edited", "other", "changed"] {
        let later = keyed(key, 1);
        append(fixture, &later);
        check_eq!(
            publish_all(store).await,
            event_ids(&later),
            "events of the key {key}"
        );
    }
    rest
}

/// S13: a settlement applies to the rows that are there, with any outcome.
pub async fn a_row_deleted_in_flight_costs_only_itself<F: EditFixture>(fixture: F) {
    let (store, all) = (fixture.handle().await, DeadLetterFilter::all());
    for outcome in [Outcome::Published, retry(0), dead(), released()] {
        for (deleted, waits) in [(0, false), (1, false), (2, false), (0, true), (1, true)] {
            let (mut events, claim) = claimed(&fixture, &store, waits).await;
            let gone = events.remove(deleted);
            fixture.edit(Edit::Delete(gone.id)).await;
            ok(store.settle(claim.token, &each(&claim, &outcome)).await);
            let rest = publish_the_rest(&fixture, &store).await;
            let dead_letters = ok(store.list(&all, None, 10).await);
            let dead_letters: Vec<_> = dead_letters
                .iter()
                .map(|dead_letter| dead_letter.id)
                .collect();
            let left = sorted(event_ids(&events));
            let expected = match outcome {
                Outcome::Published => (vec![], vec![]),
                Outcome::Dead { .. } => (vec![], left),
                _ => (left, vec![]),
            };
            let found = (sorted(rest), sorted(dead_letters));
            check_eq!(
                found,
                expected,
                "events and dead letters after row {deleted} was deleted and settled as {outcome:?}"
            );
            ok(store.purge(&all, 10).await);
        }
    }
}

/// S13, S22: a late settlement applies to the kept events whose rows are there.
pub async fn a_kept_row_that_is_deleted_costs_only_itself<F: EditFixture>(fixture: F) {
    let store = fixture.handle().await;
    for outcome in [Outcome::Published, retry(0), released()] {
        for deleted in [0, 1, 3] {
            let (mut events, claim) = claimed(&fixture, &store, false).await;
            settle(&store, &claim, &Outcome::Kept).await;
            let gone = events.remove(deleted);
            fixture.edit(Edit::Delete(gone.id)).await;
            settle(&store, &claim, &outcome).await;
            let rest = publish_the_rest(&fixture, &store).await;
            if matches!(outcome, Outcome::Published) {
                events.clear();
            }
            check_eq!(
                sorted(rest),
                sorted(event_ids(&events)),
                "events after {outcome:?} without event {deleted}"
            );
        }
    }
}

/// S13: a claim without rows settles, and its keys are not blocked.
pub async fn a_claim_without_rows_settles<F: EditFixture>(fixture: F) {
    let store = fixture.handle().await;
    for outcome in [Outcome::Published, retry(0), dead(), released()] {
        for waits in [false, true] {
            let (events, claim) = claimed(&fixture, &store, waits).await;
            for event in &events {
                fixture.edit(Edit::Delete(event.id)).await;
            }
            ok(store.settle(claim.token, &each(&claim, &outcome)).await);
            check_eq!(publish_the_rest(&fixture, &store).await, []);
        }
    }
}

/// S13: a row that takes the place of a claimed one, under its id, is a new event and is delivered.
pub async fn a_row_replaced_in_flight_is_delivered<F: EditFixture>(fixture: F) {
    let store = fixture.handle().await;
    for outcome in [Outcome::Published, retry(0), released()] {
        for waits in [false, true] {
            let (events, claim) = claimed(&fixture, &store, waits).await;
            let mut other = events[1].clone();
            other.payload = "replaced".into();
            fixture.edit(Edit::Replace(other.clone())).await;
            ok(store.settle(claim.token, &each(&claim, &outcome)).await);
            let mut delivered = Vec::new();
            loop {
                let limit = ClaimLimit::events(LIMIT);
                let claim = ok(store.claim(limit, LEASE).await);
                if claim.events.is_empty() {
                    break;
                }
                settle(&store, &claim, &Outcome::Published).await;
                delivered.extend(claim.events.into_iter().map(|one| one.event));
            }
            let is_there = delivered.contains(&other);
            check!(
                is_there,
                "expected the row that replaced another, came {delivered:?} after {outcome:?}"
            );
            check_eq!(publish_the_rest(&fixture, &store).await, []);
        }
    }
}

/// S13: an event whose ordering key is changed is published or comes back under its new key, and
/// neither key is held up.
pub async fn a_key_changed_in_flight_blocks_nothing<F: EditFixture>(fixture: F) {
    let store = fixture.handle().await;
    for outcome in [Outcome::Published, retry(0), released()] {
        for (changed, waits) in [(0, false), (1, false), (2, false), (0, true), (1, true)] {
            let (events, claim) = claimed(&fixture, &store, waits).await;
            let key = "changed".to_owned();
            fixture.edit(Edit::ChangeKey(events[changed].id, key)).await;
            ok(store.settle(claim.token, &each(&claim, &outcome)).await);
            let mut rest = sorted(publish_the_rest(&fixture, &store).await);
            rest.dedup();
            if matches!(outcome, Outcome::Published) {
                // Published before; it may come once more, as its row is another one now.
                rest.retain(|id| *id != events[changed].id);
                check_eq!(
                    rest,
                    [],
                    "other events that come twice after a new key for row {changed}"
                );
            } else {
                let all = sorted(event_ids(&events));
                check_eq!(
                    rest,
                    all,
                    "events after a new key for row {changed} and {outcome:?}"
                );
            }
        }
    }
}

/// S13: an event whose ordering key is changed while no worker has it is not lost.
pub async fn a_key_changed_before_a_claim_loses_nothing<F: EditFixture>(fixture: F) {
    let store = fixture.handle().await;
    // Other keys are read first, as far as there is something.
    let before: Vec<Event> = (0..64)
        .flat_map(|number| keyed(&format!("before {number}"), 1))
        .collect();
    append(&fixture, &before);
    check_eq!(
        sorted(publish_all(&store).await),
        sorted(event_ids(&before))
    );
    for waits in [false, true] {
        let events = keyed("edited", 8);
        append(&fixture, &events);
        if waits {
            settle(&store, &claim(&store, LIMIT).await, &retry(60)).await;
        }
        for (number, event) in events.iter().enumerate() {
            let key = format!("changed {number}");
            fixture.edit(Edit::ChangeKey(event.id, key)).await;
        }
        fixture.elapse(Duration::from_secs(60)).await;
        let mut delivered = sorted(publish_the_rest(&fixture, &store).await);
        delivered.dedup();
        check_eq!(
            delivered,
            sorted(event_ids(&events)),
            "events with new keys (they waited for a retry: {waits})"
        );
    }
}
