//! The memory broker passes the transport suite, and notes the calls that no worker may make.

use outbox_conformance::transport::MemoryBroker;
use outbox_core::{Event, Transport};
use std::panic::{AssertUnwindSafe, catch_unwind};

outbox_conformance::transport_suite!(
    memory,
    MemoryBroker::new(),
    delivery,
    cancellation,
    outage,
    blocking,
    limits,
    throttling
);
outbox_conformance::transport_suite!(
    keeping_order,
    MemoryBroker::new().keeping_order().deduplicating(),
    delivery,
    cancellation,
    outage,
    blocking,
    limits,
    throttling,
    order,
    duplicates,
    closing
);
outbox_conformance::transport_suite!(
    with_destinations,
    MemoryBroker::new().with_destinations(),
    delivery,
    cancellation,
    outage,
    blocking,
    limits,
    throttling,
    missing,
    destinations,
    checks,
    unroutable,
    rights,
    closing
);

/// What the broker says after a call.
async fn said(broker: &MemoryBroker, call: &[Event]) -> String {
    broker.publish(&[Event::new("order.placed", "x")]).await;
    assert_eq!(broker.events().len(), 1);
    broker.publish(call).await;
    broker.publish(&[]).await;
    match catch_unwind(AssertUnwindSafe(|| broker.events())) {
        Ok(events) => format!("{} events", events.len()),
        Err(panic) => *panic.downcast().expect("a message"),
    }
}

#[tokio::test]
async fn a_call_with_two_events_of_a_key_is_noted_unless_the_transport_keeps_order() {
    let call = ["a", "b", "b"].map(|key| Event::new("order.placed", "x").ordering_key(key));
    let text = said(&MemoryBroker::new(), &call).await;
    assert!(text.contains("several of the key \"b\""), "{text}");
    let text = said(&MemoryBroker::new().keeping_order(), &call).await;
    assert_eq!(text, "4 events");
}

#[tokio::test]
async fn a_call_with_events_of_two_destinations_is_noted() {
    let call = ["order.placed", "mail.sent"].map(|name| Event::new(name, "x"));
    let text = said(&MemoryBroker::new().with_destinations(), &call).await;
    assert!(text.contains("{\"mail\", \"order\"}"), "{text}");
    assert_eq!(said(&MemoryBroker::new(), &call).await, "3 events");
}
