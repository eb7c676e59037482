//! The events that are published, and a transport that does nothing. Shared with `benches/sqlite`.

use async_trait::async_trait;
use outbox_core::{Event, PublishError, Transport};

#[derive(Debug)]
pub(crate) struct Nothing;

#[async_trait]
impl Transport for Nothing {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        events.iter().map(|_| Ok(())).collect()
    }
}

pub(crate) fn event(number: usize) -> Event {
    let payload = format!("{{\"order\":{number},\"note\":\"{}\"}}", "x".repeat(170));
    Event::new("order.placed", payload)
        .content_type("application/json")
        .ordering_key(format!("customer {}", number % 1000))
}
