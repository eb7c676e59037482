//! A broker that takes no large events.

use super::LimitedBroker;
use outbox_core::{Event, PublishErrorKind};

/// T6: an event that is too large can never succeed; those around it arrive.
pub async fn a_too_large_event_is_permanent_and_its_neighbours_arrive<F: LimitedBroker>(
    fixture: F,
) {
    let first = Event::new("conformance.limits", "first");
    let last = Event::new("conformance.limits", "last");
    let events = [first, fixture.too_large().await, last];
    let answers = fixture.transport().await.publish(&events).await;
    let [first, large, last] = &answers[..] else {
        panic!("three events, but {} answers", answers.len());
    };
    assert!(first.is_ok() && last.is_ok(), "{answers:?}");
    let kind = large.as_ref().expect_err("a too large event was Ok").kind();
    assert_eq!(kind, PublishErrorKind::Permanent);
    let arrived: Vec<_> = fixture
        .received()
        .await
        .iter()
        .map(|event| event.id)
        .collect();
    assert_eq!(arrived.len(), 2, "{arrived:?}");
    assert!(
        arrived.contains(&events[0].id) && arrived.contains(&events[2].id),
        "{arrived:?}"
    );
}
