#![doc = include_str!("../README.md")]

mod check;
mod config;
mod error;
mod producer;
mod publish;
mod read;
mod record;
mod reports;
mod round;
mod url;

use async_trait::async_trait;
use outbox_core::{Event, OutboxError, PublishError, Transport, TransportCheck};
use producer::Current;
use publish::Call;
use std::borrow::Cow;
use std::sync::Arc;

pub use config::KafkaConfig;
pub use rdkafka;
pub use read::read;

/// Publishes events to Kafka. Clones share the producer and its connections.
///
/// It [keeps order](Transport::keeps_order). Each call answers within the
/// [call timeout](KafkaConfig::call_timeout).
///
/// # Cancel safety
///
/// If the future of a call is dropped, its events that are not yet sent are purged. Those that are sent may
/// have arrived, in their order. The next call gets a new producer.
#[derive(Clone, Debug)]
pub struct KafkaTransport(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: KafkaConfig,
    current: Current,
}

impl KafkaTransport {
    /// Checks the config. Connects to nothing, so that a relay can start while Kafka is away.
    ///
    /// ```
    /// # use outbox_transport_kafka::{KafkaConfig, KafkaTransport};
    /// let config = KafkaConfig::from_url("kafka://broker-1:9092/orders")?;
    /// let transport = KafkaTransport::open(config)?;
    /// # Ok::<(), outbox_core::OutboxError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`KafkaConfig::validate`].
    pub fn open(config: impl Into<KafkaConfig>) -> Result<Self, OutboxError> {
        let config = config.into();
        config.validate()?;
        let current = Current::default();
        Ok(Self(Arc::new(Shared { config, current })))
    }
}

#[async_trait]
impl Transport for KafkaTransport {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        let Shared { config, current } = &*self.0;
        Call::new(config, current, events).run().await
    }

    fn keeps_order(&self) -> bool {
        true
    }

    fn destination<'a>(&'a self, event: &'a Event) -> Option<Cow<'a, str>> {
        Some(self.0.config.topic.destination(event))
    }

    async fn check(&self) -> TransportCheck {
        check::check(&self.0.config, &self.0.current).await
    }
}
