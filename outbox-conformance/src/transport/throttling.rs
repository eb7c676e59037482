//! A destination that is full.

use super::ThrottlingBroker;
use super::call::{check_all_ok, check_recovers, check_taken, first_refusals, keyed, publish};
use crate::check::check;
use outbox_core::{Event, PublishError, PublishErrorKind};

/// Checks that the first event of each key that was not accepted is throttled.
fn check_throttled(events: &[Event], answers: &[Result<(), PublishError>]) {
    for (_, error) in first_refusals(events, answers) {
        let is_throttled =
            matches!(error.kind(), PublishErrorKind::Throttled(after) if !after.is_zero());
        check!(
            is_throttled,
            "expected Throttled with a time from a full destination, came {error:?}"
        );
    }
}

/// T2, T7, T13: a call that fills the destination, and another one to the full destination; when it
/// has room, the same transport publishes the rest, in order.
pub async fn a_full_destination_is_throttled_until_it_has_room<F: ThrottlingBroker>(fixture: F) {
    let transport = fixture.transport().await;
    let before = keyed(&*transport, "throttling", 3);
    check_all_ok(&publish(&fixture, &*transport, &before).await);
    fixture.fill(10).await;
    let (events, more) = (
        keyed(&*transport, "throttling", 60),
        keyed(&*transport, "throttling", 60),
    );
    let answers = publish(&fixture, &*transport, &events).await;
    let refused = publish(&fixture, &*transport, &more).await;
    for (events, answers) in [(&events, &answers), (&more, &refused)] {
        check!(
            answers.iter().any(Result::is_err),
            "expected a full destination to refuse an event of a call with 60, came Ok for each"
        );
        check_throttled(events, answers);
        check_taken(&fixture, events, answers).await;
    }
    fixture.make_room().await;
    check_recovers(&fixture, &*transport, &events, answers).await;
    check_recovers(&fixture, &*transport, &more, refused).await;
}
