//! A destination that a person must repair (T8).

use super::RemovableDestination;
use super::call::{Answers, check_all_missing, check_all_ok, check_recovers, keyed, publish};
use crate::crash::at_each_point;
use outbox_core::{Event, Transport};

/// The answers of two calls to a missing destination.
async fn refused<F: RemovableDestination>(
    fixture: &F,
    transport: &dyn Transport,
    events: &[Event],
) -> Answers {
    let mut answers = Vec::new();
    for _again in 0..2 {
        answers = publish(fixture, transport, events).await;
        check_all_missing(transport, events, &answers);
    }
    answers
}

/// T1, T7, T8: while the destination is missing each event is Misconfigured, and the error names the
/// destination; afterwards the same transport publishes these events, in order.
pub async fn a_missing_destination_is_misconfigured_until_it_is_restored<
    F: RemovableDestination,
>(
    fixture: F,
) {
    let transport = fixture.transport().await;
    let [before, events, after] = [(); 3].map(|()| keyed(&*transport, "missing", 6));
    check_all_ok(&publish(&fixture, &*transport, &before).await);
    fixture.remove(&events[0]).await;
    let answers = refused(&fixture, &*transport, &events).await;
    fixture.restore(&events[0]).await;
    check_recovers(&fixture, &*transport, &events, answers).await;
    check_all_ok(&publish(&fixture, &*transport, &after).await);
}

/// T8: the destination is missing when the transport publishes for the first time.
pub async fn a_destination_may_be_missing_before_the_first_call<F: RemovableDestination>(
    fixture: F,
) {
    let transport = fixture.transport().await;
    let events = keyed(&*transport, "missing", 6);
    fixture.remove(&events[0]).await;
    let answers = refused(&fixture, &*transport, &events).await;
    fixture.restore(&events[0]).await;
    check_recovers(&fixture, &*transport, &events, answers).await;
}

/// T8, T12: after a call that was dropped at any of its waits, events of a missing destination do
/// not get its answers.
pub async fn a_dropped_call_does_not_answer_for_a_missing_destination<F: RemovableDestination>(
    fixture: F,
) {
    let transport = fixture.transport().await;
    at_each_point("publish", async |point| {
        let dropped = keyed(&*transport, "missing", 3);
        let ended = point.reach(transport.publish(&dropped)).await.is_some();
        fixture.remove(&dropped[0]).await;
        let events = keyed(&*transport, "missing", 3);
        let answers = publish(&fixture, &*transport, &events).await;
        check_all_missing(&*transport, &events, &answers);
        fixture.restore(&dropped[0]).await;
        check_recovers(&fixture, &*transport, &events, answers).await;
        ended
    })
    .await;
}
