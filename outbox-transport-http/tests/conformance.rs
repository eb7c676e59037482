//! The transport passes each group of the suite that an HTTP server can do. The server keeps each event that
//! it accepts once, by its `webhook-id`, after it has checked the signature as a consumer does.

mod support;

use async_trait::async_trait;
use outbox_conformance::transport::{
    LimitedBroker, ManyDestinations, RemovableDestination, RestrictedBroker, StoppableBroker,
    ThrottlingBroker, TransportFixture, WireFixture,
};
use outbox_conformance::{TcpWire, Wire};
use outbox_core::wire::{Mode, WireForm};
use outbox_core::{Event, Transport};
use outbox_transport_http::{Batch, Secret, read_batch};
use standardwebhooks::Webhook;
use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use support::{Reply, Request, Server, config, open};
use tokio::sync::Mutex as AsyncMutex;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A larger payload is refused.
const LARGEST: usize = 20 << 20;

/// What the server has, and how it answers.
#[derive(Default)]
struct Kept {
    events: Vec<Event>,
    seen: HashSet<String>,
    is_removed: bool,
    room: Option<usize>,
}

impl Kept {
    fn answer(&mut self, request: &Request) -> Reply {
        let removed = self.is_removed && request.path.contains("conformance.");
        if removed && !request.path.contains("elsewhere") {
            return Reply::status("404 Not Found");
        }
        if request.method == "OPTIONS" {
            return Reply::status("204 No Content");
        }
        if request.path.contains("forbidden") {
            return Reply::status("403 Forbidden");
        }
        if request.body.len() > LARGEST {
            return Reply::status("413 Content Too Large");
        }
        let webhook = Webhook::new(SECRET).expect("a secret");
        // This library takes no bodies but text.
        let is_text = std::str::from_utf8(&request.body).is_ok();
        if is_text && webhook.verify(&request.body, &request.headers).is_err() {
            return Reply::status("401 Unauthorized");
        }
        self.keep(request)
    }

    fn keep(&mut self, request: &Request) -> Reply {
        let id = request.headers["webhook-id"].to_str().expect("a text");
        let events = read_batch(&request.headers, request.body.clone()).expect("events");
        if self.seen.contains(id) {
            return Reply::status("208 Already Reported");
        }
        if self.room.is_some_and(|room| room < events.len()) {
            return Reply::with("429 Too Many Requests", "retry-after: 1\r\n");
        }
        self.seen.insert(id.to_owned());
        self.room = self.room.map(|room| room - events.len());
        self.events.extend(events);
        Reply::status("202 Accepted")
    }
}

struct Fixture {
    kept: Arc<Mutex<Kept>>,
    server: AsyncMutex<Option<Server>>,
    port: OnceLock<u16>,
    template: &'static str,
    form: Mode,
    batch: Option<Batch>,
    call_timeout: Duration,
    wire: OnceLock<TcpWire>,
}

impl Fixture {
    fn new(form: Mode) -> Self {
        Self {
            kept: Arc::default(),
            server: AsyncMutex::default(),
            port: OnceLock::new(),
            template: "/hooks/{type}",
            form,
            batch: None,
            call_timeout: Duration::from_secs(20),
            wire: OnceLock::new(),
        }
    }

    fn with_batches(batch: fn(NonZeroUsize) -> Batch) -> Self {
        Self {
            batch: NonZeroUsize::new(7).map(batch),
            ..Self::new(Mode::CloudEventsStructured)
        }
    }

    /// All events have one URL.
    fn with_one_url() -> Self {
        Self {
            template: "/hooks/conformance.all?token=secret",
            ..Self::new(Mode::Raw)
        }
    }

    fn over_a_wire() -> Self {
        Self {
            call_timeout: Duration::from_secs(1),
            ..Self::new(Mode::Raw)
        }
    }

    /// Starts the server, at its port if it had one.
    async fn port(&self) -> u16 {
        let mut server = self.server.lock().await;
        if server.is_none() {
            let port = self.port.get().copied().unwrap_or_default();
            let kept = Arc::clone(&self.kept);
            let answer = move |request| kept.lock().expect("no panic").answer(&request);
            let started = Server::at(&format!("127.0.0.1:{port}"), answer).await;
            self.port.get_or_init(|| started.port());
            *server = Some(started);
        }
        *self.port.get().expect("a port")
    }

    fn open(&self, port: u16) -> Arc<dyn Transport> {
        let mut config = config(&format!("http://127.0.0.1:{port}{}", self.template))
            .secret(SECRET.parse::<Secret>().expect("a secret"))
            .form(WireForm::new(self.form))
            .call_timeout(self.call_timeout);
        if let Some(batch) = self.batch {
            config = config.batch(batch);
        }
        Arc::new(open(config))
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().expect("no panic")
    }
}

#[async_trait]
impl TransportFixture for Fixture {
    async fn transport(&self) -> Arc<dyn Transport> {
        self.open(self.port().await)
    }

    async fn received(&self) -> Vec<Event> {
        self.kept().events.clone()
    }
}

#[async_trait]
impl WireFixture for Fixture {
    async fn wired(&self) -> Arc<dyn Transport> {
        let port = self.port().await;
        let wire = TcpWire::to(("127.0.0.1", port)).expect("a wire");
        let wire = self.wire.get_or_init(|| wire);
        self.open(wire.port())
    }

    fn wire(&self) -> &dyn Wire {
        self.wire.get().expect("a wire")
    }
}

#[async_trait]
impl StoppableBroker for Fixture {
    async fn stop(&self) {
        if let Some(server) = self.server.lock().await.take() {
            server.stop().await;
        }
    }

    async fn start(&self) {
        self.port().await;
    }
}

#[async_trait]
impl LimitedBroker for Fixture {
    async fn too_large(&self) -> Event {
        Event::new("conformance.limits", vec![0; LARGEST + 1])
    }
}

#[async_trait]
impl ThrottlingBroker for Fixture {
    async fn fill(&self, events: usize) {
        self.kept().room = Some(events);
    }

    async fn make_room(&self) {
        self.kept().room = None;
    }
}

#[async_trait]
impl RemovableDestination for Fixture {
    async fn remove(&self, _event: &Event) {
        self.kept().is_removed = true;
    }

    async fn restore(&self, _event: &Event) {
        self.kept().is_removed = false;
    }
}

#[async_trait]
impl ManyDestinations for Fixture {
    async fn elsewhere(&self) -> Event {
        Event::new("elsewhere.conformance", "x")
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
    outage,
    limits,
    throttling,
    duplicates,
    missing,
    destinations,
    rights
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
outbox_conformance::transport_suite!(
    cloudevents_batch,
    Fixture::with_batches(Batch::CloudEvents),
    delivery,
    cancellation,
    limits,
    throttling,
    missing
);
outbox_conformance::transport_suite!(
    ndjson,
    Fixture::with_batches(Batch::Ndjson),
    delivery,
    limits
);
outbox_conformance::transport_suite!(one_url, Fixture::with_one_url(), delivery, checks);
outbox_conformance::transport_suite!(wire, Fixture::over_a_wire(), wire);
