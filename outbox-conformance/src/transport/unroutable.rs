//! Events that the broker takes from a publisher and routes nowhere.

use super::RoutingBroker;
use super::call::{check_all_missing, check_misconfigured, copies, keyed, publish};
use crate::crash::at_each_point;

/// T2, T8, T11: events that the broker cannot route, in a call with other events.
pub async fn an_unroutable_event_is_misconfigured_and_others_arrive<F: RoutingBroker>(fixture: F) {
    let wrong = fixture.unroutable().await;
    check_misconfigured(&fixture, &wrong).await;
}

/// T8, T12: after a call that was dropped at any of its waits, an event that is routed nowhere does
/// not get its answer.
pub async fn a_dropped_call_does_not_answer_for_an_unroutable_event<F: RoutingBroker>(fixture: F) {
    let transport = fixture.transport().await;
    let wrong = fixture.unroutable().await;
    at_each_point("publish", async |point| {
        let dropped = keyed(&*transport, "unroutable", 3);
        let ended = point.reach(transport.publish(&dropped)).await.is_some();
        let refused = copies(&wrong, 3);
        let answers = publish(&fixture, &*transport, &refused).await;
        check_all_missing(&*transport, &refused, &answers);
        ended
    })
    .await;
}
