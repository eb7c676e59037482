//! The brokers that events can be published to.

mod address;

use super::outlet::Outlet;
use super::role::has_scheme;
use crate::failure::Failure;
use address::Address;
use outbox_core::Transport;
use std::sync::Arc;
use std::time::Duration;

/// A kind of broker. A new one is a file with its own, and a row in [`BROKERS`].
struct Broker {
    schemes: &'static [&'static str],
    /// The parameters that are ours.
    ours: &'static [&'static str],
    /// The parameters that its driver knows.
    theirs: &'static [&'static str],
    /// Makes the transport. Connects to nothing.
    open: fn(&Address) -> Result<Arc<dyn Transport>, Failure>,
}

const BROKERS: &[Broker] = &[];

/// The transport to the broker of a URL, by its scheme; None if no broker has it.
pub(super) fn open(url: &str, publish_timeout: Duration) -> Option<Result<Outlet, Failure>> {
    let mut brokers = BROKERS.iter();
    let broker = brokers.find(|broker| has_scheme(url, broker.schemes))?;
    Some(broker.outlet(url, publish_timeout))
}

impl Broker {
    fn outlet(&self, url: &str, publish_timeout: Duration) -> Result<Outlet, Failure> {
        let address = Address::parse(url, self.ours, self.theirs, publish_timeout)?;
        let transport = (self.open)(&address)?;
        Ok(Outlet::broker(transport, address.shown().to_owned()))
    }
}
