//! A destination that is missing, and another one that is not (T8).

use super::ManyDestinations;
use super::call::{check_all_missing, check_all_ok, destination};
use crate::check::{check, check_eq};
use outbox_core::Event;

/// T2, T8: of two calls at the same time, and of two one after another, only that for the missing
/// destination fails.
pub async fn a_missing_destination_does_not_affect_another<F: ManyDestinations>(fixture: F) {
    let transport = fixture.transport().await;
    let here = [(); 3].map(|()| Event::new("conformance.missing", "x"));
    let there = [fixture.elsewhere().await, fixture.elsewhere().await];
    let names = [&here[0], &there[0]].map(|event| destination(&*transport, event));
    check!(
        names[0].is_some() && names[1].is_some() && names[0] != names[1],
        "expected the names of two destinations, came {names:?}"
    );
    fixture.remove(&here[0]).await;
    let (missing, answers) = tokio::join!(
        transport.publish(&here[..2]),
        transport.publish(&there[..1])
    );
    check_all_missing(&*transport, &here[..2], &missing);
    check_all_ok(&answers);
    let missing = transport.publish(&here[2..]).await;
    check_all_missing(&*transport, &here[2..], &missing);
    check_all_ok(&transport.publish(&there[1..]).await);
    let arrived: Vec<_> = fixture.received().await.iter().map(|e| e.id).collect();
    check_eq!(arrived, there.map(|event| event.id), "events that arrived");
}
