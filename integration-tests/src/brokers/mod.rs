//! Brokers that tests kill, and what has arrived there.

mod http;
mod nats;
mod postgres;
mod rabbitmq;
mod redis;

pub use http::Endpoint;
pub use nats::Nats;
pub use postgres::Arrived;
pub use rabbitmq::RabbitMq;
pub use redis::Stream;

use async_trait::async_trait;
use outbox_core::{Event, Transport};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use test_servers::Server;

/// How long a call of a transport may take.
const CALL: Duration = Duration::from_secs(2);

/// The variable for how many events a long run has. In such a run each broker is killed three times, and an
/// outage takes a week.
pub const LONG_RUN: &str = "OUTBOX_TEST_BROKER_EVENTS";

/// More bytes than a broker here accepts in an event.
pub const TOO_LARGE: usize = 2 << 20;

/// A program that tests kill.
pub trait Process: Send {
    /// Where it is.
    fn url(&self) -> &str;

    /// Kills it, as with `kill -9`.
    ///
    /// # Errors
    ///
    /// If it cannot be killed.
    fn kill(&mut self) -> Result<(), Box<dyn Error + Send + Sync>>;

    /// Starts it again with its data.
    ///
    /// # Errors
    ///
    /// If it does not start.
    fn restart(&mut self) -> Result<(), Box<dyn Error + Send + Sync>>;

    /// Kills it and starts it again.
    ///
    /// # Errors
    ///
    /// Those of both.
    fn crash(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.kill()?;
        self.restart()
    }
}

impl Process for Server {
    fn url(&self) -> &str {
        Self::url(self)
    }

    fn kill(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(Self::kill(self)?)
    }

    fn restart(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(Self::restart(self)?)
    }

    fn crash(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(Self::crash(self)?)
    }
}

/// A broker of the test's own, without a destination.
#[async_trait]
pub trait Broker: Send + Sized + 'static {
    /// A part of the broker's own words for an event that is too large.
    const REFUSAL: &'static str;

    /// Starts it.
    async fn start() -> Self;

    /// Creates the destination.
    async fn create(&self);

    /// A transport to it. A call takes at most 2 seconds.
    fn transport(&self) -> Arc<dyn Transport>;

    /// The program, which can be killed and started again with its data.
    fn server(&mut self) -> &mut dyn Process;

    /// What has arrived so far, in order.
    async fn received(&self) -> Vec<Event>;
}
