//! Deliveries that are repeated, rolled back and concurrent.

use super::{CONSUMER, End, Inbox, InboxFixture, accept, deliver, handles, refuse};
use crate::check::{check, check_eq, ok};
use outbox_core::EventId;
use std::sync::Arc;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use uuid::Uuid;

/// How often concurrent deliveries meet.
const ROUNDS: usize = 10;

/// Deliveries in a round.
const DELIVERIES: usize = 4;

/// I1: the first delivery is accepted, and no later one, from two handles.
pub async fn an_event_is_accepted_once<F: InboxFixture>(fixture: F) {
    let handles = handles(&fixture, 2).await;
    for _ in 0..3 {
        let id = EventId::new();
        let mut answers = Vec::new();
        for inbox in handles.iter().cycle().take(4) {
            answers.push(deliver(&**inbox, id).await);
        }
        check_eq!(answers, [true, false, false, false], "accepted deliveries");
        check_eq!(fixture.work(CONSUMER, id).await, 1, "work of the event");
    }
}

/// I2: a delivery that rolls back leaves no trace.
pub async fn a_delivery_after_a_rollback_is_accepted<F: InboxFixture>(fixture: F) {
    let (inbox, id) = (fixture.handle(CONSUMER).await, EventId::new());
    for _ in 0..2 {
        let accepted = ok(inbox.deliver(id, End::RollBack).await);
        check_eq!(
            accepted,
            true,
            "whether a delivery that rolls back is accepted"
        );
        check_eq!(fixture.work(CONSUMER, id).await, 0, "work after a rollback");
    }
    accept(&*inbox, &[id]).await;
    // A rollback of a later delivery does not undo the first.
    let accepted = ok(inbox.deliver(id, End::RollBack).await);
    check_eq!(accepted, false, "whether a later delivery is accepted");
    refuse(&*inbox, id, "after a rollback of a later delivery").await;
    check_eq!(fixture.work(CONSUMER, id).await, 1, "work of the event");
}

/// I3: of concurrent deliveries that all commit, exactly one is accepted.
pub async fn one_of_several_concurrent_deliveries_is_accepted<F: InboxFixture>(fixture: F) {
    let handles = handles(&fixture, DELIVERIES).await;
    for _ in 0..ROUNDS {
        meet(&fixture, &handles, &[End::Commit; DELIVERIES]).await;
    }
}

/// I2, I3: of concurrent deliveries exactly one that commits is accepted, also if others roll back.
pub async fn a_concurrent_rollback_hides_no_event<F: InboxFixture>(fixture: F) {
    use End::{Commit, RollBack};
    let handles = handles(&fixture, DELIVERIES).await;
    for _ in 0..ROUNDS {
        meet(&fixture, &handles, &[RollBack, Commit, RollBack, Commit]).await;
        meet(&fixture, &handles, &[Commit, RollBack]).await;
    }
}

/// Delivers one event at the same time through separate handles.
async fn meet<F: InboxFixture>(fixture: &F, handles: &[Arc<dyn Inbox>], ends: &[End]) {
    let (id, barrier) = (EventId::new(), Arc::new(Barrier::new(ends.len())));
    let mut deliveries = JoinSet::new();
    for (inbox, &end) in handles.iter().zip(ends) {
        let (inbox, barrier) = (Arc::clone(inbox), Arc::clone(&barrier));
        deliveries.spawn(async move {
            barrier.wait().await;
            (end, ok(inbox.deliver(id, end).await))
        });
    }
    let answers = deliveries.join_all().await;
    let accepted = answers
        .iter()
        .filter(|answer| **answer == (End::Commit, true));
    check_eq!(
        accepted.count(),
        1,
        "deliveries that were accepted and committed, of {answers:?}"
    );
    check_eq!(
        fixture.work(CONSUMER, id).await,
        1,
        "work of the event after {answers:?}"
    );
}

/// I4: each consumer accepts an event once, independently of the others, also if the names are alike.
pub async fn consumers_do_not_affect_each_other<F: InboxFixture>(fixture: F) {
    let id = EventId::new();
    let odd = "it's \"ödd\" %_\\";
    for name in [CONSUMER, "Billing", "billing ", "billing2", "b", odd] {
        let inbox = fixture.handle(name).await;
        check!(
            deliver(&*inbox, id).await,
            "expected {name:?} to accept an event that others accepted, came a refusal"
        );
        refuse(&*inbox, id, name).await;
        check_eq!(fixture.work(name, id).await, 1, "work of {name:?}");
    }
}

/// I5: ids that differ in a single bit are different events, and so are the smallest and largest id.
pub async fn ids_that_differ_in_one_bit_are_different_events<F: InboxFixture>(fixture: F) {
    let inbox = fixture.handle(CONSUMER).await;
    let id = Uuid::now_v7().as_u128();
    let mut ids: Vec<u128> = (0..128).map(|bit| id ^ (1 << bit)).collect();
    ids.extend([id, 0, u128::MAX, Uuid::new_v4().as_u128()]);
    let ids: Vec<EventId> = ids
        .iter()
        .map(|id| EventId::from(Uuid::from_u128(*id)))
        .collect();
    accept(&*inbox, &ids).await;
    for id in ids {
        refuse(&*inbox, id, "after ids that differ in one bit").await;
    }
}
