//! Claiming and settling.

use super::{
    LEASE, Store, StoreFixture, append, attempts, claim, counted, event_ids, found, ids, keyed,
    publish_all, released, retry, settle,
};
use crate::check::{check, check_eq, check_kind, joined, ok, refuse, short};
use outbox_core::{ClaimLimit, ClaimedEvent, DeadLetterFilter, ErrorKind, Event, EventId, Outcome};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// S3: with nothing due, a claim is empty, and a limit of 0 is refused.
pub async fn an_empty_outbox_gives_an_empty_claim<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    check_eq!(
        ids(&claim(&store, 10).await.events),
        [],
        "events of a claim"
    );
    let refused = store.claim(ClaimLimit::events(0), LEASE).await;
    check_kind(refused, ErrorKind::Invalid, "a claim of up to 0 events");
}

/// S1: events of a transaction that rolled back are never claimed, those before and after it are.
pub async fn a_rolled_back_append_never_appears<F: StoreFixture>(fixture: F) {
    let events = keyed("k", 4);
    append(&fixture, &events[..1]);
    let mut dropped = fixture.begin();
    ok(dropped.append(&events[1..3]));
    drop(dropped);
    append(&fixture, &events[3..]);
    let store = fixture.handle().await;
    check_eq!(
        ids(&claim(&store, 10).await.events),
        [events[0].id, events[3].id]
    );
}

/// S1: every field, with odd values, is unchanged in a claim and in a dead letter.
pub async fn an_event_comes_back_exactly<F: StoreFixture>(fixture: F) {
    let made = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
    let events = [
        Event::new("conformance.odd", vec![0, 159, 255])
            .content_type("text/x; charset=\"ü\"")
            .header("Odd Name: \"'", "line\nbreak")
            .header("", "")
            .ordering_key("clé 'x' \"日本\"")
            .idempotency_token("token 'x'")
            .available_at(made)
            .created_at(made),
        Event::new("conformance.empty", "").created_at(made),
        Event::new("conformance.large", vec![7; 16 << 20]).created_at(made),
    ];
    append(&fixture, &events);
    let store = fixture.handle().await;
    let limit = ClaimLimit::events(10).bytes(usize::MAX);
    let dead = Outcome::Dead {
        reason: "broken".into(),
    };
    let mut seen = 0;
    while seen < events.len() {
        let claim = ok(store.claim(limit, LEASE).await);
        check!(
            !claim.events.is_empty(),
            "expected {} events in claims, came {seen}",
            events.len()
        );
        for claimed in &claim.events {
            let event = &claimed.event;
            check!(
                events.contains(event),
                "expected an event as it was appended, came {}",
                short(event)
            );
            check_eq!((claimed.attempts, claimed.worker_lost), (0, false));
        }
        settle(&store, &claim, &dead).await;
        seen += claim.events.len();
    }
    for event in &events[..2] {
        let (_, found) = found(&store, event.id).await;
        check_eq!(found, *event, "the event of a dead letter");
    }
}

/// Asserts that a transaction with these events is refused, as one of them is a duplicate.
fn refuse<F: StoreFixture>(fixture: &F, events: &[Event]) {
    let mut transaction = fixture.begin();
    let refused = transaction
        .append(events)
        .and_then(|()| transaction.commit());
    check_kind(
        refused,
        ErrorKind::Duplicate,
        "an append with a taken id or token",
    );
}

/// S14: A used id or token is refused, in one transaction and after a commit; nothing of the
/// refused append remains.
pub async fn a_taken_id_or_token_is_a_duplicate<F: StoreFixture>(fixture: F) {
    let first = Event::new("conformance", "1").idempotency_token("once");
    append(&fixture, std::slice::from_ref(&first));
    let store = fixture.handle().await;
    let token = Event::new("conformance", "2").idempotency_token("once");
    let id = Event::new("conformance", "3").id(first.id);
    for duplicate in [token, id] {
        refuse(&fixture, &[Event::new("conformance", "beside"), duplicate]);
    }
    check_eq!(ids(&claim(&store, 10).await.events), [first.id]);
}

/// S3: a claim has at most as many events as asked, and no event is in two claims.
pub async fn a_claim_is_bounded_and_exclusive<F: StoreFixture>(fixture: F) {
    let events: Vec<Event> = (0..5).map(|_| Event::new("conformance", "x")).collect();
    append(&fixture, &events);
    let (one, two) = (fixture.handle().await, fixture.handle().await);
    let (mut all, mut held) = (Vec::new(), Vec::new());
    for store in [&one, &two, &one] {
        let claim = claim(store, 3).await;
        check!(
            claim.events.len() <= 3,
            "expected up to 3 events in a claim, came {}",
            claim.events.len()
        );
        all.extend(ids(&claim.events));
        held.push((store, claim));
    }
    check!(
        !held[0].1.events.is_empty(),
        "expected an event in the first claim, came none"
    );
    for (store, claim) in held {
        if !claim.events.is_empty() {
            settle(store, &claim, &Outcome::Published).await;
        }
    }
    all.extend(publish_all(&one).await);
    all.sort_unstable();
    check_eq!(all, event_ids(&events));
}

