//! A broker that the demo publishes to, and what arrives there.

mod nats;
mod postgres;
mod rabbitmq;
mod redis;

use crate::failure::Failure;
use crate::wiring::{self, BrokerKind};
use async_trait::async_trait;
use outbox_core::Event;
use std::time::Duration;
use tokio::time::timeout;

/// The name of what the demo creates at a broker, unless it is a schema.
const NAME: &str = "outbox_demo";

/// How long a broker may take to connect, or to hand over the next event.
const PATIENCE: Duration = Duration::from_secs(10);

/// A place at a broker that the demo has created afresh.
#[async_trait]
pub(super) trait Remote: Send {
    /// The place, as a person names it.
    fn name(&self) -> String;

    /// The parameters that make the transport publish to it.
    fn parameters(&self) -> &'static str;

    /// All events that have arrived, in their order.
    async fn read(&mut self) -> Result<Vec<Event>, Failure>;
}

/// Creates the place at the broker of a URL; removes the one of an earlier run, and nothing else.
pub(super) async fn afresh(url: &str) -> Result<Box<dyn Remote>, Failure> {
    timeout(PATIENCE, created(url))
        .await
        .unwrap_or_else(|_| Err(failed(format!("no answer within {PATIENCE:?}"))))
}

async fn created(url: &str) -> Result<Box<dyn Remote>, Failure> {
    let (kind, driver) = wiring::broker(url)?;
    Ok(match kind {
        BrokerKind::Nats => Box::new(nats::Place::afresh(&driver).await?),
        BrokerKind::RabbitMq => Box::new(rabbitmq::Place::afresh(&driver).await?),
        BrokerKind::Redis => Box::new(redis::Place::afresh(&driver).await?),
        BrokerKind::Postgres => Box::new(postgres::Place::afresh(url).await?),
    })
}

/// What a driver says of the demo's place.
fn failed(why: impl std::fmt::Display) -> Failure {
    Failure::Failed(format!("the demo's destination: {why}"))
}

/// What has the demo's name, but is not the demo's.
fn foreign(what: &str) -> Failure {
    Failure::Input(format!(
        "cannot use the {what} {NAME:?}: it is not of this demo"
    ))
}
