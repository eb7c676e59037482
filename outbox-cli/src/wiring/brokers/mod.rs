//! The brokers that events can be published to.

mod address;
mod http;
mod kafka;
mod nats;
mod postgres;
mod rabbitmq;
mod redis;
mod webhooks;

use super::outlet::{Outlet, of_lines};
use super::pools::Pools;
use super::postgres::Database;
use super::role::{DESTINATION, has_scheme};
use crate::failure::Failure;
use address::{Address, FORM};
use outbox_core::Transport;
use std::sync::Arc;
use std::time::Duration;
use url::form_urlencoded;
use webhooks::SCHEMES as WEBHOOKS;

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
    /// None: its events cannot be read back, so it is none for the demo.
    kind: Option<BrokerKind>,
    schemes: &'static [&'static str],
    /// The parameters that are ours.
    ours: &'static [&'static str],
    /// The parameter that is the template of where an event goes, if its URL has no other place for it.
    template: Option<&'static str>,
    /// The parameters that say where in the broker an event goes. None of them is a secret.
    places: &'static [&'static str],
    /// What is before our parameters: a question mark, or '#' where the query is not ours.
    ours_behind: char,
    /// The parameters that its driver knows.
    theirs: &'static [&'static [&'static str]],
    /// Makes the transport. Connects to nothing.
    open: fn(&Address) -> Result<Arc<dyn Transport>, Failure>,
}

static BROKERS: [Broker; 8] = [
    kafka::KAFKA,
    nats::NATS,
    rabbitmq::RABBITMQ,
    redis::REDIS_SOCKET,
    redis::REDIS,
    postgres::POSTGRES,
    http::HTTP,
    webhooks::WEBHOOKS,
];

/// The transport to the broker of a URL, by its scheme; None if no broker has it.
pub(super) fn open(
    url: &str,
    publish_timeout: Duration,
    store: Option<(&str, &Pools)>,
) -> Option<Result<Outlet, Failure>> {
    let broker = named(url)?;
    Some(broker.outlet(url, publish_timeout, store))
}

/// The kind of the broker of a URL, and the URL for its driver.
pub(crate) fn broker(url: &str) -> Result<(BrokerKind, String), Failure> {
    let kind = named(url).and_then(|broker| Some((broker, broker.kind?)));
    let (broker, kind) = kind.ok_or_else(|| {
        DESTINATION.refused(format_args!("is not a broker from which the demo can read"))
    })?;
    let address = broker.address(url, Duration::MAX)?;
    Ok((kind, address.url().to_owned()))
}

/// The URL with a template and a form as its parameters.
pub(crate) fn with_parameters(
    url: &str,
    template: Option<&str>,
    form: Option<&str>,
) -> Result<String, Failure> {
    let broker = named(url);
    let mut url = url.to_owned();
    let names = [
        (
            "template",
            template,
            broker.and_then(|broker| broker.template),
        ),
        ("form", form, broker.map(|_| FORM)),
    ];
    for (key, value, name) in names {
        let Some(value) = value else { continue };
        let (Some(name), Some(broker)) = (name, broker) else {
            let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
            return Err(Failure::Input(format!(
                "{key} is {value:?}, but a {scheme}: destination has no such parameter"
            )));
        };
        let behind = if url.contains(broker.ours_behind) {
            '&'
        } else {
            broker.ours_behind
        };
        let value: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
        url = format!("{url}{behind}{name}={value}");
    }
    Ok(url)
}

/// The URL of a destination without its login.
pub(crate) fn shown_destination(url: &str) -> Result<String, Failure> {
    if of_lines(url).is_some() {
        return Ok(url.to_owned());
    }
    let broker = named(url).ok_or_else(|| DESTINATION.unknown(url))?;
    let address = broker.address(url, Duration::MAX)?;
    Ok(address.shown_with_ours(broker.ours_behind))
}

/// The database of a destination in PostgreSQL.
pub(super) fn database(url: &str) -> Option<Database> {
    let broker = named(url).filter(|_| Database::is_url(url))?;
    let address = broker.address(url, Duration::MAX).ok()?;
    Database::parse(DESTINATION, address.url()).ok()
}

/// Whether a destination reads HTTP endpoints from PostgreSQL, which is that of the store by default.
pub(super) fn reads_endpoints(url: &str, store_is_postgres: bool) -> bool {
    let broker = named(url).filter(|broker| broker.schemes == WEBHOOKS);
    let address = broker.and_then(|broker| broker.address(url, Duration::MAX).ok());
    address.is_some_and(|address| store_is_postgres || address.value("database").is_some())
}

fn named(url: &str) -> Option<&'static Broker> {
    let mut brokers = BROKERS.iter();
    brokers.find(|broker| has_scheme(url, broker.schemes))
}

impl Broker {
    fn address(&self, url: &str, publish_timeout: Duration) -> Result<Address, Failure> {
        if self.ours_behind == '#' {
            return Address::with_fragment(url, self.ours, publish_timeout);
        }
        Address::parse(url, self.ours, self.theirs, publish_timeout)
    }

    fn outlet(
        &self,
        url: &str,
        publish_timeout: Duration,
        store: Option<(&str, &Pools)>,
    ) -> Result<Outlet, Failure> {
        let address = self.address(url, publish_timeout)?.with_store(store);
        let transport = (self.open)(&address)?;
        let place = address.place(self.ours_behind, self.places);
        Ok(Outlet::broker(transport, address.shown().to_owned(), place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_its_template_and_no_login_or_secret() {
        let places = [
            (
                "NATS://me:hush@n:1,o/?form=raw&subject=a.%7Btype%7D&timeout=1s",
                "nats://n:1,o/?subject=a.{type}",
            ),
            ("nats://hush@n", "nats://n"),
            // A login for each server of a list.
            ("nats://me:hush@n:1,you:hush@o:2", "nats://o:2"),
            (
                "amqp://me:hush@r/v?routing_key=k&exchange=e&heartbeat=9",
                "amqp://r/v?exchange=e&routing_key=k",
            ),
            (
                "redis://:hush@r/2?stream=s&maxlen=9",
                "redis://r/2?stream=s",
            ),
            (
                "redis+unix:///r.sock?pass=hush&db=2&stream=s",
                "redis+unix:///r.sock?stream=s",
            ),
            (
                "kafka://me:hush@k:1/a.{type}?linger.ms=5",
                "kafka://k:1/a.{type}",
            ),
            (
                "postgres://me:hush@p/d?password=hush&schema=s&host=%2Frun",
                "postgres://p/d?host=/run&schema=s",
            ),
            (
                "https://me:hush@h/{type}?token=hush#secret=env:HUSH&form=raw",
                "https://h/{type}",
            ),
            (
                "webhooks:{key}#query=SELECT 1&refresh=1min&database=env:D",
                "webhooks:{key}#query=SELECT 1&database=env:D",
            ),
        ];
        for (url, place) in places {
            let broker = named(url).unwrap();
            let address = broker.address(url, Duration::from_secs(10)).unwrap();
            assert_eq!(address.place(broker.ours_behind, broker.places), place);
        }
    }
}
