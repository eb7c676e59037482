//! The transport passes each group of the suite that NATS can do, on a real server. The events are
//! read back in the text protocol of NATS.

mod support;

use async_trait::async_trait;
use outbox_conformance::transport::{
    LimitedBroker, ManyDestinations, RemovableDestination, RestrictedBroker, RoutingBroker,
    StoppableBroker, ThrottlingBroker, TransportFixture, WireFixture,
};
use outbox_conformance::{TcpWire, Wire};
use outbox_core::wire::{Mode, WireForm};
use outbox_core::{Event, EventId, Transport};
use outbox_transport_nats::{NatsConfig, NatsTransport};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use support::{Raw, server};
use test_servers::{Kind, Server};

/// The names of the streams and the subjects of one case start with its id.
struct Fixture {
    url: String,
    case: String,
    template: String,
    form: WireForm,
    call_timeout: Duration,
    wire: OnceLock<TcpWire>,
    /// A server of this case alone.
    server: Option<Mutex<Server>>,
}

impl Fixture {
    fn new(mode: Mode) -> Self {
        let url = test_servers::url(Kind::Nats).unwrap_or_else(|error| panic!("{error}"));
        Self::on(&url, mode, None)
    }

    fn on(url: &str, mode: Mode, server: Option<Server>) -> Self {
        let case = format!("c{}", EventId::new());
        let fixture = Self {
            url: url.to_owned(),
            template: format!("{case}.{{type}}"),
            case,
            form: WireForm::new(mode),
            call_timeout: Duration::from_secs(10),
            wire: OnceLock::new(),
            server: server.map(Mutex::new),
        };
        for stream in ["conformance", "elsewhere"] {
            fixture.create(stream);
        }
        fixture
    }

    /// On a server that the case may kill.
    fn on_its_own_server() -> Self {
        let server = server("");
        let url = server.url().to_owned();
        Self::on(&url, Mode::Raw, Some(server))
    }

