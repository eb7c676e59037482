//! The suite on two clusters that share no code.

mod support;

use async_trait::async_trait;
use outbox_conformance::transport::{
    LimitedBroker, ManyDestinations, RemovableDestination, RestrictedBroker, StoppableBroker,
    TransportFixture, WireFixture,
};
use outbox_conformance::{TcpWire, Wire};
use outbox_core::wire::{Mode, WireForm};
use outbox_core::{Event, Transport};
use outbox_transport_kafka::KafkaConfig;
use outbox_transport_kafka::rdkafka::types::RDKafkaRespErr as Code;
use std::sync::Arc;
use std::time::Duration;
use support::{Cluster, Fake, Mock, TOPIC, open, template};

/// Short enough for cases that wait for it.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Longer than a large call takes on a loaded machine.
const LONG_TIMEOUT: Duration = Duration::from_secs(60);

/// A cluster, and how transports to it are made.
struct Broker<C> {
    cluster: C,
    mode: Mode,
    timeout: Duration,
    /// The topics if they are named after the types.
    topics: Vec<&'static str>,
}

impl<C: Cluster> Broker<C> {
    fn new(cluster: C, mode: Mode) -> Self {
        Self {
            cluster,
            mode,
            timeout: LONG_TIMEOUT,
            topics: Vec::new(),
        }
    }

    /// A cluster that will not answer.
    fn silent(cluster: C) -> Self {
        Self {
            timeout: TIMEOUT,
            ..Self::new(cluster, Mode::Raw)
        }
    }

    /// With a topic for each type.
    fn typed(cluster: C, topics: &[&'static str]) -> Self {
        for topic in topics {
            cluster.create(topic, 1);
        }
        Self {
            topics: topics.to_vec(),
            ..Self::new(cluster, Mode::Raw)
        }
    }

    fn config(&self) -> KafkaConfig {
        let topic = if self.topics.is_empty() {
            TOPIC
        } else {
            "{type}"
        };
        self.cluster
            .config()
            .topic(template(topic))
            .form(WireForm::new(self.mode))
            // The mock cluster keeps only 5 MiB of a partition.
            .property("compression.type", "lz4")
            .call_timeout(self.timeout)
    }

    fn topic<'e>(&self, event: &'e Event) -> &'e str {
        if self.topics.is_empty() {
            return TOPIC;
        }
        &event.event_type
    }
}

#[async_trait]
impl<C: Cluster> TransportFixture for Broker<C> {
    async fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(open(self.config()))
    }

    async fn received(&self) -> Vec<Event> {
        if self.topics.is_empty() {
            return self.cluster.events(TOPIC).await;
        }
        let mut events = Vec::new();
        for topic in &self.topics {
            events.extend(self.cluster.events(topic).await);
        }
        events
    }

    fn answers_within(&self) -> Duration {
        2 * self.timeout
    }
}

#[async_trait]
impl<C: Cluster> LimitedBroker for Broker<C> {
    async fn too_large(&self) -> Event {
        Event::new("conformance.large", vec![b'x'; 2 << 20])
    }
}

#[async_trait]
impl StoppableBroker for Broker<Fake> {
    async fn stop(&self) {
        self.cluster.0.crash(0);
    }

    async fn start(&self) {
        self.cluster.0.restart(0);
    }
}

#[async_trait]
impl StoppableBroker for Broker<Mock> {
    async fn stop(&self) {
        let down = self.cluster.run(|cluster| cluster.broker_down(-1));
        down.expect("down");
    }

    async fn start(&self) {
        let up = self.cluster.run(|cluster| cluster.broker_up(-1));
        up.expect("up");
    }
}

#[async_trait]
impl RemovableDestination for Broker<Fake> {
    async fn remove(&self, event: &Event) {
        assert!(self.cluster.0.delete_topic(self.topic(event)), "removed");
    }

    async fn restore(&self, event: &Event) {
        self.cluster.create(self.topic(event), 2);
    }
}

#[async_trait]
impl ManyDestinations for Broker<Fake> {
    async fn elsewhere(&self) -> Event {
        Event::new("elsewhere", "x")
    }
}

#[async_trait]
impl RestrictedBroker for Broker<Mock> {
    async fn forbidden(&self) -> Event {
        let forbid = |cluster: &support::Mocked| {
            let error = Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
            cluster.topic_error("forbidden", error)
        };
        self.cluster.run(forbid).expect("forbidden");
        // A consumer may not read it either, so nothing looks whether the event arrived.
        Event::new("forbidden", "x")
    }
}

/// A broker that says that it is at the port of the wire.
struct Wired {
    broker: Broker<Fake>,
    wire: TcpWire,
}

impl Wired {
    async fn start() -> Self {
        let cluster = Fake::start(1).await;
        let address = cluster.0.broker_addr(0).expect("an address");
        let wire = TcpWire::to(address).expect("a free port");
        let port = i32::from(wire.port());
        cluster.0.with_state(|state| state.brokers[0].port = port);
        let broker = Broker::silent(cluster);
        Self { broker, wire }
    }
}

#[async_trait]
impl TransportFixture for Wired {
    async fn transport(&self) -> Arc<dyn Transport> {
        self.broker.transport().await
    }

    async fn received(&self) -> Vec<Event> {
        self.broker.received().await
    }

    fn answers_within(&self) -> Duration {
        self.broker.answers_within()
    }
}

#[async_trait]
impl WireFixture for Wired {
    async fn wired(&self) -> Arc<dyn Transport> {
        let servers = format!("127.0.0.1:{}", self.wire.port());
        Arc::new(open(KafkaConfig::new(servers).call_timeout(TIMEOUT)))
    }

    fn wire(&self) -> &dyn Wire {
        &self.wire
    }
}

const TYPES: [&str; 2] = ["conformance.missing", "elsewhere"];

outbox_conformance::transport_suite!(
    fake,
    Broker::new(Fake::start(1).await, Mode::Raw),
    delivery,
    cancellation,
    limits,
    order,
    missing,
    checks
);
outbox_conformance::transport_suite!(
    fake_binary,
    Broker::new(Fake::start(1).await, Mode::CloudEventsBinary),
    delivery
);
outbox_conformance::transport_suite!(
    fake_partitions,
    Broker::new(Fake::start_cluster(3, 12).await, Mode::Raw),
    cancellation,
    order
);
outbox_conformance::transport_suite!(fake_silent, Broker::silent(Fake::start(1).await), outage);
outbox_conformance::transport_suite!(
    fake_types,
    Broker::typed(Fake::start(1).await, &TYPES),
    destinations
);
outbox_conformance::transport_suite!(fake_wired, Wired::start().await, wire);
outbox_conformance::transport_suite!(
    mock,
    Broker::new(Mock::start(1, 1), Mode::Raw),
    delivery,
    cancellation,
    limits,
    order
);
outbox_conformance::transport_suite!(
    mock_structured,
    Broker::new(Mock::start(1, 1), Mode::CloudEventsStructured),
    delivery
);
outbox_conformance::transport_suite!(
    mock_partitions,
    Broker::new(Mock::start(3, 12), Mode::Raw),
    cancellation,
    order
);
outbox_conformance::transport_suite!(mock_silent, Broker::silent(Mock::start(1, 1)), outage);
outbox_conformance::transport_suite!(
    mock_types,
    Broker::typed(Mock::start(1, 1), &["conformance.others"]),
    rights
);
