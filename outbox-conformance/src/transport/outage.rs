//! A broker that goes away and comes back.

use super::StoppableBroker;
use super::call::{
    check_all_ok, check_all_unavailable, check_recovers, check_taken, keyed, publish,
};

/// T1, T4, T7: while the broker is away each event is Unavailable; afterwards the same transport works,
/// and what had been taken before is still there.
pub async fn an_outage_is_unavailable_and_ends<F: StoppableBroker>(fixture: F) {
    let transport = fixture.transport().await;
    let [before, during, after] = [(); 3].map(|()| keyed(&*transport, "outage", 6));
    let taken = publish(&fixture, &*transport, &before).await;
    check_all_ok(&taken);
    fixture.stop().await;
    let answers = publish(&fixture, &*transport, &during).await;
    check_all_unavailable(&answers);
    fixture.start().await;
    check_recovers(&fixture, &*transport, &during, answers).await;
    check_all_ok(&publish(&fixture, &*transport, &after).await);
    check_taken(&fixture, &before, &taken).await;
}
