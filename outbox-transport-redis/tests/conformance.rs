//! The suite on real servers.

mod support;

use async_trait::async_trait;
use outbox_conformance::transport::{
    BlockingBroker, LimitedBroker, ManyDestinations, RemovableDestination, RestrictedBroker,
    StoppableBroker, ThrottlingBroker, TransportFixture, WireFixture,
};
use outbox_conformance::{TcpWire, Wire};
use outbox_core::wire::{Mode, WireForm};
use outbox_core::{Event, Transport};
use outbox_transport_redis::RedisTransportConfig;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{
    Redis, address, config, constant, events, new_name, open, send, shared, shared_cluster,
};

/// Short enough for cases that wait for it.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Longer than a large call takes on a loaded machine.
const LONG_TIMEOUT: Duration = Duration::from_secs(60);

/// A server with streams of their own. The name of a stream is `prefix:` and the type of the event, or
/// the prefix alone.
struct Broker {
    url: String,
    /// For transports, if it is not the same.
    login: Option<String>,
    own: Option<Mutex<Redis>>,
    prefix: String,
    has_types: bool,
    is_created: bool,
    mode: Mode,
    timeout: Duration,
    wire: TcpWire,
}

impl Broker {
    fn at(url: String) -> Self {
        Self {
            wire: TcpWire::to(address(&url)).expect("a free port"),
            url,
            login: None,
            own: None,
            prefix: new_name(),
            has_types: false,
            is_created: true,
            mode: Mode::Raw,
            timeout: LONG_TIMEOUT,
        }
    }

    fn shared(mode: Mode) -> Self {
        Self {
            mode,
            ..Self::at(shared())
        }
    }

    fn cluster() -> Self {
        Self::at(shared_cluster())
    }

    fn own(settings: &[&str]) -> Self {
        let redis = Redis::start(settings);
        let broker = Self::at(redis.url());
        Self {
            own: Some(Mutex::new(redis)),
            ..broker
        }
    }

    /// A server that will block.
    fn blocking() -> Self {
        Self {
            timeout: TIMEOUT,
            ..Self::own(&[])
        }
    }

    /// Streams are made by the test.
    fn prepared(types: &[&str]) -> Self {
        let broker = Self {
            has_types: !types.is_empty(),
            is_created: false,
            ..Self::at(shared())
        };
        if types.is_empty() {
            broker.make(&broker.prefix);
        }
        for name in types {
            broker.make(&broker.stream(name));
        }
        broker
    }

    /// A user with the rights that the README names, and no right to the streams of other types.
    fn restricted() -> Self {
        let broker = Self {
            has_types: true,
            ..Self::own(&[])
        };
        let keys = format!("~{}:conformance.*", broker.prefix);
        let rights = ["+multi", "+exec", "+xadd"];
        let user = ["ACL", "SETUSER", "relay", "on", ">secret", &keys];
        send::<()>(&broker.url, &[&user[..], &rights].concat());
        let login = broker.url.replace("redis://", "redis://relay:secret@");
        Self {
            login: Some(login),
            ..broker
        }
    }

    fn stream(&self, event_type: &str) -> String {
        if self.has_types {
            return format!("{}:{event_type}", self.prefix);
        }
        self.prefix.clone()
    }

    fn make(&self, stream: &str) {
        let words = ["XGROUP", "CREATE", stream, "readers", "0", "MKSTREAM"];
        send::<()>(&self.url, &words);
    }

    fn config(&self, url: &str) -> RedisTransportConfig {
        let template = if self.has_types {
            format!("{}:{{type}}", self.prefix)
        } else {
            self.prefix.clone()
        };
        config(url)
            .stream(constant(&template))
            .form(WireForm::new(self.mode))
            .create(self.is_created)
            .call_timeout(self.timeout)
    }

    fn own_server(&self) -> std::sync::MutexGuard<'_, Redis> {
        let own = self.own.as_ref().expect("its own server");
        own.lock().expect("no panic")
    }
}

