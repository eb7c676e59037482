//! Stores that let a dead letter hold its ordering key (S9).

use super::{
    HoldingFixture, LEASE, Store, append, claim, each, event_ids, ids, keyed, mixes, publish_all,
    released, retry, settle,
};
use crate::check::{check, check_eq, ok};
use outbox_core::{
    DeadLetterFilter, DlqEntry, Event, EventId, Outcome, QuarantineOutcome, Settlement,
};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const LONG: Duration = Duration::from_secs(24 * 3600);

fn broken() -> Outcome {
    Outcome::Dead {
        reason: "broken".into(),
    }
}

async fn quarantine(store: &Arc<dyn Store>, id: EventId) {
    let now = SystemTime::now();
    let entries = [DlqEntry::new(id, 3, now, now)];
    let moved = ok(store.quarantine_events(&entries).await);
    check_eq!(moved, [QuarantineOutcome::Moved]);
}

/// Appends three events of a key, and quarantines the first after a failure.
async fn held<F: HoldingFixture>(fixture: &F, store: &Arc<dyn Store>) -> Vec<Event> {
    let events = keyed("held", 3);
    append(fixture, &events);
    let first = claim(store, 2).await;
    let mut settlements = each(&first, &released());
    settlements[0].outcome = retry(600);
    ok(store.settle(first.token, &settlements).await);
    quarantine(store, events[0].id).await;
    events
}

/// S9: no later event of the key is claimed, not even one that was claimed before; other keys are
/// published.
pub async fn successors_wait_for_a_dead_letter_of_their_key<F: HoldingFixture>(fixture: F) {
    let store = fixture.holding_handle().await;
    check!(
        store.blocks_key_on_dead_letter(),
        "expected a handle that blocks keys, came one that does not"
    );
    held(&fixture, &store).await;
    let (later, free) = (keyed("held", 1), keyed("free", 2));
    append(&fixture, &later);
    append(&fixture, &free);
    check_eq!(publish_all(&store).await, event_ids(&free));
    fixture.elapse(LONG).await;
    check_eq!(publish_all(&store).await, []);
    check_eq!(ok(store.backlog().await).pending, 3);
}

/// S9: the block is in the store, so a handle that blocks no keys respects it, and its own
/// quarantines block nothing.
pub async fn every_handle_keeps_a_hold<F: HoldingFixture>(fixture: F) {
    held(&fixture, &fixture.holding_handle().await).await;
    let plain = fixture.handle().await;
    check!(
        !plain.blocks_key_on_dead_letter(),
        "expected a handle that blocks no keys, came one that does"
    );
    let other = keyed("other", 2);
    append(&fixture, &other);
    settle(&plain, &claim(&plain, 1).await, &broken()).await;
    check_eq!(publish_all(&plain).await, event_ids(&other[1..]));
}

/// S9, D2: the replayed event is claimed before the later events of its key, with no attempts.
pub async fn a_replay_goes_before_its_successors<F: HoldingFixture>(fixture: F) {
    let store = fixture.holding_handle().await;
    let events = held(&fixture, &store).await;
    let later = keyed("held", 1);
    append(&fixture, &later);
    check_eq!(publish_all(&store).await, []);
    check_eq!(
        ok(store.replay(&DeadLetterFilter::all(), 10).await),
        [events[0].id]
    );
    let back = claim(&store, 1).await;
    check_eq!(ids(&back.events), [events[0].id]);
    check_eq!(back.events[0].attempts, 0);
    check_eq!(back.events[0].event, events[0], "the replayed event");
    settle(&store, &back, &Outcome::Published).await;
    let rest = event_ids(&[&events[1..], &later[..]].concat());
    check_eq!(publish_all(&store).await, rest);
}

/// S9: after a purge of the dead letter the later events of the key are published.
pub async fn a_purge_unblocks_the_successors<F: HoldingFixture>(fixture: F) {
    let store = fixture.holding_handle().await;
    let events = held(&fixture, &store).await;
    ok(store.purge(&DeadLetterFilter::all(), 10).await);
    check_eq!(publish_all(&store).await, event_ids(&events[1..]));
    let fresh = keyed("held", 1);
    append(&fixture, &fresh);
    check_eq!(publish_all(&store).await, event_ids(&fresh));
}

/// S9: a permanent failure holds its key as well, also one that has no successor yet.
pub async fn a_dead_event_holds_its_key<F: HoldingFixture>(fixture: F) {
    let (store, events) = (fixture.holding_handle().await, keyed("held", 3));
    append(&fixture, &events[..2]);
    let claimed = claim(&store, 2).await;
    let outcomes = [Outcome::Published, broken()];
    let settlements: Vec<Settlement> = ids(&claimed.events)
        .into_iter()
        .zip(outcomes)
        .map(|(id, outcome)| Settlement::new(id, outcome))
        .collect();
    ok(store.settle(claimed.token, &settlements).await);
    append(&fixture, &events[2..]);
    check_eq!(publish_all(&store).await, []);
    ok(store.replay(&DeadLetterFilter::all(), 10).await);
    check_eq!(publish_all(&store).await, event_ids(&events[1..]));
}

