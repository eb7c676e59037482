#![doc = include_str!("../README.md")]

mod attempt;
mod check;
mod config;
mod connections;
mod error;
mod link;
mod outgoing;
mod publish;
mod read;
mod socket;
mod url;

use async_trait::async_trait;
use connections::Connections;
use outbox_core::{Event, OutboxError, PublishError, Transport, TransportCheck};
use outgoing::Outgoing;
use publish::{Answer, Call};
use std::borrow::Cow;
use std::sync::Arc;
use tokio::time::Instant;

pub use config::{RabbitMqConfig, Unroutable};
pub use lapin;
pub use read::read;

/// A [`Transport`] to RabbitMQ. Clones share the connection.
///
/// Each call answers within the [call timeout](RabbitMqConfig::call_timeout).
#[derive(Clone, Debug)]
pub struct RabbitMqTransport(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: RabbitMqConfig,
    connections: Connections,
}

impl RabbitMqTransport {
    /// Opens the transport. Connects to nothing: the first call connects, and needs a Tokio runtime.
    ///
    /// ```no_run
    /// # use outbox_transport_rabbitmq::{RabbitMqConfig, RabbitMqTransport};
    /// let config = RabbitMqConfig::from_url("amqp://mq.example/shop")?;
    /// let transport = RabbitMqTransport::open(config.exchange("orders".parse()?))?;
    /// # Ok::<(), outbox_core::OutboxError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`RabbitMqConfig::validate`].
    pub fn open(config: impl Into<RabbitMqConfig>) -> Result<Self, OutboxError> {
        let config = config.into();
        config.validate()?;
        let connections = Connections::default();
        Ok(Self(Arc::new(Shared {
            config,
            connections,
        })))
    }
}

#[async_trait]
impl Transport for RabbitMqTransport {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        let Shared {
            config,
            connections,
        } = &*self.0;
        let until = Instant::now() + config.call_timeout;
        let written = events.iter().map(|event| Outgoing::new(config, event));
        let mut answers: Vec<Option<Answer>> = Vec::with_capacity(events.len());
        let mut messages = Vec::with_capacity(events.len());
        for outgoing in written {
            match outgoing {
                Ok(message) => {
                    messages.push(message);
                    answers.push(None);
                }
                Err(error) => answers.push(Some(Err(error))),
            }
        }
        if messages.is_empty() {
            return answers.into_iter().flatten().collect();
        }
        let call = Call {
            config,
            connections,
            answers: vec![None; messages.len()],
            messages: messages.into(),
            until,
        };
        let mut sent = call.run().await.into_iter();
        let answers = answers.into_iter();
        answers
            .filter_map(|answer| answer.or_else(|| sent.next()))
            .collect()
    }

    fn destination<'a>(&'a self, event: &'a Event) -> Option<Cow<'a, str>> {
        Some(outgoing::destination(&self.0.config, event))
    }
    async fn check(&self) -> TransportCheck {
        check::check(&self.0.config, &self.0.connections).await
    }
}
