//! A broker that closes the channel of an event that it refuses.

use super::ClosingBroker;
use super::call::{check_all_innocent, check_recovers, check_taken, keyed, publish};
use crate::check::check_eq;
use outbox_core::PublishError;

/// T2, T7, T11: calls that are in flight when another call's event closes their channel.
pub async fn events_in_flight_are_not_blamed_when_their_channel_closes<F: ClosingBroker>(
    fixture: F,
) {
    let transport = fixture.transport().await;
    for _round in 0..10 {
        let (culprit, kind) = fixture.closing().await;
        let culprit = [culprit];
        let calls = [(); 3].map(|()| keyed(&*transport, "closing", 6));
        let call = |events| publish(&fixture, &*transport, events);
        let (first, blamed, second, third) = tokio::join!(
            call(&calls[0]),
            call(&culprit),
            call(&calls[1]),
            call(&calls[2])
        );
        let blamed = blamed[0].as_ref().map_err(PublishError::kind);
        check_eq!(
            blamed,
            Err(kind),
            "the answer to the event that closes the channel"
        );
        for (events, answers) in calls.iter().zip([first, second, third]) {
            check_all_innocent(&answers);
            check_taken(&fixture, events, &answers).await;
            check_recovers(&fixture, &*transport, events, answers).await;
        }
    }
}
