//! A destination that a person must repair (T8).

use super::{RemovableDestination, check_all_missing, check_all_ok};
use crate::check::check;
use outbox_core::Event;
use std::collections::HashSet;

/// T1, T8: while the destination is missing each event is Misconfigured, and the error names the
/// destination; afterwards the same transport publishes these events.
pub async fn a_missing_destination_is_misconfigured_until_it_is_restored<
    F: RemovableDestination,
>(
    fixture: F,
) {
    let transport = fixture.transport().await;
    let events: Vec<Event> = (0..6)
        .map(|_| Event::new("conformance.missing", "x"))
        .collect();
    let (before, rest) = events.split_at(1);
    check_all_ok(&transport.publish(before).await);
    fixture.remove(&events[0]).await;
    for _again in 0..2 {
        let answers = transport.publish(&rest[..3]).await;
        check_all_missing(&*transport, &rest[..3], &answers);
    }
    fixture.restore(&events[0]).await;
    for events in [&rest[..3], &rest[3..]] {
        check_all_ok(&transport.publish(events).await);
    }
    let arrived: HashSet<_> = fixture.received().await.iter().map(|e| e.id).collect();
    for event in rest {
        check!(
            arrived.contains(&event.id),
            "expected {} at the destination, came only {arrived:?}",
            event.id
        );
    }
}