/// S3: no other worker claims the events shortly before the end of a lease, and one does after the
/// end, for leases of any length.
pub async fn a_lease_is_as_long_as_asked<F: StoreFixture>(fixture: F) {
    // The store's own clock may run meanwhile.
    let shortly = Duration::from_secs(10);
    let (one, two) = (fixture.handle().await, fixture.handle().await);
    for lease in [LEASE, LEASE * 4] {
        let events = keyed("k", 1);
        append(&fixture, &events);
        let held = ok(one.claim(ClaimLimit::events(1), lease).await);
        check_eq!(ids(&held.events), event_ids(&events));
        fixture.elapse(lease.saturating_sub(shortly)).await;
        check_eq!(
            ids(&claim(&two, 1).await.events),
            [],
            "events claimed during the lease of {lease:?}"
        );
        fixture.elapse(shortly).await;
        let taken = claim(&two, 1).await;
        check_eq!(
            ids(&taken.events),
            event_ids(&events),
            "events claimed after the lease"
        );
        settle(&two, &taken, &Outcome::Published).await;
    }
}

/// S2: while an event of a key is claimed, no later one of the key is claimed by another worker;
/// events of other keys are.
pub async fn events_of_one_key_keep_their_order<F: StoreFixture>(fixture: F) {
    let held = keyed("held", 4);
    append(&fixture, &held);
    let (one, two) = (fixture.handle().await, fixture.handle().await);
    let first = claim(&one, 2).await;
    check_eq!(ids(&first.events), event_ids(&held[..2]));
    // Some of many keys: a store may lease keys by the dozen.
    let free: Vec<Event> = (0..40)
        .flat_map(|n| keyed(&format!("free {n}"), 1))
        .collect();
    append(&fixture, &free);
    let second = claim(&two, 100).await;
    check!(
        !second.events.is_empty(),
        "expected events of other keys, came none"
    );
    let of_held = |claimed: &ClaimedEvent| claimed.event.ordering_key.as_deref() == Some("held");
    check!(
        !second.events.iter().any(of_held),
        "expected no event of the claimed key, came {:?}",
        ids(&second.events)
    );
    settle(&two, &second, &Outcome::Published).await;
    settle(&one, &first, &Outcome::Published).await;
    let mut rest = publish_all(&two).await;
    rest.retain(|id| held.iter().any(|event| event.id == *id));
    check_eq!(rest, event_ids(&held[2..]));
}

/// S5: a retry is claimed at its time and not before, with its attempt counted, and the later
/// events of its key after it.
pub async fn a_retry_waits_and_its_key_waits_with_it<F: StoreFixture>(fixture: F) {
    let (events, store) = (keyed("k", 2), fixture.handle().await);
    append(&fixture, &events);
    let first = claim(&store, 1).await;
    settle(&store, &first, &retry(10)).await;
    check_eq!(
        ids(&claim(&store, 10).await.events),
        [],
        "events claimed 10 s before the retry"
    );
    fixture.elapse(Duration::from_secs(9)).await;
    check_eq!(
        ids(&claim(&store, 10).await.events),
        [],
        "events claimed 1 s before the retry"
    );
    fixture.elapse(Duration::from_secs(1)).await;
    let second = claim(&store, 10).await;
    check_eq!(ids(&second.events), event_ids(&events));
    check_eq!(attempts(&second), [1, 0], "attempts after a retry");
}

/// S15: A released event is due at once or after its delay, and no attempt is charged.
pub async fn a_release_charges_nothing<F: StoreFixture>(fixture: F) {
    let (events, store) = (keyed("k", 2), fixture.handle().await);
    append(&fixture, &events);
    settle(&store, &claim(&store, 10).await, &released()).await;
    let again = claim(&store, 10).await;
    check_eq!(ids(&again.events), event_ids(&events));
    check_eq!(attempts(&again), [0, 0], "attempts after a release");
    let delay = Duration::from_secs(5);
    settle(&store, &again, &Outcome::Released { delay }).await;
    check_eq!(
        ids(&claim(&store, 10).await.events),
        [],
        "events of a claim"
    );
    fixture.elapse(delay).await;
    check_eq!(claim(&store, 10).await.events.len(), 2);
}