/// S9: an event before the dead letter is not blocked, and the events after it are.
pub async fn events_before_a_dead_letter_are_published<F: HoldingFixture>(fixture: F) {
    let (store, events) = (fixture.holding_handle().await, keyed("held", 4));
    append(&fixture, &events);
    let claimed = claim(&store, 4).await;
    settle(&store, &claimed, &retry(10)).await;
    quarantine(&store, events[1].id).await;
    let later = keyed("held", 1);
    append(&fixture, &later);
    fixture.elapse(Duration::from_secs(10)).await;
    check_eq!(publish_all(&store).await, [events[0].id]);
    ok(store.replay(&DeadLetterFilter::all(), 10).await);
    let rest = event_ids(&[&events[1..], &later[..]].concat());
    check_eq!(publish_all(&store).await, rest);
}

/// S9: an event before the dead letter that waits for a retry keeps its time and its attempts.
pub async fn a_replay_keeps_the_time_of_an_earlier_retry<F: HoldingFixture>(fixture: F) {
    let (store, events) = (fixture.holding_handle().await, keyed("held", 3));
    append(&fixture, &events);
    settle(&store, &claim(&store, 3).await, &retry(10)).await;
    quarantine(&store, events[1].id).await;
    ok(store.replay(&DeadLetterFilter::all(), 10).await);
    check_eq!(
        ids(&claim(&store, 10).await.events),
        [],
        "events claimed before the retry"
    );
    fixture.elapse(Duration::from_secs(10)).await;
    let claimed = claim(&store, 10).await;
    check_eq!(ids(&claimed.events), event_ids(&events));
    let attempts: Vec<u32> = claimed.events.iter().map(|event| event.attempts).collect();
    check_eq!(attempts, [1, 0, 0]);
}

/// S7, S9: events of a lost claim, which are claimed alone, are blocked as well.
pub async fn events_of_a_lost_claim_stay_blocked<F: HoldingFixture>(fixture: F) {
    let (store, events) = (fixture.holding_handle().await, keyed("held", 3));
    append(&fixture, &events);
    check_eq!(claim(&store, 3).await.events.len(), 3);
    fixture.elapse(LEASE).await;
    let alone = claim(&store, 3).await;
    check_eq!(ids(&alone.events), [events[0].id]);
    settle(&store, &alone, &retry(10)).await;
    quarantine(&store, events[0].id).await;
    fixture.elapse(LONG).await;
    check_eq!(publish_all(&store).await, []);
    ok(store.replay(&DeadLetterFilter::all(), 10).await);
    check_eq!(publish_all(&store).await, event_ids(&events));
}

/// S9: an event that was never claimed cannot block its key, so it is not moved.
pub async fn an_event_that_was_never_claimed_is_busy<F: HoldingFixture>(fixture: F) {
    let (store, events) = (fixture.holding_handle().await, keyed("held", 3));
    append(&fixture, &events);
    let now = SystemTime::now();
    let entries = [DlqEntry::new(events[1].id, 3, now, now)];
    let answer = ok(store.quarantine_events(&entries).await);
    check_eq!(answer, [QuarantineOutcome::Busy]);
    check_eq!(publish_all(&store).await, event_ids(&events));
}

/// S9: a dead letter that is replaced, as its id was appended once more, holds its key no longer.
pub async fn a_replaced_dead_letter_holds_nothing<F: HoldingFixture>(fixture: F) {
    let store = fixture.holding_handle().await;
    let events = held(&fixture, &store).await;
    append(&fixture, &events[..1]);
    check_eq!(publish_all(&store).await, []);
    let now = SystemTime::now();
    let entries = [DlqEntry::new(events[0].id, 3, now, now)];
    let plain = fixture.handle().await;
    let moved = ok(plain.quarantine_events(&entries).await);
    check_eq!(moved, [QuarantineOutcome::Moved]);
    check_eq!(publish_all(&plain).await, event_ids(&events[1..]));
}

/// S9: without a key there are no successors, so nothing waits.
pub async fn an_event_without_a_key_holds_nothing<F: HoldingFixture>(fixture: F) {
    let store = fixture.holding_handle().await;
    let events = ["1", "2"].map(|text| Event::new("conformance", text));
    append(&fixture, &events);
    let claimed = claim(&store, 1).await;
    let dead = claimed.events[0].event.id;
    settle(&store, &claimed, &broken()).await;
    let mut others = event_ids(&events);
    others.retain(|id| *id != dead);
    check_eq!(publish_all(&store).await, others);
    ok(store.replay(&DeadLetterFilter::all(), 10).await);
    check_eq!(publish_all(&store).await, [dead]);
}

/// S9: with every mix of outcomes of the events of a key, none passes a dead one.
pub async fn every_mix_of_outcomes_keeps_a_hold<F: HoldingFixture>(fixture: F) {
    let store = fixture.holding_handle().await;
    mixes::check_all(&fixture, &store).await;
}