#[async_trait]
impl TransportFixture for Broker {
    async fn transport(&self) -> Arc<dyn Transport> {
        let url = self.login.as_ref().unwrap_or(&self.url);
        Arc::new(open(self.config(url)))
    }

    async fn received(&self) -> Vec<Event> {
        if !self.has_types {
            return events(&self.url, &self.prefix);
        }
        let pattern = format!("{}:*", self.prefix);
        let streams: Vec<String> = send(&self.url, &["KEYS", &pattern]);
        let events = streams.iter().flat_map(|stream| events(&self.url, stream));
        events.collect()
    }

    fn answers_within(&self) -> Duration {
        2 * self.timeout
    }
}

#[async_trait]
impl WireFixture for Broker {
    async fn wired(&self) -> Arc<dyn Transport> {
        let url = format!("redis://127.0.0.1:{}/", self.wire.port());
        Arc::new(open(self.config(&url).call_timeout(TIMEOUT)))
    }

    fn wire(&self) -> &dyn Wire {
        &self.wire
    }
}

#[async_trait]
impl StoppableBroker for Broker {
    async fn stop(&self) {
        self.own_server().0.kill().expect("killed");
    }

    async fn start(&self) {
        self.own_server().0.restart().expect("started");
    }
}

#[async_trait]
impl BlockingBroker for Broker {
    async fn block(&self) {
        send::<()>(&self.url, &["CLIENT", "PAUSE", "600000", "WRITE"]);
    }

    async fn unblock(&self) {
        send::<()>(&self.url, &["CLIENT", "UNPAUSE"]);
    }
}

#[async_trait]
impl LimitedBroker for Broker {
    async fn too_large(&self) -> Event {
        Event::new("conformance.large", vec![b'x'; 2 << 20])
    }
}

#[async_trait]
impl ThrottlingBroker for Broker {
    async fn fill(&self, _: usize) {
        send::<()>(&self.url, &["CONFIG", "SET", "maxmemory", "1"]);
    }

    async fn make_room(&self) {
        send::<()>(&self.url, &["CONFIG", "SET", "maxmemory", "0"]);
    }
}

#[async_trait]
impl RemovableDestination for Broker {
    async fn remove(&self, event: &Event) {
        send::<()>(&self.url, &["DEL", &self.stream(&event.event_type)]);
    }

    async fn restore(&self, event: &Event) {
        self.make(&self.stream(&event.event_type));
    }
}

#[async_trait]
impl ManyDestinations for Broker {
    async fn elsewhere(&self) -> Event {
        Event::new("elsewhere", "x")
    }
}

#[async_trait]
impl RestrictedBroker for Broker {
    async fn forbidden(&self) -> Event {
        Event::new("forbidden", "x")
    }
}

const KEPT: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];
const SMALL: [&str; 2] = ["--proto-max-bulk-len", "1mb"];

outbox_conformance::transport_suite!(raw, Broker::shared(Mode::Raw), delivery, cancellation, wire);
outbox_conformance::transport_suite!(binary, Broker::shared(Mode::CloudEventsBinary), delivery);
outbox_conformance::transport_suite!(
    structured,
    Broker::shared(Mode::CloudEventsStructured),
    delivery
);
outbox_conformance::transport_suite!(cluster, Broker::cluster(), delivery, cancellation);
outbox_conformance::transport_suite!(kept, Broker::own(&KEPT), outage);
outbox_conformance::transport_suite!(blocked, Broker::blocking(), blocking);
outbox_conformance::transport_suite!(own, Broker::own(&[]), throttling);
outbox_conformance::transport_suite!(small, Broker::own(&SMALL), limits, order);
outbox_conformance::transport_suite!(prepared, Broker::prepared(&[]), missing, checks);
outbox_conformance::transport_suite!(
    types,
    Broker::prepared(&["conformance.missing", "elsewhere"]),
    destinations
);
outbox_conformance::transport_suite!(restricted, Broker::restricted(), rights);
