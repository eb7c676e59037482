//! A broker that goes away and comes back.

use super::StoppableBroker;
use outbox_core::{Event, PublishErrorKind};
use std::collections::HashSet;

/// T1, T4: while the broker is away each event is Unavailable; afterwards the same transport works,
/// and what had been taken before is still there.
pub async fn an_outage_is_unavailable_and_ends<F: StoppableBroker>(fixture: F) {
    let transport = fixture.transport().await;
    let events: Vec<Event> = (0..9)
        .map(|_| Event::new("conformance.outage", "x"))
        .collect();
    let (before, rest) = events.split_at(3);
    let (during, after) = rest.split_at(3);

    assert!(transport.publish(before).await.iter().all(Result::is_ok));
    fixture.stop().await;
    let answers = transport.publish(during).await;
    assert_eq!(answers.len(), during.len(), "answers in the outage");
    for answer in answers {
        let kind = answer.expect_err("Ok without a broker").kind();
        assert_eq!(kind, PublishErrorKind::Unavailable);
    }
    fixture.start().await;
    for events in [during, after] {
        let answers = transport.publish(events).await;
        assert!(
            answers.iter().all(Result::is_ok),
            "after the outage: {answers:?}"
        );
    }
    let arrived: HashSet<_> = fixture
        .received()
        .await
        .iter()
        .map(|event| event.id)
        .collect();
    for event in &events {
        assert!(arrived.contains(&event.id), "{} is lost", event.id);
    }
}
