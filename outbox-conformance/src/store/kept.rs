//! Settlements that keep events in their claim (S22).

use super::{
    LEASE, Store, StoreFixture, append, attempts, claim, each, event_ids, found, ids, keyed,
    publish_all, released, retry, settle,
};
use crate::check::{check_eq, check_kind, nth, ok};
use outbox_core::{
    Claim, ClaimToken, DeadLetterFilter, DlqEntry, ErrorKind, Event, EventId, Outcome,
    QuarantineOutcome, Settlement,
};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Less than a lease, although the store's own clock may run meanwhile.
const SHORTLY: Duration = Duration::from_secs(20);

/// Claims three events of the key `k` and one of another, keeps the first of the key, and settles the
/// others: one is released behind it, one published, and one retried.
async fn kept<F: StoreFixture>(fixture: &F, store: &Arc<dyn Store>) -> (Vec<Event>, ClaimToken) {
    let events = [keyed("k", 2), keyed("other", 1)].concat();
    append(fixture, &events);
    let claimed = claim(store, 24).await;
    check_eq!(claimed.events.len(), 3, "events of a claim of all");
    let outcomes = [Outcome::Kept, released(), Outcome::Published];
    ok(store.settle(claimed.token, &with(&events, &outcomes)).await);
    (events, claimed.token)
}

/// Settlements of these events with these outcomes.
fn with(events: &[Event], outcomes: &[Outcome]) -> Vec<Settlement> {
    let pairs = events.iter().zip(outcomes);
    pairs
        .map(|(event, outcome)| Settlement::new(event.id, outcome.clone()))
        .collect()
}

/// Claims events of one key, and settles them with these outcomes.
async fn settled_with<F: StoreFixture>(
    fixture: &F,
    store: &Arc<dyn Store>,
    outcomes: &[Outcome],
) -> (Vec<Event>, ClaimToken) {
    let events = keyed("k", outcomes.len());
    append(fixture, &events);
    let claimed = claim(store, 24).await;
    check_eq!(ids(&claimed.events), event_ids(&events), "claimed events");
    ok(store.settle(claimed.token, &with(&events, outcomes)).await);
    (events, claimed.token)
}

/// Checks that nothing can be claimed.
async fn check_nothing_due(store: &Arc<dyn Store>, when: &str) {
    check_eq!(
        ids(&claim(store, 24).await.events),
        [],
        "events claimed {when}"
    );
}

async fn settle_one(store: &Arc<dyn Store>, token: ClaimToken, id: EventId, outcome: Outcome) {
    ok(store.settle(token, &[Settlement::new(id, outcome)]).await);
}

/// S22, S18: a kept event is in flight and not claimed during its lease, nor are the later events of its
/// key. The other events of its claim are settled, and the later events of their keys are claimed.
pub async fn a_kept_event_frees_the_others_of_its_claim<F: StoreFixture>(fixture: F) {
    let (store, other) = (fixture.handle().await, fixture.handle().await);
    let (events, token) = kept(&fixture, &store).await;
    let backlog = ok(other.backlog().await);
    check_eq!(
        (backlog.pending, backlog.in_flight, backlog.waiting),
        (2, 1, 0),
        "pending, claimed and waiting"
    );
    let later = [keyed("other", 1), keyed("k", 1)].concat();
    append(&fixture, &later);
    check_eq!(publish_all(&other).await, [later[0].id]);
    fixture.elapse(LEASE.saturating_sub(SHORTLY)).await;
    for store in [&store, &other] {
        check_nothing_due(store, "during the lease of a kept event").await;
    }
    settle_one(&store, token, events[0].id, Outcome::Published).await;
    check_eq!(publish_all(&other).await, [events[1].id, later[1].id]);
    check_eq!(ok(store.backlog().await).pending, 0);
}

