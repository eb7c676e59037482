//! Settlements of claims that are lost, settled, expired, or of another handle.

use super::{
    LEASE, Store, StoreFixture, append, claim, each, event_ids, ids, keyed, publish_all, released,
    retry, settle, sorted,
};
use crate::check::{check, check_eq, check_kind, nth, ok};
use outbox_core::{DeadLetterFilter, ErrorKind, EventId, OutboxError, Outcome, Settlement};
use std::sync::Arc;

/// S4: after a take-over, and after a settlement, the token settles nothing.
pub async fn a_lost_claim_settles_nothing<F: StoreFixture>(fixture: F) {
    let (one, two) = (fixture.handle().await, fixture.handle().await);
    append(&fixture, &keyed("k", 1));
    let lost = claim(&one, 1).await;
    fixture.elapse(LEASE).await;
    let taken = claim(&two, 1).await;
    check_eq!(ids(&taken.events), ids(&lost.events));
    let refused = one
        .settle(lost.token, &each(&lost, &Outcome::Published))
        .await;
    check_kind(
        refused,
        ErrorKind::LeaseLost,
        "a settlement after a take-over",
    );
    check_eq!(ok(two.backlog().await).pending, 1);
    settle(&two, &taken, &Outcome::Published).await;
    let again = two
        .settle(taken.token, &each(&taken, &Outcome::Published))
        .await;
    check_kind(again, ErrorKind::LeaseLost, "a second settlement");
}

/// S4: through another handle a settlement is applied, or it is refused as `LeaseLost` and changes
/// nothing: then the handle that made the claim settles it, or its lease runs out.
pub async fn a_claim_settled_through_another_handle_loses_no_event<F: StoreFixture>(fixture: F) {
    let (one, two) = (fixture.handle().await, fixture.handle().await);
    let dead = Outcome::Dead {
        reason: "broken".into(),
    };
    for outcome in [Outcome::Published, dead, retry(0), released()] {
        for settled_by_its_own_handle in [true, false] {
            let events = keyed("k", 2);
            append(&fixture, &events);
            let held = claim(&one, 2).await;
            check_eq!(ids(&held.events), event_ids(&events));
            let settlements = each(&held, &outcome);
            let applied = is_applied(two.settle(held.token, &settlements).await);
            if settled_by_its_own_handle {
                let again = is_applied(one.settle(held.token, &settlements).await);
                check_eq!(
                    again,
                    !applied,
                    "a second settlement with {outcome:?} is applied"
                );
            }
            fixture.elapse(LEASE).await;
            let is_settled = applied || settled_by_its_own_handle;
            check_the_end(&two, event_ids(&events), &outcome, is_settled).await;
        }
    }
}

/// Whether a settlement succeeds. An error must be `LeaseLost`.
fn is_applied(settled: Result<(), OutboxError>) -> bool {
    if settled.is_err() {
        check_kind(
            settled,
            ErrorKind::LeaseLost,
            "a settlement through another handle",
        );
        return false;
    }
    true
}

/// Checks that the events are published or dead letters if their outcome says so, and that all
/// others can be claimed. Then removes them.
async fn check_the_end(
    store: &Arc<dyn Store>,
    events: Vec<EventId>,
    outcome: &Outcome,
    is_settled: bool,
) {
    let (waiting, dead) = match outcome {
        Outcome::Published if is_settled => (vec![], vec![]),
        Outcome::Dead { .. } if is_settled => (vec![], events),
        _ => (events, vec![]),
    };
    check_eq!(
        publish_all(store).await,
        waiting,
        "events after {outcome:?}"
    );
    let purged = ok(store.purge(&DeadLetterFilter::all(), 10).await);
    check_eq!(
        sorted(purged),
        sorted(dead),
        "dead letters after {outcome:?}"
    );
}

/// S16: a settlement after the lease is applied unless another worker took the claim over.
pub async fn an_expired_claim_settles_unless_it_was_taken_over<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    append(&fixture, &keyed("k", 2));
    let late = claim(&store, 2).await;
    fixture.elapse(LEASE * 2).await;
    settle(&store, &late, &Outcome::Published).await;
    check_eq!(ok(store.backlog().await).pending, 0);
}

/// S16: a settlement that does not name each event of its claim once is refused and changes
/// nothing.
pub async fn a_settlement_is_of_exactly_its_claim<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    append(&fixture, &keyed("k", 2));
    let claim = claim(&store, 2).await;
    let right = each(&claim, &Outcome::Published);
    let stranger = Settlement::new(EventId::new(), Outcome::Published);
    for wrong in [
        vec![],
        vec![right[0].clone()],
        vec![right[0].clone(), right[0].clone()],
        vec![right[0].clone(), stranger.clone()],
        vec![right[0].clone(), right[1].clone(), stranger],
    ] {
        let refused = store.settle(claim.token, &wrong).await;
        check_kind(refused, ErrorKind::Invalid, "a settlement of other events");
        check_eq!(
            ok(store.backlog().await).pending,
            2,
            "pending events after a refused settlement"
        );
    }
    ok(store.settle(claim.token, &right).await);
}

/// S7: the events of a lost claim are claimed again one at a time; only an event that was lost
/// alone is flagged.
pub async fn a_lost_worker_blames_only_a_lone_event<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let events = keyed("k", 3);
    append(&fixture, &events);
    check_eq!(claim(&store, 10).await.events.len(), 3);
    fixture.elapse(LEASE).await;
    // Lost together: each is claimed alone, and none is flagged.
    for (turn, event) in events.iter().enumerate() {
        let claim = claim(&store, 10).await;
        check_eq!(
            ids(&claim.events),
            [event.id],
            "the events of a claim after a lost worker"
        );
        check!(
            !claim.events[0].worker_lost,
            "expected no blame for an event that was lost with others, came worker_lost"
        );
        if turn < 2 {
            settle(&store, &claim, &Outcome::Published).await;
        }
    }
    // Lost alone: flagged, until that is settled.
    fixture.elapse(LEASE).await;
    let blamed = claim(&store, 10).await;
    check_eq!(ids(&blamed.events), [events[2].id]);
    check!(
        blamed.events[0].worker_lost,
        "expected worker_lost for an event that was lost alone, came no blame"
    );
    settle(&store, &blamed, &retry(0)).await;
    let after = claim(&store, 10).await;
    let after = nth(&after.events, 0, "claimed events");
    check_eq!((after.attempts, after.worker_lost), (1, false));
}
