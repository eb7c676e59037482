//! A broker that goes away and comes back.

use super::{StoppableBroker, check_all_ok};
use crate::check::{check, check_eq};
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

    check_all_ok(&transport.publish(before).await);
    fixture.stop().await;
    let answers = transport.publish(during).await;
    check_eq!(
        answers.len(),
        during.len(),
        "the number of answers without a broker"
    );
    for answer in answers {
        let kind = answer.map_err(|error| error.kind());
        check_eq!(
            kind,
            Err(PublishErrorKind::Unavailable),
            "an answer without a broker"
        );
    }
    fixture.start().await;
    for events in [during, after] {
        let answers = transport.publish(events).await;
        check_all_ok(&answers);
    }
    let arrived: HashSet<_> = fixture
        .received()
        .await
        .iter()
        .map(|event| event.id)
        .collect();
    for event in &events {
        check!(
            arrived.contains(&event.id),
            "expected {} at the broker, came only {arrived:?}",
            event.id
        );
    }
}