/// S15, S22: a late settlement has the effect of one that was not late, whether the event was fresh or
/// waited before.
pub async fn a_late_settlement_has_each_outcome<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let dead = Outcome::Dead {
        reason: "broken".into(),
    };
    let delay = Duration::from_secs(10);
    let held = Outcome::Held {
        destination: "topic".into(),
        delay,
    };
    // The outcome, whether the event waits for the delay, and the attempts that it has then.
    let outcomes = [
        (Outcome::Published, false, None),
        (dead, false, None),
        (released(), false, Some(0)),
        (Outcome::Released { delay }, true, Some(0)),
        (held, true, Some(0)),
        (retry(10), true, Some(1)),
    ];
    for (outcome, waits, attempts_after) in outcomes {
        for failed_before in [0, 1] {
            let events = keyed("k", 2);
            append(&fixture, &events);
            for _ in 0..failed_before {
                settle(&store, &claim(&store, 24).await, &retry(0)).await;
            }
            let claimed = claim(&store, 24).await;
            let first = with(&events, &[Outcome::Kept, released()]);
            ok(store.settle(claimed.token, &first).await);
            settle_one(&store, claimed.token, events[0].id, outcome.clone()).await;
            if waits {
                check_nothing_due(&store, "before the delay of a late settlement").await;
                fixture.elapse(delay).await;
            }
            let left = claim(&store, 24).await;
            let gone = usize::from(attempts_after.is_none());
            check_eq!(
                ids(&left.events),
                event_ids(&events[gone..]),
                "events claimed after {outcome:?}"
            );
            let expected = attempts_after.map_or(0, |count| count + failed_before);
            check_eq!(attempts(&left)[0], expected, "attempts after {outcome:?}");
            settle(&store, &left, &Outcome::Published).await;
            check_dead_letters(&store, &outcome, events[0].id, failed_before).await;
        }
    }
}

/// Checks the dead letter of an event if there must be one, and purges it.
async fn check_dead_letters(
    store: &Arc<dyn Store>,
    outcome: &Outcome,
    id: EventId,
    failed_before: u32,
) {
    if let Outcome::Dead { reason } = outcome {
        let (about, _) = found(store, id).await;
        check_eq!(about.failure_count, failed_before + 1);
        check_eq!(about.last_error.as_ref(), Some(reason));
        ok(store.purge(&DeadLetterFilter::all(), 10).await);
    }
    let backlog = ok(store.backlog().await);
    check_eq!((backlog.pending, backlog.dead_letters), (0, 0));
}

/// S22: a late settlement may keep events once more, all of them or some.
pub async fn a_kept_event_may_be_kept_again<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let (events, token) = settled_with(&fixture, &store, &[Outcome::Kept, Outcome::Kept]).await;
    let again = [Outcome::Published, Outcome::Kept];
    ok(store.settle(token, &with(&events, &again)).await);
    check_eq!(ok(store.backlog().await).in_flight, 1);
    check_nothing_due(&store, "after an event was kept again").await;
    settle_one(&store, token, events[1].id, Outcome::Kept).await;
    check_nothing_due(&store, "after an event was kept three times").await;
    settle_one(&store, token, events[1].id, Outcome::Published).await;
    check_eq!(ok(store.backlog().await).pending, 0);
}

/// S16, S22: a late settlement that does not name each kept event once, or that names another event of the
/// claim, is refused and changes nothing.
pub async fn a_late_settlement_is_of_exactly_the_kept_events<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let outcomes = [Outcome::Kept, Outcome::Kept, released()];
    let (events, token) = settled_with(&fixture, &store, &outcomes).await;
    let all = with(&events, &[(); 3].map(|()| Outcome::Published));
    let stranger = Settlement::new(EventId::new(), Outcome::Published);
    for wrong in [
        vec![],
        vec![all[0].clone()],
        vec![all[0].clone(), all[0].clone()],
        vec![all[0].clone(), stranger],
        vec![all[0].clone(), all[2].clone()],
        all.clone(),
    ] {
        let refused = store.settle(token, &wrong).await;
        check_kind(
            refused,
            ErrorKind::Invalid,
            "a late settlement of other events",
        );
        let backlog = ok(store.backlog().await);
        check_eq!((backlog.pending, backlog.in_flight), (3, 2));
    }
    ok(store.settle(token, &all[..2]).await);
    check_eq!(publish_all(&store).await, [events[2].id]);
}