/// S5: an event that is not due waits with the later events of its key; events of other keys do
/// not.
pub async fn a_delayed_event_is_not_early_and_its_key_waits<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    // The store's time is read from a dead letter, as its clock need not be this machine's.
    let probe = Event::new("conformance", "probe");
    append(&fixture, std::slice::from_ref(&probe));
    let dead = Outcome::Dead {
        reason: "probe".into(),
    };
    settle(&store, &claim(&store, 1).await, &dead).await;
    let (dead_letter, _) = found(&store, probe.id).await;
    let mut events = keyed("k", 2);
    events[0].available_at = Some(dead_letter.quarantined_at + Duration::from_secs(60));
    let other = Event::new("conformance", "other");
    append(&fixture, &events);
    append(&fixture, std::slice::from_ref(&other));
    let first = claim(&store, 10).await;
    check_eq!(ids(&first.events), [other.id]);
    settle(&store, &first, &Outcome::Published).await;
    fixture.elapse(Duration::from_secs(61)).await;
    check_eq!(ids(&claim(&store, 10).await.events), event_ids(&events));
}

/// S6: while retries are always due, fresh events are claimed too, even with a limit of 1.
pub async fn retries_do_not_starve_fresh_events<F: StoreFixture>(fixture: F) {
    for limit in [1, 4] {
        let store = fixture.handle().await;
        let old: Vec<Event> = (0..20).map(|_| Event::new("conformance", "old")).collect();
        append(&fixture, &old);
        settle(&store, &claim(&store, 20).await, &retry(0)).await;
        let fresh = Event::new("conformance", "fresh");
        append(&fixture, std::slice::from_ref(&fresh));
        let mut seen = HashSet::new();
        for _ in 0..4 {
            let claim = claim(&store, limit).await;
            seen.extend(ids(&claim.events));
            settle(&store, &claim, &retry(0)).await;
        }
        check!(
            seen.contains(&fresh.id),
            "expected the fresh event in 4 claims of {limit}, came retries only"
        );
        publish_all(&store).await;
    }
}

/// S6: while fresh events always arrive, a due retry is claimed too.
pub async fn fresh_events_do_not_starve_retries<F: StoreFixture>(fixture: F) {
    for limit in [1, 4] {
        let store = fixture.handle().await;
        let old = Event::new("conformance", "old");
        append(&fixture, std::slice::from_ref(&old));
        settle(&store, &claim(&store, 1).await, &retry(0)).await;
        let mut seen = HashSet::new();
        for _ in 0..4 {
            let fresh: Vec<Event> = (0..9).map(|_| Event::new("conformance", "new")).collect();
            append(&fixture, &fresh);
            let claim = claim(&store, limit).await;
            seen.extend(ids(&claim.events));
            settle(&store, &claim, &Outcome::Published).await;
        }
        check!(
            seen.contains(&old.id),
            "expected the retry in 4 claims of {limit}, came fresh events only"
        );
        publish_all(&store).await;
    }
}

/// S17: a wait returns at once if there is work, and otherwise when work arrives.
pub async fn waiting_ends_when_there_is_work<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let forever = Duration::from_secs(600);
    append(&fixture, &keyed("k", 1));
    ok(store.wait_for_work(forever).await);
    check_eq!(publish_all(&store).await.len(), 1);
    let waiting = tokio::spawn({
        let store = fixture.handle().await;
        async move { ok(store.wait_for_work(forever).await) }
    });
    append(&fixture, &keyed("k", 1));
    joined(waiting).await;
    check_eq!(publish_all(&store).await.len(), 1);
    ok(store.wait_for_work(Duration::from_millis(1)).await);
}

/// S18: the backlog has the number of pending, claimed and waiting events, and the time of the
/// oldest.
pub async fn the_backlog_counts_events<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    check_eq!(ok(store.backlog().await), outbox_core::Backlog::default());
    let events = keyed("k", 3);
    append(&fixture, &events);
    let first = claim(&store, 2).await;
    let backlog = ok(store.backlog().await);
    check_eq!(
        (backlog.pending, backlog.in_flight, backlog.waiting),
        (3, 2, 0)
    );
    let none = || refuse!("expected the time of the oldest event, came none");
    let oldest = backlog.oldest_pending.unwrap_or_else(none);
    let apart = events[0]
        .created_at
        .duration_since(oldest)
        .unwrap_or_else(|late| late.duration());
    check!(
        apart < Duration::from_micros(1),
        "expected the oldest event of {:?}, came {oldest:?}",
        events[0].created_at
    );
    settle(&store, &first, &retry(60)).await;
    let backlog = ok(store.backlog().await);
    check_eq!(
        (backlog.pending, backlog.in_flight, backlog.waiting),
        (3, 0, 1)
    );
}

const HOUR: Duration = Duration::from_secs(3600);

