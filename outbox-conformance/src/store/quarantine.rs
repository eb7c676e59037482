//! Moving events into the quarantine.

use super::{LEASE, StoreFixture, append, claim, event_ids, ids, keyed, ok, retry, settle};
use outbox_core::{DeadLetterFilter, DlqEntry, ErrorText, EventId, Outcome, QuarantineOutcome};
use std::time::{Duration, SystemTime};

fn entry(id: EventId, count: u32) -> DlqEntry {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    DlqEntry::new(id, count, at, at + Duration::from_secs(5))
        .with_error(Some(ErrorText::new("refused ü")))
}

/// S8: moved once, with its count and error; a strange id beside it does not matter.
pub async fn quarantine_is_atomic_and_idempotent<F: StoreFixture>(fixture: F) {
    let (store, events) = (fixture.handle().await, keyed("k", 2));
    append(&fixture, &events);
    settle(&store, &claim(&store, 1).await, &retry(0)).await;
    let entries = [entry(EventId::new(), 9), entry(events[0].id, 3)];
    let moved = ok(store.quarantine_events(&entries).await);
    assert_eq!(
        moved,
        [QuarantineOutcome::Missing, QuarantineOutcome::Moved]
    );
    let again = ok(store.quarantine_events(&entries).await);
    assert_eq!(again, [QuarantineOutcome::Missing; 2]);
    assert_eq!(ok(store.quarantine_events(&[]).await), []);
    let dead_letters = ok(store.list(&DeadLetterFilter::all(), None, 10).await);
    assert_eq!(dead_letters.len(), 1);
    let dead_letter = &dead_letters[0];
    assert_eq!(
        (
            dead_letter.id,
            dead_letter.failure_count,
            dead_letter.replays
        ),
        (events[0].id, 3, 0)
    );
    let (about, event) = ok(store.find(events[0].id).await).expect("a dead letter");
    assert_eq!(&about, dead_letter);
    assert!(event == events[0], "changed by the quarantine");
    assert_eq!(dead_letter.last_error, entries[1].last_error);
    assert_eq!(dead_letter.first_failed_at, entries[1].first_failed_at);
    assert_eq!(dead_letter.last_failed_at, entries[1].last_failed_at);
    assert_eq!(ok(store.backlog().await).pending, 1);
}

/// S8: not while a claim holds it; when the claim is lost, it is moved and the claim is worthless.
pub async fn an_event_in_flight_is_busy<F: StoreFixture>(fixture: F) {
    let (store, events) = (fixture.handle().await, keyed("k", 1));
    append(&fixture, &events);
    let held = claim(&store, 1).await;
    let entries = [entry(events[0].id, 3)];
    let other = fixture.handle().await;
    assert_eq!(
        ok(other.quarantine_events(&entries).await),
        [QuarantineOutcome::Busy]
    );
    fixture.elapse(LEASE).await;
    assert_eq!(
        ok(other.quarantine_events(&entries).await),
        [QuarantineOutcome::Moved]
    );
    let late = store
        .settle(held.token, &super::each(&held, &Outcome::Published))
        .await;
    assert_eq!(
        late.expect_err("published and dead").kind(),
        outbox_core::ErrorKind::LeaseLost
    );
}

/// S8: what was published never becomes a dead letter.
pub async fn a_published_event_is_missing<F: StoreFixture>(fixture: F) {
    let (store, events) = (fixture.handle().await, keyed("k", 1));
    append(&fixture, &events);
    settle(&store, &claim(&store, 1).await, &Outcome::Published).await;
    let entries = [entry(events[0].id, 3)];
    assert_eq!(
        ok(store.quarantine_events(&entries).await),
        [QuarantineOutcome::Missing]
    );
    assert_eq!(ok(store.backlog().await).dead_letters, 0);
}

/// S9: the key goes on at once, with no attempts inherited.
pub async fn successors_go_on_after_a_quarantine<F: StoreFixture>(fixture: F) {
    let (store, events) = (fixture.handle().await, keyed("k", 3));
    append(&fixture, &events);
    let failed = claim(&store, 3).await;
    let mut settlements = super::each(&failed, &super::released());
    settlements[0].outcome = retry(600);
    ok(store.settle(failed.token, &settlements).await);
    assert!(
        claim(&store, 10).await.events.is_empty(),
        "successors overtake"
    );
    let moved = ok(store.quarantine_events(&[entry(events[0].id, 3)]).await);
    assert_eq!(moved, [QuarantineOutcome::Moved]);
    let next = claim(&store, 10).await;
    assert_eq!(ids(&next.events), event_ids(&events[1..]));
    assert!(next.events.iter().all(|claimed| claimed.attempts == 0));
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
    let (dead_letter, _) = ok(store.find(events[0].id).await).expect("a dead letter");
    assert_eq!(
        (dead_letter.failure_count, dead_letter.last_error.as_deref()),
        (2, Some("too large"))
    );
    assert_eq!(ids(&claim(&store, 10).await.events), [events[1].id]);
    assert!(ok(store.find(events[1].id).await).is_none());
}
