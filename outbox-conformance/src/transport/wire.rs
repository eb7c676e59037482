//! A connection that is cut, or held, between the transport and its broker.

use super::WireFixture;
use super::call::{
    check_all_innocent, check_all_ok, check_all_unavailable, check_recovers, check_taken, keyed,
    publish,
};
use crate::check::check;
use crate::wire::at_each_place;

/// T2, T4, T7, T10: a cut at each piece of the requests, and within the replies, of which the broker
/// then has sent a part. The same transport publishes the rest, in order.
pub async fn a_cut_call_is_ok_only_for_events_at_the_broker<F: WireFixture>(fixture: F) {
    let transport = fixture.wired().await;
    at_each_place(fixture.wire(), async |cut| {
        let events = keyed(&*transport, "wire", 6);
        let answers = cut.around(publish(&fixture, &*transport, &events)).await;
        if !cut.has_happened() {
            check_all_ok(&answers);
        }
        check_all_innocent(&answers);
        check_taken(&fixture, &events, &answers).await;
        check_recovers(&fixture, &*transport, &events, answers).await;
    })
    .await;
}

/// T7, T9, T10: the broker takes the events, and its replies do not come.
pub async fn an_answer_that_does_not_come_is_unavailable_in_time<F: WireFixture>(fixture: F) {
    let transport = fixture.wired().await;
    let before = keyed(&*transport, "wire", 6);
    check_all_ok(&publish(&fixture, &*transport, &before).await);
    fixture.wire().hold_replies();
    let events = keyed(&*transport, "wire", 6);
    let answers = publish(&fixture, &*transport, &events).await;
    let held = fixture.wire().has_held();
    check!(held, "expected the replies on the wire, came none");
    check_all_unavailable(&answers);
    fixture.wire().repair();
    check_recovers(&fixture, &*transport, &events, answers).await;
}

/// T4, T7, T9: nothing reaches the broker and nothing comes back, but connections stay open.
pub async fn a_silent_broker_is_unavailable_in_time<F: WireFixture>(fixture: F) {
    let transport = fixture.wired().await;
    let before = keyed(&*transport, "wire", 6);
    check_all_ok(&publish(&fixture, &*transport, &before).await);
    fixture.wire().hold_all();
    let events = keyed(&*transport, "wire", 6);
    let mut answers = Vec::new();
    for _again in 0..2 {
        answers = publish(&fixture, &*transport, &events).await;
        check_all_unavailable(&answers);
    }
    fixture.wire().repair();
    check_recovers(&fixture, &*transport, &events, answers).await;
}

/// T2, T7, T12: a call is dropped while its answer is on the way. The answer comes during a later
/// call, whose request is cut.
pub async fn a_late_answer_is_not_that_of_a_later_call<F: WireFixture>(fixture: F) {
    let transport = fixture.wired().await;
    let before = keyed(&*transport, "wire", 6);
    check_all_ok(&publish(&fixture, &*transport, &before).await);
    for _round in 0..10 {
        let (dropped, later) = (
            keyed(&*transport, "dropped", 6),
            keyed(&*transport, "later", 6),
        );
        fixture.wire().hold_replies();
        tokio::select! {
            answers = publish(&fixture, &*transport, &dropped) => check_all_unavailable(&answers),
            () = fixture.wire().held() => {}
        }
        fixture.wire().cut_request(0);
        let answers = publish(&fixture, &*transport, &later).await;
        fixture.wire().repair();
        check_all_innocent(&answers);
        check_taken(&fixture, &later, &answers).await;
        check_all_ok(&publish(&fixture, &*transport, &dropped).await);
        check_recovers(&fixture, &*transport, &later, answers).await;
    }
}
