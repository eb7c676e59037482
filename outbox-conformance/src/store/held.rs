//! Events that are held for a destination (S23).

use super::{
    LEASE, Store, StoreFixture, append, attempts, claim, event_ids, ids, keyed, publish_all,
    released, retry, settle,
};
use crate::check::{check, check_eq, check_kind, ok, refuse};
use outbox_core::{ErrorKind, Event, Outcome, Settlement};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long an event is held without a resumption.
const DELAY: Duration = Duration::from_secs(600);

fn held(destination: &str) -> Outcome {
    Outcome::Held {
        destination: destination.into(),
        delay: DELAY,
    }
}

/// Claims all that is due, and holds each event for the destination that has the name of its key.
async fn hold_all(store: &Arc<dyn Store>) {
    for _ in 0..100 {
        let claimed = claim(store, 24).await;
        if claimed.events.is_empty() {
            return;
        }
        let hold = |event: &Event| held(event.ordering_key.as_deref().unwrap_or_default());
        let settlements: Vec<Settlement> = claimed
            .events
            .iter()
            .map(|one| Settlement::new(one.event.id, hold(&one.event)))
            .collect();
        ok(store.settle(claimed.token, &settlements).await);
    }
    refuse!("expected held events to wait, came 100 claims of them");
}

/// S5, S23: a held event waits uncounted until its delay is over, and the later events of its key wait with
/// it. Events of other keys do not.
pub async fn a_held_event_waits_with_its_key<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let events = keyed("a", 2);
    append(&fixture, &events);
    hold_all(&store).await;
    let later = [keyed("a", 1), keyed("b", 1)].concat();
    append(&fixture, &later);
    check_eq!(publish_all(&store).await, [later[1].id]);
    let backlog = ok(store.backlog().await);
    check_eq!((backlog.pending, backlog.waiting), (3, 1));
    fixture
        .elapse(DELAY.saturating_sub(Duration::from_secs(10)))
        .await;
    check_eq!(publish_all(&store).await, [], "events before the delay");
    fixture.elapse(Duration::from_secs(10)).await;
    let due = claim(&store, 24).await;
    let all = event_ids(&[&events[..], &later[..1]].concat());
    check_eq!(ids(&due.events), all);
    check_eq!(attempts(&due), [0; 3], "attempts of held events");
}

/// S23: a resumption makes the events of its destination due, with those that wait for them, and no other
/// event. A destination may have any name. One of an unknown destination makes none due.
pub async fn a_resumption_is_of_one_destination<F: StoreFixture>(fixture: F) {
    let (store, other) = (fixture.handle().await, fixture.handle().await);
    let long = "é".repeat(Outcome::MAX_DESTINATION / 2 - 1);
    let long = ["aa", "ab"].map(|end| format!("{long}{end}"));
    let names = [
        "a",
        "A",
        "a ",
        "it's \"x\"; --",
        "日本 \\ %_",
        &long[0],
        &long[1],
    ];
    for name in names {
        append(&fixture, &keyed(name, 2));
    }
    hold_all(&store).await;
    check_eq!(ok(other.resume("b", 10).await), 0);
    check_eq!(publish_all(&store).await, [], "events after a resumption");
    for name in names {
        check_eq!(ok(other.resume(name, 10).await), 1, "resumed for {name:?}");
        check_eq!(ok(other.resume(name, 10).await), 0, "resumed again");
        let due = claim(&store, 24).await;
        let keys: Vec<_> = due
            .events
            .iter()
            .map(|one| one.event.ordering_key.as_deref())
            .collect();
        check_eq!(keys, [Some(name); 2], "the keys of the events that are due");
        check_eq!(attempts(&due), [0, 0], "attempts of resumed events");
        settle(&store, &due, &Outcome::Published).await;
    }
    check_eq!(ok(store.backlog().await).pending, 0);
}

/// S23: a settlement that holds an event for a destination whose name is too long, or has a NUL, is refused
/// and changes nothing. The longest name is kept whole.
pub async fn a_destination_that_is_not_allowed_is_refused<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    append(&fixture, &keyed("a", 2));
    let claimed = claim(&store, 24).await;
    let long = "x".repeat(Outcome::MAX_DESTINATION + 1);
    let longest = &long[1..];
    for name in [&*long, "a\0b"] {
        let outcomes = [Outcome::Published, held(name)];
        let settlements: Vec<Settlement> = claimed
            .events
            .iter()
            .zip(outcomes)
            .map(|(one, outcome)| Settlement::new(one.event.id, outcome))
            .collect();
        let refused = store.settle(claimed.token, &settlements).await;
        check_kind(
            refused,
            ErrorKind::Invalid,
            "a destination that is not allowed",
        );
        check_eq!(
            ok(store.backlog().await).pending,
            2,
            "pending events after it"
        );
    }
    settle(&store, &claimed, &held(longest)).await;
    check_eq!(ok(store.resume(longest, 10).await), 1, "resumed");
}

