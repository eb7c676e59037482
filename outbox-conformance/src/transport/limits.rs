//! A broker that takes no large events.

use super::LimitedBroker;
use super::call::{ids, publish};
use crate::check::{check, check_eq, refuse};
use outbox_core::{Event, PublishError, PublishErrorKind};

/// T1, T6: an event that is too large is `Permanent`, and the other events arrive. It is not in the
/// middle of the call, so that a wrong order of answers shows.
pub async fn a_too_large_event_is_permanent_and_its_neighbours_arrive<F: LimitedBroker>(
    fixture: F,
) {
    let small = |text| Event::new("conformance.limits", text);
    let large = fixture.too_large().await;
    let events = [small("first"), large, small("third"), small("last")];
    let transport = fixture.transport().await;
    let answers = publish(&fixture, &*transport, &events).await;
    let [first, large, third, last] = &answers[..] else {
        refuse!("expected 4 answers, came {}", answers.len());
    };
    let others = [first, third, last];
    check!(
        others.iter().all(|answer| answer.is_ok()),
        "expected Ok for all but the second event, came {answers:?}"
    );
    let kind = large.as_ref().map_err(PublishError::kind);
    check_eq!(
        kind,
        Err(PublishErrorKind::Permanent),
        "the answer to a too large event"
    );
    let arrived = ids(&fixture.received().await);
    check_eq!(arrived.len(), 3, "the number of events that arrived");
    for small in [0, 2, 3] {
        check!(
            arrived.contains(&events[small].id),
            "expected {} at the broker, came only {arrived:?}",
            events[small].id
        );
    }
}
