//! Publishes the events of an outbox to the standard output until ctrl-c.
//!
//! Arguments: the place of the events and the place of the failure counts, each a file or a URL.

use outbox_core::{Event, OutboxConfig, PublishError, PublishErrorKind, Relay, Transport};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let shop = arguments
        .next()
        .ok_or("the first argument, where the events are, is missing")?;
    let counts = arguments
        .next()
        .ok_or("the second argument, where failures are counted, is missing")?;

    let store = store::SqliteStore::migrate(&shop).await?;
    let heap = heap::SqliteDlqHeap::migrate(&counts).await?;

    let config = OutboxConfig::builder().failure_threshold(2).build()?;
    let relay = Relay::new(store, Stdout).dlq_heap(heap).config(config);
    relay
        .run(async { tokio::signal::ctrl_c().await.unwrap_or(()) })
        .await?;
    Ok(())
}

/// Prints an event. Refuses what is not UTF-8.
#[derive(Debug)]
struct Stdout;

#[async_trait::async_trait]
impl Transport for Stdout {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        events.iter().map(print).collect()
    }
}

fn print(event: &Event) -> Result<(), PublishError> {
    let text = std::str::from_utf8(&event.payload)
        .map_err(|error| PublishError::new(PublishErrorKind::Rejected).with_source(error))?;
    println!("{} {text}", event.event_type);
    Ok(())
}