/// S23: a resumption makes no event due that waits for something else: for a retry, for a release, or
/// because it is not held any more.
pub async fn a_resumption_leaves_other_waits_alone<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let far = Outcome::Released { delay: 2 * DELAY };
    let (late, far_retry) = (2 * DELAY.as_secs(), retry(2 * DELAY.as_secs()));
    append(&fixture, &keyed("a", 1));
    for after in [far, held("b"), Outcome::Kept, far_retry.clone()] {
        hold_all(&store).await;
        fixture.elapse(DELAY).await;
        let again = claim(&store, 24).await;
        check_eq!(again.events.len(), 1, "events claimed after the delay");
        check_eq!(ok(store.resume("a", 10).await), 0, "resumed during a claim");
        settle(&store, &again, &after).await;
        check_eq!(
            ok(store.resume("a", 10).await),
            0,
            "resumed after {after:?}"
        );
        check_eq!(ids(&claim(&store, 24).await.events), []);
        fixture.elapse(Duration::from_secs(late)).await;
    }
    hold_all(&store).await;
    fixture.elapse(DELAY).await;
    check_eq!(claim(&store, 24).await.events.len(), 1);
    fixture.elapse(LEASE).await;
    settle(&store, &claim(&store, 24).await, &far_retry).await;
    check_eq!(
        ok(store.resume("a", 10).await),
        0,
        "resumed after a lost claim"
    );
}

/// S23: one call resumes at most as many as asked, those whose delay ends first, and the last returns zero.
pub async fn a_resumption_is_bounded<F: StoreFixture>(fixture: F) {
    let (store, mut events) = (fixture.handle().await, Vec::new());
    for number in 0..5 {
        let event = keyed(&format!("key {number}"), 1);
        append(&fixture, &event);
        let claimed = claim(&store, 24).await;
        // The order of the appends is the opposite of the order of the delays.
        let outcome = Outcome::Held {
            destination: "a".into(),
            delay: Duration::from_secs(600 - 10 * number),
        };
        settle(&store, &claimed, &outcome).await;
        events.splice(0..0, event);
    }
    check_eq!(ok(store.resume("a", 0).await), 0, "resumed of a limit of 0");
    for expected in [&events[..2], &events[2..4], &events[4..], &[]] {
        check_eq!(ok(store.resume("a", 2).await), expected.len());
        let mut published = publish_all(&store).await;
        published.sort_by_key(|id| events.iter().position(|event| event.id == *id));
        check_eq!(published, event_ids(expected), "the events that are due");
    }
}

/// S17, S23: a wait for work returns after a resumption, also of another handle.
pub async fn a_wait_ends_at_a_resumption<F: StoreFixture>(fixture: F) {
    let (store, other) = (fixture.handle().await, fixture.handle().await);
    for waiter in [&store, &other] {
        append(&fixture, &keyed("a", 1));
        hold_all(&store).await;
        let mut waiting = pin!(waiter.wait_for_work(DELAY / 2));
        let begun = timeout(Duration::from_millis(200), &mut waiting).await;
        check!(
            begun.is_err(),
            "expected a wait without work to last, came its end"
        );
        check_eq!(ok(store.resume("a", 10).await), 1);
        let woken = timeout(Duration::from_secs(60), waiting).await;
        ok(woken.unwrap_or_else(|_| {
            refuse!("expected a wait to end within 60 s of a resumption, came no end")
        }));
        check_eq!(publish_all(&store).await.len(), 1);
    }
}

/// S5, S23: an event that is held behind another one of its key is released, and waits for it.
pub async fn an_event_held_behind_another_waits_for_it<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let events = keyed("a", 2);
    append(&fixture, &events);
    let claimed = claim(&store, 24).await;
    let outcomes = [retry(10), held("a")];
    let settlements: Vec<Settlement> = events
        .iter()
        .zip(outcomes)
        .map(|(event, outcome)| Settlement::new(event.id, outcome))
        .collect();
    ok(store.settle(claimed.token, &settlements).await);
    let resumed = ok(store.resume("a", 10).await);
    check_eq!(ids(&claim(&store, 24).await.events), []);
    fixture.elapse(Duration::from_secs(10)).await;
    check_eq!(publish_all(&store).await, event_ids(&events));
    check!(resumed == 0, "expected no resumed event, came {resumed}");
    let unkeyed = Event::new("conformance", "x");
    append(&fixture, std::slice::from_ref(&unkeyed));
    settle(&store, &claim(&store, 24).await, &held("a")).await;
    check_eq!(ids(&claim(&store, 24).await.events), []);
    check_eq!(ok(store.resume("a", 10).await), 1);
    settle(&store, &claim(&store, 24).await, &released()).await;
    check_eq!(publish_all(&store).await, [unkeyed.id]);
}