/// S18: the age of the oldest due event grows while the event is claimed, released or held, and starts
/// again with a retry. A delayed event has none.
pub async fn the_backlog_has_the_age_of_the_oldest_due_event<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    check_eq!(oldest_due(&store).await, None);
    let far = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    append(&fixture, &[keyed("later", 1).remove(0).available_at(far)]);
    check_eq!(oldest_due(&store).await, None);
    append(&fixture, &keyed("k", 2));
    let Some(mut age) = oldest_due(&store).await else {
        refuse!("expected the age of a due event, came none")
    };
    for outcome in [released(), released_for(HOUR), held_for(HOUR), retry(3600)] {
        let claimed = claim(&store, 1).await;
        check_eq!(claimed.events.len(), 1);
        is_about(oldest_due(&store).await, age);
        settle(&store, &claimed, &outcome).await;
        let is_retry = matches!(outcome, Outcome::Retry { .. });
        let expected = (!is_retry).then_some(age);
        match (expected, oldest_due(&store).await) {
            (None, came) => check_eq!(came, None, "the age of a retry that is not due"),
            (Some(age), came) => is_about(came, age),
        }
        fixture.elapse(3 * HOUR).await;
        age = if is_retry { 2 * HOUR } else { age + 3 * HOUR };
    }
    is_about(oldest_due(&store).await, age);
}

/// S18: the age of the oldest dead letter is that of its quarantine.
pub async fn the_backlog_has_the_age_of_the_oldest_dead_letter<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    append(&fixture, &keyed("k", 2));
    let oldest = async || ok(store.backlog().await).oldest_dead_letter;
    check_eq!(oldest().await, None);
    for _ in 0..2 {
        let reason = "refused".into();
        settle(&store, &claim(&store, 1).await, &Outcome::Dead { reason }).await;
        fixture.elapse(2 * HOUR).await;
    }
    is_about(oldest().await, 4 * HOUR);
    check_eq!(oldest_due(&store).await, None);
}

async fn oldest_due(store: &Arc<dyn Store>) -> Option<Duration> {
    ok(store.backlog().await).oldest_due
}

/// Within an hour, because the clock of a server does not stop.
fn is_about(came: Option<Duration>, expected: Duration) {
    let is_near = |came: Duration| came >= expected && came < expected + HOUR;
    check!(
        came.is_some_and(is_near),
        "expected an age of {expected:?}, came {came:?}"
    );
}

fn released_for(delay: Duration) -> Outcome {
    Outcome::Released { delay }
}

fn held_for(delay: Duration) -> Outcome {
    let destination = "orders".into();
    Outcome::Held { destination, delay }
}

/// Cleans up until nothing is left to remove, a row and then many rows at a time.
async fn clean_up(store: &Arc<dyn Store>) {
    for limit in [1, 1000] {
        let mut calls = 0;
        loop {
            let removed = ok(store.clean_up(limit).await);
            check!(
                removed <= limit,
                "expected up to {limit} removed rows, came {removed}"
            );
            if removed == 0 {
                break;
            }
            calls += 1;
            check!(
                calls < 1000,
                "expected a clean-up that ends, came {calls} calls that removed rows"
            );
        }
    }
}

/// S19: a clean-up removes no dead, failed, claimed or fresh event, and makes no token free again.
pub async fn a_clean_up_removes_nothing_that_is_needed<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let events = ["published", "dead", "failed", "held", "fresh"].map(|key| {
        let event = Event::new("conformance", key).idempotency_token(key);
        event.ordering_key(key)
    });
    let [_, dead, failed, held, fresh] = events.each_ref().map(|event| [event.id]);
    let reason = "broken".into();
    let outcomes = [Outcome::Published, Outcome::Dead { reason }, retry(60)];
    for (event, outcome) in events.iter().zip(&outcomes) {
        append(&fixture, std::slice::from_ref(event));
        settle(&store, &claim(&store, 1).await, outcome).await;
    }
    append(&fixture, &events[3..4]);
    let claimed = claim(&store, 1).await;
    check_eq!(ids(&claimed.events), held);
    append(&fixture, &events[4..]);
    let before = counted(ok(store.backlog().await));
    clean_up(&store).await;
    check_eq!(counted(ok(store.backlog().await)), before);
    for event in &events {
        refuse(&fixture, &[event.clone().id(EventId::new())]);
    }
    settle(&store, &claimed, &Outcome::Published).await;
    check_eq!(publish_all(&store).await, fresh);
    fixture.elapse(Duration::from_secs(60)).await;
    clean_up(&store).await;
    let last = claim(&store, 1).await;
    check_eq!(ids(&last.events), failed, "the event that failed");
    check_eq!(attempts(&last), [1], "attempts of the event that failed");
    settle(&store, &last, &Outcome::Published).await;
    clean_up(&store).await;
    let replayed = store.replay(&DeadLetterFilter::all(), 10).await;
    check_eq!(ok(replayed), dead);
    clean_up(&store).await;
    check_eq!(publish_all(&store).await, dead);
}