/// S4, S22: kept events are settled once.
pub async fn a_kept_event_is_settled_once<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let (events, token) = settled_with(&fixture, &store, &[Outcome::Kept, released()]).await;
    settle_one(&store, token, events[0].id, retry(0)).await;
    let again = [Settlement::new(events[0].id, Outcome::Published)];
    let refused = store.settle(token, &again).await;
    check_kind(
        refused,
        ErrorKind::LeaseLost,
        "a second settlement of a kept event",
    );
    let left = claim(&store, 24).await;
    check_eq!(ids(&left.events), event_ids(&events));
    check_eq!(attempts(&left), [1, 0]);
}

/// S4, S7, S22: after its lease a kept event is claimed alone, and its first claim settles nothing any more,
/// whether the second is open, settled or lost.
pub async fn a_kept_event_that_was_taken_over_is_lost<F: StoreFixture>(fixture: F) {
    let (one, two) = (fixture.handle().await, fixture.handle().await);
    for is_settled in [false, true] {
        let outcomes = [Outcome::Kept, Outcome::Kept, released()];
        let (events, token) = settled_with(&fixture, &one, &outcomes).await;
        fixture.elapse(LEASE).await;
        let taken = claim_of(&two, &events[..1]).await;
        if is_settled {
            settle(&two, &taken, &Outcome::Published).await;
        }
        let late = with(&events[..2], &[retry(600), Outcome::Published]);
        let refused = one.settle(token, &late).await;
        check_kind(
            refused,
            ErrorKind::LeaseLost,
            "a late settlement after a take-over",
        );
        let pending = ok(two.backlog().await).pending;
        check_eq!(pending, 3 - u64::from(is_settled), "pending events");
        if !is_settled {
            settle(&two, &taken, &Outcome::Published).await;
        }
        check_eq!(publish_all(&two).await, event_ids(&events[1..]));
    }
}

/// Claims these events and no others.
async fn claim_of(store: &Arc<dyn Store>, events: &[Event]) -> Claim {
    let claimed = claim(store, 24).await;
    check_eq!(ids(&claimed.events), event_ids(events), "claimed events");
    claimed
}

/// S7, S22: an event that was kept from a claim of several is flagged when it is lost alone, not before. One
/// that was alone in its claim is flagged the first time.
pub async fn a_kept_event_is_blamed_if_it_was_claimed_alone<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let (events, _) = kept(&fixture, &store).await;
    let mut blame = Vec::new();
    for is_kept in [true, false] {
        fixture.elapse(LEASE).await;
        let alone = claim_of(&store, &events[..1]).await;
        blame.push(alone.events[0].worker_lost);
        if is_kept {
            settle(&store, &alone, &Outcome::Kept).await;
        } else {
            settle(&store, &alone, &retry(0)).await;
        }
    }
    check_eq!(blame, [false, true], "worker_lost after each lost lease");
    let after = claim(&store, 24).await;
    let after = nth(&after.events, 0, "claimed events");
    check_eq!((after.attempts, after.worker_lost), (1, false));
}

/// S7, S22: an event that was kept and settled is no suspect: it is claimed together with others.
pub async fn a_settled_kept_event_is_claimed_with_others<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let outcomes = [Outcome::Kept, Outcome::Kept, released()];
    let (events, token) = settled_with(&fixture, &store, &outcomes).await;
    ok(store
        .settle(token, &with(&events[..2], &[released(), released()]))
        .await);
    claim_of(&store, &events).await;
}

/// S16, S22: a late settlement after the end of the lease is applied unless the event was taken over.
pub async fn a_late_settlement_is_applied_after_the_lease<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let (events, token) = settled_with(&fixture, &store, &[Outcome::Kept, released()]).await;
    fixture.elapse(LEASE * 2).await;
    settle_one(&store, token, events[0].id, Outcome::Published).await;
    check_eq!(publish_all(&store).await, [events[1].id]);
}

