//! The transport's suite, against a broker that the tests share and one of their own.

mod support;

use async_trait::async_trait;
use outbox_conformance::transport::{
    BlockingBroker, ClosingBroker, LimitedBroker, ManyDestinations, RemovableDestination,
    RestrictedBroker, RoutingBroker, StoppableBroker, ThrottlingBroker, TransportFixture,
    WireFixture,
};
use outbox_conformance::{TcpWire, Wire, transport_suite};
use outbox_core::wire::{Mode, WireForm};
use outbox_core::{Event, EventId, PublishErrorKind, Transport};
use outbox_transport_rabbitmq::{RabbitMqConfig, RabbitMqTransport};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use support::{Broker, Place, template};
use test_servers::{Kind, Server, search_path};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// How long a call takes at most.
const CALL: Duration = Duration::from_secs(20);

/// How long a call takes at most whose answer does not come.
const SHORT: Duration = Duration::from_secs(2);

/// What the broker of the tests takes.
const LARGEST: usize = 1 << 20;

/// Where events go.
#[derive(Clone, Copy, PartialEq)]
enum To {
    /// An exchange, with the type as routing key.
    Exchange,
    /// A queue, through the default exchange.
    Queue,
}

struct Fixture {
    place: Place,
    to: To,
    form: WireForm,
    wire: TcpWire,
    login: String,
    largest: Option<usize>,
}

impl Fixture {
    fn new(to: To, mode: Mode) -> Self {
        let broker = Broker::at(test_servers::url(Kind::RabbitMq).expect("a server"));
        Self::at(broker, to, mode, json!({}))
    }

    fn at(broker: Broker, to: To, mode: Mode, queue: Value) -> Self {
        let wire = TcpWire::to(("127.0.0.1", broker.port())).expect("a free port");
        let place = Place::with_queue(broker, queue);
        Self {
            place,
            to,
            form: WireForm::new(mode),
            wire,
            login: "guest:guest".to_owned(),
            largest: None,
        }
    }

    fn quorum() -> Self {
        let broker = Broker::at(test_servers::url(Kind::RabbitMq).expect("a server"));
        let queue = json!({"x-queue-type": "quorum"});
        Self::at(broker, To::Exchange, Mode::Raw, queue)
    }

    fn config(&self, port: u16) -> RabbitMqConfig {
        let url = Broker::as_user(&self.login, port);
        let config = self
            .place
            .config_at(&url)
            .form(self.form.clone())
            .call_timeout(CALL);
        let config = match self.largest {
            Some(largest) => config.max_message_size(largest),
            None => config,
        };
        match self.to {
            To::Exchange => config,
            To::Queue => config
                .default_exchange()
                .routing_key(template(&self.place.name)),
        }
    }
}

fn open(config: RabbitMqConfig) -> Arc<dyn Transport> {
    Arc::new(RabbitMqTransport::open(config).expect("a valid config"))
}

#[async_trait]
impl TransportFixture for Fixture {
    async fn transport(&self) -> Arc<dyn Transport> {
        open(self.config(self.place.broker.port()))
    }

    async fn received(&self) -> Vec<Event> {
        self.place.received()
    }
}

#[async_trait]
impl WireFixture for Fixture {
    async fn wired(&self) -> Arc<dyn Transport> {
        open(self.config(self.wire.port()).call_timeout(SHORT))
    }

    fn wire(&self) -> &dyn Wire {
        &self.wire
    }
}

#[async_trait]
impl ThrottlingBroker for Fixture {
    async fn fill(&self, events: usize) {
        let limit = json!({"x-max-length": events, "x-overflow": "reject-publish"});
        self.place.replace_queue(&limit);
    }

    async fn make_room(&self) {
        self.place.restore_queue();
    }
}

#[async_trait]
impl RemovableDestination for Fixture {
    async fn remove(&self, _event: &Event) {
        match self.to {
            To::Exchange => self.place.remove_exchange(),
            To::Queue => self.place.remove_queue(),
        }
    }

    async fn restore(&self, _event: &Event) {
        match self.to {
            To::Exchange => self.place.put_exchange(),
            To::Queue => self.place.restore_queue(),
        }
    }
}

#[async_trait]
impl RoutingBroker for Fixture {
    async fn unroutable(&self) -> Event {
        Event::new("nowhere.conformance", "x")
    }
}

/// Destinations that are bindings of one exchange.
struct Bindings(Fixture);

#[async_trait]
impl TransportFixture for Bindings {
    async fn transport(&self) -> Arc<dyn Transport> {
        self.0.transport().await
    }

    async fn received(&self) -> Vec<Event> {
        self.0.received().await
    }
}

#[async_trait]
impl RemovableDestination for Bindings {
    async fn remove(&self, _event: &Event) {
        self.0.place.unbind("conformance.#");
    }

    async fn restore(&self, _event: &Event) {
        self.0.place.bind(&self.0.place.name, "conformance.#");
    }
}

