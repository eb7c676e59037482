//! Moving events into the quarantine.

use super::{
    LEASE, StoreFixture, append, attempts, claim, event_ids, found, ids, keyed, retry, settle,
};
use crate::check::{check_eq, check_kind, nth, ok};
use outbox_core::{
    DeadLetterFilter, DlqEntry, ErrorKind, ErrorText, EventId, Outcome, QuarantineOutcome,
};
use std::time::{Duration, SystemTime};

fn entry(id: EventId, count: u32) -> DlqEntry {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    DlqEntry::new(id, count, at, at + Duration::from_secs(5))
        .with_error(Some(ErrorText::new("refused ü")))
}

/// S8: an event is moved once, with its count and error; an unknown id in the same call does not
/// matter.
pub async fn quarantine_is_atomic_and_idempotent<F: StoreFixture>(fixture: F) {
    let (store, events) = (fixture.handle().await, keyed("k", 2));
    append(&fixture, &events);
    settle(&store, &claim(&store, 1).await, &retry(0)).await;
    let entries = [entry(EventId::new(), 9), entry(events[0].id, 3)];
    let moved = ok(store.quarantine_events(&entries).await);
    check_eq!(
        moved,
        [QuarantineOutcome::Missing, QuarantineOutcome::Moved]
    );
    let again = ok(store.quarantine_events(&entries).await);
    check_eq!(again, [QuarantineOutcome::Missing; 2]);
    check_eq!(ok(store.quarantine_events(&[]).await), []);
    let dead_letters = ok(store.list(&DeadLetterFilter::all(), None, 10).await);
    check_eq!(dead_letters.len(), 1, "dead letters");
    let dead_letter = nth(&dead_letters, 0, "dead letters");
    check_eq!(
        (
            dead_letter.id,
            dead_letter.failure_count,
            dead_letter.replays
        ),
        (events[0].id, 3, 0)
    );
    let (about, event) = found(&store, events[0].id).await;
    check_eq!(&about, dead_letter);
    check_eq!(event, events[0], "the event of a dead letter");
    check_eq!(dead_letter.last_error, entries[1].last_error);
    check_eq!(dead_letter.first_failed_at, entries[1].first_failed_at);
    check_eq!(dead_letter.last_failed_at, entries[1].last_failed_at);
    check_eq!(ok(store.backlog().await).pending, 1);
}

/// S8: an event in a claim is not moved; after the lease it is moved, and the claim settles
/// nothing.
pub async fn an_event_in_flight_is_busy<F: StoreFixture>(fixture: F) {
    let (store, events) = (fixture.handle().await, keyed("k", 1));
    append(&fixture, &events);
    let held = claim(&store, 1).await;
    let entries = [entry(events[0].id, 3)];
    let other = fixture.handle().await;
    check_eq!(
        ok(other.quarantine_events(&entries).await),
        [QuarantineOutcome::Busy]
    );
    fixture.elapse(LEASE).await;
    check_eq!(
        ok(other.quarantine_events(&entries).await),
        [QuarantineOutcome::Moved]
    );
    let late = store
        .settle(held.token, &super::each(&held, &Outcome::Published))
        .await;
    check_kind(late, ErrorKind::LeaseLost, "a settlement of a dead letter");
}

/// S8: a published event never becomes a dead letter.
pub async fn a_published_event_is_missing<F: StoreFixture>(fixture: F) {
    let (store, events) = (fixture.handle().await, keyed("k", 1));
    append(&fixture, &events);
    settle(&store, &claim(&store, 1).await, &Outcome::Published).await;
    let entries = [entry(events[0].id, 3)];
    check_eq!(
        ok(store.quarantine_events(&entries).await),
        [QuarantineOutcome::Missing]
    );
    check_eq!(ok(store.backlog().await).dead_letters, 0);
}

/// S9: the later events of the key are claimed at once, with no attempts.
pub async fn successors_are_claimed_after_a_quarantine<F: StoreFixture>(fixture: F) {
    let (store, events) = (fixture.handle().await, keyed("k", 3));
    append(&fixture, &events);
    let failed = claim(&store, 3).await;
    let mut settlements = super::each(&failed, &super::released());
    settlements[0].outcome = retry(600);
    ok(store.settle(failed.token, &settlements).await);
    check_eq!(
        ids(&claim(&store, 10).await.events),
        [],
        "later events before a retry"
    );
    let moved = ok(store.quarantine_events(&[entry(events[0].id, 3)]).await);
    check_eq!(moved, [QuarantineOutcome::Moved]);
    let next = claim(&store, 10).await;
    check_eq!(ids(&next.events), event_ids(&events[1..]));
    check_eq!(attempts(&next), [0, 0], "attempts of the later events");
}

/// S15: A permanent failure counts the attempt that found it, and keeps the reason.
pub async fn a_dead_event_is_quarantined_with_its_reason<F: StoreFixture>(fixture: F) {
    let (store, events) = (fixture.handle().await, keyed("k", 2));
    append(&fixture, &events);
    settle(&store, &claim(&store, 1).await, &retry(0)).await;
    let dead = Outcome::Dead {
        reason: ErrorText::new("too large"),
    };
    settle(&store, &claim(&store, 1).await, &dead).await;
    let (dead_letter, _) = found(&store, events[0].id).await;
    check_eq!(
        (dead_letter.failure_count, dead_letter.last_error.as_deref()),
        (2, Some("too large"))
    );
    check_eq!(ids(&claim(&store, 10).await.events), [events[1].id]);
    check_eq!(
        ok(store.find(events[1].id).await),
        None,
        "the dead letter of a later event"
    );
}