/// S8, S22: a kept event is not quarantined during its lease, and an event behind it is. After the lease it
/// is quarantined, and then its claim settles nothing.
pub async fn a_kept_event_is_busy<F: StoreFixture>(fixture: F) {
    let (store, other) = (fixture.handle().await, fixture.handle().await);
    let outcomes = [Outcome::Kept, released(), released()];
    let (events, token) = settled_with(&fixture, &store, &outcomes).await;
    let now = SystemTime::now();
    let entries = event_ids(&events[..2]).into_iter();
    let entries: Vec<DlqEntry> = entries.map(|id| DlqEntry::new(id, 3, now, now)).collect();
    let answer = ok(other.quarantine_events(&entries).await);
    check_eq!(answer, [QuarantineOutcome::Busy, QuarantineOutcome::Moved]);
    check_nothing_due(&other, "behind a kept event after a quarantine").await;
    fixture.elapse(LEASE).await;
    let answer = ok(other.quarantine_events(&entries).await);
    check_eq!(
        answer,
        [QuarantineOutcome::Moved, QuarantineOutcome::Missing]
    );
    let late = [Settlement::new(events[0].id, Outcome::Published)];
    let refused = store.settle(token, &late).await;
    check_kind(
        refused,
        ErrorKind::LeaseLost,
        "a late settlement of a dead letter",
    );
    check_eq!(publish_all(&store).await, [events[2].id]);
}

/// S2, S22: kept events of one key keep their order: after a late settlement, and when each is claimed alone
/// after the lease.
pub async fn kept_events_of_a_key_keep_their_order<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let outcomes = [Outcome::Published, Outcome::Kept, Outcome::Kept, released()];
    let (events, token) = settled_with(&fixture, &store, &outcomes).await;
    let late = with(&events[1..3], &[retry(10), released()]);
    ok(store.settle(token, &late).await);
    check_nothing_due(&store, "before the retry of a kept event").await;
    fixture.elapse(Duration::from_secs(10)).await;
    let again = claim_of(&store, &events[1..]).await;
    settle(&store, &again, &Outcome::Kept).await;
    fixture.elapse(LEASE).await;
    for event in &events[1..] {
        let alone = claim_of(&store, std::slice::from_ref(event)).await;
        settle(&store, &alone, &Outcome::Published).await;
    }
    check_eq!(ok(store.backlog().await).pending, 0);
}

/// S2, S5, S22: a kept event with an earlier event of its key before it waits for that one too: during its
/// lease, after a late settlement, and after the lease.
pub async fn a_kept_event_waits_for_those_before_it<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let delay = Duration::from_secs(600);
    for is_settled in [true, false] {
        let outcomes = [Outcome::Released { delay }, Outcome::Kept];
        let (events, token) = settled_with(&fixture, &store, &outcomes).await;
        if is_settled {
            settle_one(&store, token, events[1].id, released()).await;
        }
        check_nothing_due(&store, "before the delay of an earlier event").await;
        fixture.elapse(LEASE).await;
        check_nothing_due(&store, "after the lease, before the delay").await;
        fixture.elapse(delay).await;
        check_eq!(publish_all(&store).await, event_ids(&events));
    }
    let (events, token) = settled_with(&fixture, &store, &[released(), Outcome::Kept]).await;
    let mut published = publish_all(&store).await;
    settle_one(&store, token, events[1].id, retry(0)).await;
    published.extend(publish_all(&store).await);
    check_eq!(published, event_ids(&events));
    check_eq!(ok(store.backlog().await).pending, 0);
}

/// S4, S22: through another handle a late settlement is applied, or it is refused as `LeaseLost` and changes
/// nothing.
pub async fn a_kept_event_settled_through_another_handle_is_not_lost<F: StoreFixture>(fixture: F) {
    let (one, two) = (fixture.handle().await, fixture.handle().await);
    let events = [
        Event::new("conformance", "1"),
        Event::new("conformance", "2"),
    ];
    append(&fixture, &events);
    let claimed = claim(&one, 24).await;
    settle(&one, &claimed, &Outcome::Kept).await;
    let late = each(&claimed, &Outcome::Published);
    let applied = two.settle(claimed.token, &late).await;
    let pending = ok(one.backlog().await).pending;
    if applied.is_ok() {
        check_eq!(pending, 0, "events after a settlement by another handle");
        return;
    }
    check_kind(
        applied,
        ErrorKind::LeaseLost,
        "a late settlement through another handle",
    );
    check_eq!(pending, 2, "events after a refused settlement");
    ok(one.settle(claimed.token, &late).await);
    check_eq!(ok(two.backlog().await).pending, 0);
}
