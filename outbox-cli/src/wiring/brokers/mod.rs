//! The brokers that events can be published to.

mod address;
mod nats;
mod postgres;
mod rabbitmq;
mod redis;

use super::outlet::Outlet;
use super::role::{DESTINATION, has_scheme};
use crate::failure::Failure;
use address::Address;
use outbox_core::Transport;
use std::sync::Arc;
use std::time::Duration;

/// What a broker is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BrokerKind {
    Nats,
    RabbitMq,
    Redis,
    Postgres,
}

/// How events are published to a kind of broker. A new one is a file with its own, and a row in [`BROKERS`].
struct Broker {
    kind: BrokerKind,
    schemes: &'static [&'static str],
    /// The parameters that are ours.
    ours: &'static [&'static str],
    /// The parameters that its driver knows.
    theirs: &'static [&'static [&'static str]],
    /// Makes the transport. Connects to nothing.
    open: fn(&Address) -> Result<Arc<dyn Transport>, Failure>,
}

static BROKERS: [Broker; 5] = [
    nats::NATS,
    rabbitmq::RABBITMQ,
    redis::REDIS_SOCKET,
    redis::REDIS,
    postgres::POSTGRES,
];

/// The transport to the broker of a URL, by its scheme; None if no broker has it.
pub(super) fn open(url: &str, publish_timeout: Duration) -> Option<Result<Outlet, Failure>> {
    let broker = named(url)?;
    Some(broker.outlet(url, publish_timeout))
}

/// The kind of the broker of a URL, and the URL for its driver.
pub(crate) fn broker(url: &str) -> Result<(BrokerKind, String), Failure> {
    let broker = named(url).ok_or_else(|| {
        DESTINATION.refused(format_args!("is not a broker, which the demo needs"))
    })?;
    let address = Address::parse(url, broker.ours, broker.theirs, Duration::MAX)?;
    Ok((broker.kind, address.url().to_owned()))
}

fn named(url: &str) -> Option<&'static Broker> {
    let mut brokers = BROKERS.iter();
    brokers.find(|broker| has_scheme(url, broker.schemes))
}

impl Broker {
    fn outlet(&self, url: &str, publish_timeout: Duration) -> Result<Outlet, Failure> {
        let address = Address::parse(url, self.ours, self.theirs, publish_timeout)?;
        let transport = (self.open)(&address)?;
        Ok(Outlet::broker(transport, address.shown().to_owned()))
    }
}
