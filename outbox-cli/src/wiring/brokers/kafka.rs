//! Kafka, in a build with the feature `kafka`.

use super::{Address, Broker};
use crate::failure::Failure;
use outbox_core::Transport;
use std::sync::Arc;

/// The path is the template of the topic.
pub(super) const KAFKA: Broker = Broker {
    kind: None,
    schemes: &["kafka", "kafkas"],
    ours: &[],
    template: None,
    places: &[],
    ours_behind: '?',
    theirs: &[&[
        "client.id",
        "compression.type",
        "linger.ms",
        "sasl.mechanism",
        "ssl.ca.location",
        "ssl.certificate.location",
        "ssl.key.location",
        "ssl.key.password",
    ]],
    open,
};

#[cfg(feature = "kafka")]
fn open(address: &Address) -> Result<Arc<dyn Transport>, Failure> {
    use outbox_transport_kafka::{KafkaConfig, KafkaTransport};
    let config = KafkaConfig::from_url(address.url())?
        .form(address.form()?)
        .call_timeout(address.timeout()?);
    Ok(Arc::new(KafkaTransport::open(config)?))
}

#[cfg(not(feature = "kafka"))]
fn open(_: &Address) -> Result<Arc<dyn Transport>, Failure> {
    let message = "destination is Kafka, which this build of outbox leaves out: build it with --features kafka, \
                   or kafka-tls for kafkas://";
    Err(Failure::Input(message.to_owned()))
}
