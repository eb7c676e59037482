//! Calls that are dropped, as at the worker's publish timeout.

use super::TransportFixture;
use super::call::{check_all_ok, check_taken, keyed, publish};
use crate::crash::at_each_point;

/// T2, T7, T12: after a call that was dropped at any of its waits, its events and later ones are
/// published through the same transport.
pub async fn a_dropped_call_leaves_the_transport_working<F: TransportFixture>(fixture: F) {
    let transport = fixture.transport().await;
    at_each_point("publish", async |point| {
        let dropped = keyed(&*transport, "dropped", 6);
        let later = keyed(&*transport, "later", 6);
        let ended = point.reach(transport.publish(&dropped)).await.is_some();
        for events in [&dropped, &later] {
            let answers = publish(&fixture, &*transport, events).await;
            check_all_ok(&answers);
            check_taken(&fixture, events, &answers).await;
        }
        ended
    })
    .await;
}
