//! A broker that recognises an event that it has.

use super::TransportFixture;
use super::call::{check_all_ok, copies, ids, keyed, publish};
use crate::check::check_eq;
use outbox_core::Event;

/// T10: each event arrives once, through two transports, and also those that differ from another
/// one in nothing but their id.
pub async fn an_event_that_is_published_again_arrives_once<F: TransportFixture>(fixture: F) {
    let transports = [fixture.transport().await, fixture.transport().await];
    let events = keyed(&*transports[0], "duplicates", 6);
    check_all_ok(&publish(&fixture, &*transports[0], &events).await);
    let mut sent = ids(&events);
    for transport in &transports {
        let twin = |event: &Event| {
            let mut twin = copies(event, 1).remove(0);
            twin.ordering_key = None;
            [event.clone(), twin]
        };
        let call: Vec<Event> = events.iter().flat_map(twin).collect();
        check_all_ok(&publish(&fixture, &**transport, &call).await);
        sent.extend(ids(&call).into_iter().skip(1).step_by(2));
    }
    let mut arrived = ids(&fixture.received().await);
    arrived.sort_unstable();
    sent.sort_unstable();
    check_eq!(arrived, sent, "events that arrived");
}
