//! NATS `JetStream` between the relay and billing.

use crate::Failure;
use outbox_transport_nats::async_nats::jetstream;
use outbox_transport_nats::async_nats::jetstream::consumer::{PullConsumer, pull};
use outbox_transport_nats::async_nats::jetstream::stream::{Config, DiscardPolicy};
use outbox_transport_nats::{NatsConfig, NatsTransport, async_nats};
use std::time::Duration;

/// How long the stream recognises an event that the relay publishes again: longer than the longest delay
/// between two attempts.
const DUPLICATES: Duration = Duration::from_secs(600);

/// How long an order may take. The server then delivers it again, as after the death of the service.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(5);

/// The publisher's end: each event has the subject of its type, such as `shop.order.placed`. It connects
/// when the first event is published.
pub(crate) fn transport(servers: &str, stream: &str) -> Result<NatsTransport, Failure> {
    let config = NatsConfig::from_url(servers)?
        .subject(format!("{stream}.{{type}}").parse()?)
        .call_timeout(Duration::from_secs(2));
    Ok(NatsTransport::open(config)?)
}

/// The consumer's end. Creates the stream and the consumer, if they are missing.
pub(crate) async fn orders(servers: &str, stream: &str) -> Result<PullConsumer, Failure> {
    let jetstream = jetstream::new(async_nats::connect(servers).await?);
    let config = Config {
        name: stream.to_owned(),
        subjects: vec![format!("{stream}.>")],
        duplicate_window: DUPLICATES,
        discard: DiscardPolicy::New,
        ..Config::default()
    };
    let stream = jetstream.get_or_create_stream(config).await?;
    let config = pull::Config {
        durable_name: Some("billing".to_owned()),
        ack_wait: ACKNOWLEDGED_WITHIN,
        ..pull::Config::default()
    };
    Ok(stream.get_or_create_consumer("billing", config).await?)
}
