//! A broker that takes no large events.

use super::LimitedBroker;
use outbox_core::{Event, PublishErrorKind};

/// T1, T6: an event that is too large can never succeed; those around it arrive. It does not stand in
/// the middle, so that the order of the answers shows.
pub async fn a_too_large_event_is_permanent_and_its_neighbours_arrive<F: LimitedBroker>(
    fixture: F,
) {
    let small = |text| Event::new("conformance.limits", text);
    let large = fixture.too_large().await;
    let events = [small("first"), large, small("third"), small("last")];
    let answers = fixture.transport().await.publish(&events).await;
    let [first, large, third, last] = &answers[..] else {
        panic!("four events, but {} answers", answers.len());
    };
    let others = [first, third, last];
    assert!(others.iter().all(|answer| answer.is_ok()), "{answers:?}");
    let kind = large.as_ref().expect_err("a too large event was Ok").kind();
    assert_eq!(kind, PublishErrorKind::Permanent);
    let arrived: Vec<_> = fixture
        .received()
        .await
        .iter()
        .map(|event| event.id)
        .collect();
    assert_eq!(arrived.len(), 3, "{arrived:?}");
    for small in [0, 2, 3] {
        assert!(arrived.contains(&events[small].id), "{arrived:?}");
    }
}