    /// On a server with a user who may not publish to `….forbidden.…`.
    fn restricted() -> Self {
        let server = server(
            "authorization { users: [
                { user: admin, password: admin }
                { user: relay, password: secret, permissions: {
                    publish: { allow: [\">\"], deny: [\"*.forbidden.>\"] } } }
            ] }
            no_auth_user: admin",
        );
        let url = server.url().to_owned();
        let mut fixture = Self::on(&url, Mode::Raw, Some(server));
        fixture.create("forbidden");
        fixture.url = url.replace("nats://", "nats://relay:secret@");
        fixture
    }

    /// All events have one subject.
    fn with_one_subject() -> Self {
        let mut fixture = Self::new(Mode::Raw);
        fixture.template = format!("{}.conformance.all", fixture.case);
        fixture
    }

    /// Calls have a short timeout.
    fn over_a_wire() -> Self {
        let mut fixture = Self::new(Mode::Raw);
        fixture.call_timeout = Duration::from_secs(4);
        fixture
    }

    fn create(&self, stream: &str) {
        let case = &self.case;
        Raw::connect(&self.url).create_stream(
            &format!("{case}-{stream}"),
            &format!("{case}.{stream}.>"),
            "",
        );
    }

    fn update(&self, more: &str) {
        let case = &self.case;
        Raw::connect(&self.url).update_stream(
            &format!("{case}-conformance"),
            &format!("{case}.conformance.>"),
            more,
        );
    }

    fn open(&self, url: &str) -> Arc<dyn Transport> {
        let config = NatsConfig::from_url(url).expect("a URL");
        let config = config
            .subject(self.template.parse().expect("a template"))
            .form(self.form.clone())
            .call_timeout(self.call_timeout);
        Arc::new(NatsTransport::open(config).expect("opened"))
    }

    /// The URL of the user who may do all.
    fn admin(&self) -> String {
        self.url.replace("relay:secret@", "")
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if self.server.is_none() && !std::thread::panicking() {
            let mut raw = Raw::connect(&self.url);
            for stream in ["conformance", "elsewhere"] {
                raw.delete_stream(&format!("{}-{stream}", self.case));
            }
        }
    }
}

#[async_trait]
impl TransportFixture for Fixture {
    async fn transport(&self) -> Arc<dyn Transport> {
        self.open(&self.url)
    }

    async fn received(&self) -> Vec<Event> {
        let mut raw = Raw::connect(&self.admin());
        let mut events = raw.events(&format!("{}-conformance", self.case));
        for stream in ["elsewhere", "forbidden"] {
            events.extend(raw.events(&format!("{}-{stream}", self.case)));
        }
        events
    }

    /// Making 22 MiB of JSON takes long in a program that is not optimised.
    fn answers_within(&self) -> Duration {
        Duration::from_secs(120)
    }
}

#[async_trait]
impl WireFixture for Fixture {
    async fn wired(&self) -> Arc<dyn Transport> {
        let (_, address) = self.url.rsplit_once('/').expect("an address");
        let wire = self
            .wire
            .get_or_init(|| TcpWire::to(address).expect("a wire"));
        self.open(&format!("nats://127.0.0.1:{}", wire.port()))
    }

    fn wire(&self) -> &dyn Wire {
        self.wire.get().expect("a wire")
    }
}

#[async_trait]
impl StoppableBroker for Fixture {
    async fn stop(&self) {
        let server = self.server.as_ref().expect("a server");
        server.lock().expect("a server").kill().expect("killed");
    }

    async fn start(&self) {
        let server = self.server.as_ref().expect("a server");
        server.lock().expect("a server").restart().expect("started");
    }
}

#[async_trait]
impl LimitedBroker for Fixture {
    async fn too_large(&self) -> Event {
        Event::new("conformance.limits", vec![0; (1 << 20) + 1])
    }
}

#[async_trait]
impl ThrottlingBroker for Fixture {
    async fn fill(&self, events: usize) {
        let stream = format!("{}-conformance", self.case);
        let limit = Raw::connect(&self.url).count(&stream) + events;
        self.update(&format!("\"discard\":\"new\",\"max_msgs\":{limit}"));
    }

    async fn make_room(&self) {
        self.update("\"discard\":\"new\",\"max_msgs\":-1");
    }
}

#[async_trait]
impl RemovableDestination for Fixture {
    async fn remove(&self, _event: &Event) {
        let stream = format!("{}-conformance", self.case);
        Raw::connect(&self.url).delete_stream(&stream);
    }

    async fn restore(&self, _event: &Event) {
        self.create("conformance");
    }
}

#[async_trait]
impl ManyDestinations for Fixture {
    async fn elsewhere(&self) -> Event {
        Event::new("elsewhere.conformance", "x")
    }
}

#[async_trait]
impl RoutingBroker for Fixture {
    async fn unroutable(&self) -> Event {
        Event::new("nowhere.conformance", "x")
    }
}

#[async_trait]
impl RestrictedBroker for Fixture {
    async fn forbidden(&self) -> Event {
        Event::new("forbidden.conformance", "x")
    }
}

outbox_conformance::transport_suite!(
    raw,
    Fixture::new(Mode::Raw),
    delivery,
    cancellation,
    limits,
    throttling,
    duplicates,
    missing,
    destinations,
    unroutable
);
outbox_conformance::transport_suite!(
    cloudevents_binary,
    Fixture::new(Mode::CloudEventsBinary),
    delivery,
    limits
);
outbox_conformance::transport_suite!(
    cloudevents_structured,
    Fixture::new(Mode::CloudEventsStructured),
    delivery,
    limits
);
outbox_conformance::transport_suite!(one_subject, Fixture::with_one_subject(), delivery, checks);
outbox_conformance::transport_suite!(wire, Fixture::over_a_wire(), wire);
outbox_conformance::transport_suite!(own_server, Fixture::on_its_own_server(), outage);
outbox_conformance::transport_suite!(restricted, Fixture::restricted(), rights);
