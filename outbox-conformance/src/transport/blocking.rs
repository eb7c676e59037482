//! A broker that holds back its publishers.

use super::BlockingBroker;
use super::call::{check_all_ok, check_all_unavailable, check_recovers, keyed, publish};

/// T4, T7, T9: while the broker is blocked each event is Unavailable in time; afterwards the same
/// transport publishes these events, in order.
pub async fn a_blocked_broker_is_unavailable_until_it_is_unblocked<F: BlockingBroker>(fixture: F) {
    let transport = fixture.transport().await;
    let before = keyed(&*transport, "blocking", 6);
    check_all_ok(&publish(&fixture, &*transport, &before).await);
    fixture.block().await;
    let events = keyed(&*transport, "blocking", 6);
    let mut answers = Vec::new();
    for _again in 0..2 {
        answers = publish(&fixture, &*transport, &events).await;
        check_all_unavailable(&answers);
    }
    fixture.unblock().await;
    check_recovers(&fixture, &*transport, &events, answers).await;
}
