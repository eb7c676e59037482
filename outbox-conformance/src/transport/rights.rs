//! A destination that the transport may not use.

use super::RestrictedBroker;
use super::call::check_misconfigured;

/// T2, T8, T11: events for a forbidden destination, in a call with other events.
pub async fn a_forbidden_destination_is_misconfigured_and_others_arrive<F: RestrictedBroker>(
    fixture: F,
) {
    let wrong = fixture.forbidden().await;
    check_misconfigured(&fixture, &wrong).await;
}