#[async_trait]
impl ManyDestinations for Bindings {
    async fn elsewhere(&self) -> Event {
        self.0.place.bind(&self.0.place.name, "elsewhere.#");
        Event::new("elsewhere.conformance", "x")
    }
}

#[async_trait]
impl RestrictedBroker for Bindings {
    async fn forbidden(&self) -> Event {
        Event::new("forbidden.conformance", "x")
    }
}

/// A user who may publish the types `conformance.…` only.
fn restricted() -> Bindings {
    let mut fixture = Fixture::new(To::Exchange, Mode::Raw);
    let (broker, user) = (&fixture.place.broker, format!("u-{}", EventId::new()));
    let name = &fixture.place.name;
    broker.put(
        &format!("/users/{user}"),
        &json!({"password": "secret", "tags": ""}),
    );
    let rights = json!({"configure": "", "write": format!("^{name}$"), "read": ""});
    broker.put(&format!("/permissions/%2f/{user}"), &rights);
    let rights = json!({"exchange": name, "write": "^conformance\\.", "read": ""});
    broker.put(&format!("/topic-permissions/%2f/{user}"), &rights);
    fixture.place.bind(name, "forbidden.#");
    fixture.login = format!("{user}:secret");
    Bindings(fixture)
}

static OWN: LazyLock<Arc<Mutex<Server>>> = LazyLock::new(|| {
    let config = format!("max_message_size = {LARGEST}");
    let server = Server::start_rabbitmq(&search_path(), &config);
    Arc::new(Mutex::new(server.expect("a server")))
});

/// A broker for one test at a time.
struct Own {
    fixture: Fixture,
    server: Mutex<OwnedMutexGuard<Server>>,
    is_blocked: AtomicBool,
}

impl Own {
    async fn new(queue: Value) -> Self {
        let server = Arc::clone(&OWN).lock_owned().await;
        let broker = Broker::at(server.url());
        Self {
            fixture: Fixture::at(broker, To::Exchange, Mode::Raw, queue),
            server: Mutex::new(server),
            is_blocked: AtomicBool::new(false),
        }
    }

    /// Its transport knows what the broker takes.
    async fn limited() -> Self {
        let mut own = Self::new(json!({})).await;
        own.fixture.largest = Some(LARGEST);
        own
    }

    async fn watermark(&self, share: &str) {
        self.is_blocked.store(share == "0", SeqCst);
        let set = ["set_vm_memory_high_watermark", share];
        self.server.lock().await.rabbitmqctl(&set).expect("set");
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if *self.is_blocked.get_mut() {
            let set = ["set_vm_memory_high_watermark", "0.4"];
            let _ = self.server.get_mut().rabbitmqctl(&set);
        }
    }
}

#[async_trait]
impl TransportFixture for Own {
    async fn transport(&self) -> Arc<dyn Transport> {
        self.fixture.transport().await
    }

    async fn received(&self) -> Vec<Event> {
        self.fixture.received().await
    }
}

#[async_trait]
impl StoppableBroker for Own {
    async fn stop(&self) {
        self.server.lock().await.kill().expect("killed");
    }

    async fn start(&self) {
        self.server.lock().await.restart().expect("started");
        // A binding that is seconds old may be gone after SIGKILL.
        self.fixture.place.put_exchange();
    }
}

#[async_trait]
impl BlockingBroker for Own {
    async fn block(&self) {
        self.watermark("0").await;
    }

    async fn unblock(&self) {
        self.watermark("0.4").await;
    }
}

#[async_trait]
impl LimitedBroker for Own {
    async fn too_large(&self) -> Event {
        Event::new("conformance.limits", vec![b'x'; LARGEST + 1])
    }
}

#[async_trait]
impl ClosingBroker for Own {
    async fn closing(&self) -> (Event, PublishErrorKind) {
        (self.too_large().await, PublishErrorKind::Permanent)
    }
}

transport_suite!(
    rabbitmq,
    Fixture::new(To::Exchange, Mode::Raw),
    delivery,
    cancellation,
    wire,
    throttling,
    missing,
    unroutable
);
transport_suite!(
    rabbitmq_queue,
    Fixture::new(To::Queue, Mode::CloudEventsBinary),
    delivery,
    missing,
    checks
);
transport_suite!(
    rabbitmq_structured,
    Fixture::new(To::Exchange, Mode::CloudEventsStructured),
    delivery
);
transport_suite!(
    rabbitmq_quorum,
    Fixture::quorum(),
    delivery,
    throttling,
    unroutable
);
transport_suite!(
    rabbitmq_bindings,
    Bindings(Fixture::new(To::Exchange, Mode::Raw)),
    missing,
    destinations
);
transport_suite!(rabbitmq_restricted, restricted(), rights);
transport_suite!(
    rabbitmq_own,
    Own::new(json!({})).await,
    outage,
    blocking,
    closing
);
transport_suite!(rabbitmq_limited, Own::limited().await, limits);
