//! What a transport finds out without publishing (T8).

use super::RemovableDestination;
use super::call::{check_all_ok, destination, of_error};
use crate::check::check_eq;
use outbox_core::{Event, PublishErrorKind, Transport};

async fn problems(transport: &dyn Transport) -> Vec<(PublishErrorKind, Option<String>)> {
    let found = transport.check().await;
    found.problems.iter().map(of_error).collect()
}

/// T8: before and after a publish. The check itself publishes nothing.
pub async fn a_check_of_a_sound_destination_finds_no_problem<F: RemovableDestination>(fixture: F) {
    let transport = fixture.transport().await;
    let event = Event::new("conformance.check", "x");
    check_eq!(problems(&*transport).await, [], "problems before a publish");
    let answers = transport.publish(std::slice::from_ref(&event)).await;
    check_all_ok(&answers);
    check_eq!(problems(&*transport).await, [], "problems after a publish");
    let arrived: Vec<_> = fixture.received().await.iter().map(|e| e.id).collect();
    check_eq!(arrived, [event.id], "events that arrived");
}

/// T8: the problem has the kind and the name of the errors of its events, until the destination is
/// restored.
pub async fn a_check_names_a_missing_destination<F: RemovableDestination>(fixture: F) {
    let transport = fixture.transport().await;
    let event = Event::new("conformance.check", "x");
    check_all_ok(&transport.publish(std::slice::from_ref(&event)).await);
    fixture.remove(&event).await;
    let missing = (
        PublishErrorKind::Misconfigured,
        destination(&*transport, &event),
    );
    check_eq!(
        problems(&*transport).await,
        [missing],
        "problems without the destination"
    );
    fixture.restore(&event).await;
    check_eq!(
        problems(&*transport).await,
        [],
        "problems after it is restored"
    );
}
