//! The claims, and the events that wait.

use super::{HOUR, MANY, Observed, RegistryFixture, claim, is_about, overview, report, settle};
use crate::check::{check, check_eq, ok, refuse};
use crate::store::{LEASE, append, event_ids, keyed, released, retry};
use outbox_core::{ClaimLimit, OpenClaim, Outcome, RelayId, Settlement, WaitingEvent};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// R4: claims are those of the relay that reports through the same handle; a handle without a report has
/// none.
pub async fn a_claim_is_that_of_the_relay_whose_handle_made_it<F: RegistryFixture>(fixture: F) {
    let (first, second) = (fixture.observed().await, fixture.observed().await);
    let silent = fixture.observed().await;
    let reports = [report("first"), report("second")];
    ok(first.report(&reports[0]).await);
    for key in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        append(&fixture, &keyed(key, 1));
    }
    let one = claim(&first, 1).await;
    let other = claim(&second, 1).await;
    let unknown = claim(&silent, 1).await;
    ok(second.report(&reports[1]).await);
    let again = claim(&second, 1).await;
    let overview = overview(&silent).await;
    let relay = |token| -> Option<RelayId> {
        let claim = overview.claims.iter().find(|claim| claim.token == token);
        let Some(claim) = claim else {
            refuse!("expected the claim {token:?}, came {:?}", overview.claims)
        };
        overview.relay_of(claim).map(|relay| relay.id)
    };
    check_eq!(relay(one.token), Some(reports[0].id));
    check_eq!(
        relay(other.token),
        Some(reports[1].id),
        "a claim before the report"
    );
    check_eq!(relay(again.token), Some(reports[1].id));
    check_eq!(relay(unknown.token), None);
}

/// R4: an open claim has its events and the end of its lease, until it is settled or taken over.
pub async fn a_claim_is_shown_until_it_ends<F: RegistryFixture>(fixture: F) {
    let (store, other) = (fixture.observed().await, fixture.observed().await);
    append(&fixture, &keyed("k", 2));
    let held = claim(&store, 2).await;
    let shown = one_claim(&other).await;
    check_eq!((shown.token, shown.events), (held.token, 2));
    let outcomes = held.events.iter().zip([Outcome::Published, Outcome::Kept]);
    let settlements: Vec<Settlement> = outcomes
        .map(|(claimed, outcome)| Settlement::new(claimed.event.id, outcome))
        .collect();
    ok(store.settle(held.token, &settlements).await);
    let kept = one_claim(&other).await;
    check_eq!(
        (kept.token, kept.events),
        (held.token, 1),
        "a claim that keeps an event"
    );
    fixture.elapse(2 * LEASE).await;
    let overdue = one_claim(&other).await;
    check_eq!(overdue.token, held.token, "after the end of the lease");
    let overview = overview(&other).await;
    is_about("the end of the lease", overdue.until, overview.now - LEASE);
    let taken = claim(&other, 1).await;
    check_eq!(
        one_claim(&store).await.token,
        taken.token,
        "after a take-over"
    );
    settle(&other, &taken, &Outcome::Published).await;
    check_eq!(super::overview(&store).await.claims, [], "open claims");
}

/// R5: of each key the first event, in the order of their creation, with why it waits.
pub async fn the_first_waiting_event_of_each_key_is_shown<F: RegistryFixture>(fixture: F) {
    let store = fixture.observed().await;
    let far = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let mut events = vec![keyed("failed", 1).remove(0)];
    events.extend(keyed("fresh", 3));
    events.push(keyed("late", 1).remove(0).available_at(far));
    events.extend(keyed("held", 2));
    for (age, event) in events.iter_mut().enumerate() {
        event.created_at += Duration::from_secs(age as u64);
    }
    check_eq!(overview(&store).await.waiting, []);
    append(&fixture, &events);
    check_eq!(
        keys(&overview(&store).await.waiting),
        ["failed", "fresh", "late", "held"]
    );
    fail_and_hold(&store).await;
    let overview = overview(&store).await;
    check_eq!(keys(&overview.waiting), ["failed", "fresh", "late", "held"]);
    let ids: Vec<_> = overview.waiting.iter().map(|event| event.id).collect();
    let expected = event_ids(&[&events[..2], &events[4..6]].concat());
    check_eq!(ids, expected);
    let [failed, fresh, late, held] = &overview.waiting[..] else {
        refuse!("expected 4 events, came {:?}", overview.waiting)
    };
    check_eq!(failed.attempts, 1);
    check_eq!(failed.last_error.as_deref(), Some("refused"));
    is_about("a retry", failed.due_at, overview.now + HOUR);
    check_eq!((fresh.attempts, fresh.last_error.as_deref()), (0, None));
    check!(
        fresh.due_at <= overview.now,
        "expected a due event, came {fresh:?}"
    );
    is_about("a delayed event", late.due_at, far);
    check_eq!(held.held_for.as_deref(), Some("orders"));
    check_eq!(held.attempts, 0);
}

/// R7: lists are bounded, and a look leaves the events and the relays as they are.
pub async fn an_overview_is_bounded_and_changes_nothing<F: RegistryFixture>(fixture: F) {
    let store = fixture.observed().await;
    for key in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        append(&fixture, &keyed(key, 2));
    }
    let mut claimed = Vec::new();
    for _ in 0..2 {
        ok(store.report(&report("host")).await);
        claimed.push(claim(&fixture.observed().await, 1).await.token);
    }
    let before = ok(store.backlog().await);
    for limit in [0, 1] {
        let overview = ok(store.overview(limit).await);
        check_eq!(overview.relays.len(), limit, "relays");
        check_eq!(overview.claims.len(), limit, "claims");
        check_eq!(overview.waiting.len(), limit, "waiting events");
    }
    let after = ok(store.backlog().await);
    check_eq!(
        (after.pending, after.in_flight),
        (before.pending, before.in_flight)
    );
    let overview = ok(store.overview(MANY).await);
    check_eq!(overview.relays.len(), 2, "relays");
    check_eq!(overview.claims.len(), claimed.len(), "claims");
}

async fn one_claim(store: &Arc<dyn Observed>) -> OpenClaim {
    let mut claims = overview(store).await.claims;
    check_eq!(claims.len(), 1, "open claims");
    claims.remove(0)
}

async fn any_claim(store: &Arc<dyn Observed>) -> Option<outbox_core::Claim> {
    let claim = ok(store.claim(ClaimLimit::events(10), LEASE).await);
    (!claim.events.is_empty()).then_some(claim)
}

/// Claims all events until none is due, and gives them back: the first of `failed` as failed, and those of
/// `held` as held.
async fn fail_and_hold(store: &Arc<dyn Observed>) {
    let mut claims = Vec::new();
    while let Some(claim) = any_claim(store).await {
        claims.push(claim);
    }
    for claim in claims {
        let outcome = |key: Option<&str>| match key {
            Some("failed") => retry(3600),
            Some("held") => Outcome::Held {
                destination: "orders".into(),
                delay: HOUR,
            },
            _ => released(),
        };
        let events = claim.events.iter().map(|claimed| &claimed.event);
        let settlements: Vec<Settlement> = events
            .map(|event| Settlement::new(event.id, outcome(event.ordering_key.as_deref())))
            .collect();
        ok(store.settle(claim.token, &settlements).await);
    }
}

fn keys(waiting: &[WaitingEvent]) -> Vec<&str> {
    waiting
        .iter()
        .filter_map(|event| event.ordering_key.as_deref())
        .collect()
}
