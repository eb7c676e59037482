//! Clusters in this process, and what is in their topics: the mock cluster of librdkafka, and the fake broker
//! of krafka, which shares no code with it.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

use async_trait::async_trait;
use krafka::testing::FakeBroker;
use outbox_core::wire::{self, Binding, Template};
use outbox_core::{Event, EventId, PublishError, Transport};
use outbox_transport_kafka::rdkafka::consumer::{BaseConsumer, Consumer};
use outbox_transport_kafka::rdkafka::error::KafkaError;
use outbox_transport_kafka::rdkafka::mocking::MockCluster;
use outbox_transport_kafka::rdkafka::producer::DefaultProducerContext;
use outbox_transport_kafka::rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use outbox_transport_kafka::{KafkaConfig, KafkaTransport};
use std::error::Error;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

pub const TOPIC: &str = "outbox";

/// How long a loaded machine may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An event with the partition that it arrived in.
pub struct Arrived {
    pub partition: i32,
    pub key: Option<Vec<u8>>,
    pub event: Event,
}

#[async_trait]
pub trait Cluster: Send + Sync + 'static {
    fn servers(&self) -> String;

    fn create(&self, topic: &str, partitions: i32);

    /// What is in a topic, partition by partition.
    async fn arrived(&self, topic: &str) -> Vec<Arrived>;

    async fn events(&self, topic: &str) -> Vec<Event> {
        let arrived = self.arrived(topic).await.into_iter();
        arrived.map(|arrived| arrived.event).collect()
    }

    fn config(&self) -> KafkaConfig {
        KafkaConfig::new(self.servers())
    }

    fn transport(&self) -> KafkaTransport {
        open(self.config())
    }
}

/// The fake broker of krafka.
pub struct Fake(pub FakeBroker);

impl Fake {
    /// With a topic of this many partitions.
    pub async fn start(partitions: i32) -> Self {
        Self::start_cluster(1, partitions).await
    }

    pub async fn start_cluster(brokers: usize, partitions: i32) -> Self {
        let broker = FakeBroker::start_cluster(brokers).await.expect("started");
        broker.with_state(|state| state.auto_create_topics = false);
        let fake = Self(broker);
        fake.create(TOPIC, partitions);
        fake
    }
}

#[async_trait]
impl Cluster for Fake {
    fn servers(&self) -> String {
        self.0.bootstrap_servers()
    }

    fn create(&self, topic: &str, partitions: i32) {
        assert!(self.0.create_topic(topic, partitions), "{topic} is there");
    }

    async fn arrived(&self, topic: &str) -> Vec<Arrived> {
        let records = self.0.all_records(topic).expect("records");
        let read = |record: krafka::consumer::ConsumerRecord| {
            let headers: Vec<(String, String)> = record
                .headers
                .iter()
                .map(|(name, value)| {
                    let value = value.as_deref().unwrap_or_default().to_vec();
                    (name.clone(), String::from_utf8(value).expect("UTF-8"))
                })
                .collect();
            let headers = headers.iter().map(|(name, value)| (&**name, &**value));
            let body = record.value.expect("a payload, never a tombstone");
            Arrived {
                partition: record.partition,
                key: record.key.map(|key| key.to_vec()),
                event: wire::read(Binding::Kafka, None, headers, body).expect("an event"),
            }
        };
        records.into_iter().map(read).collect()
    }
}

pub type Mocked = MockCluster<'static, DefaultProducerContext>;
type Job = Box<dyn FnOnce(&Mocked) + Send>;

/// The mock cluster of librdkafka, in a thread because it may not move to another one.
pub struct Mock {
    jobs: Sender<Job>,
    servers: String,
}

impl Mock {
    /// With a topic of this many partitions.
    pub fn start(brokers: i32, partitions: i32) -> Self {
        let (jobs, received) = channel::<Job>();
        let (started, servers) = channel();
        thread::spawn(move || {
            let cluster = MockCluster::new(brokers).expect("started");
            started.send(cluster.bootstrap_servers()).expect("a test");
            for job in received {
                job(&cluster);
            }
        });
        let servers = servers.recv().expect("started");
        let mock = Self { jobs, servers };
        mock.create(TOPIC, partitions);
        mock
    }

    pub fn run<T: Send + 'static>(&self, job: impl FnOnce(&Mocked) -> T + Send + 'static) -> T {
        let (done, result) = channel();
        let job = move |cluster: &Mocked| done.send(job(cluster)).expect("a test");
        self.jobs.send(Box::new(job)).expect("it runs");
        result.recv().expect("no panic")
    }
}

#[async_trait]
impl Cluster for Mock {
    fn servers(&self) -> String {
        self.servers.clone()
    }

    fn create(&self, topic: &str, partitions: i32) {
        let topic = topic.to_owned();
        self.run(move |cluster| cluster.create_topic(&topic, partitions, 1))
            .expect("created");
    }

    async fn arrived(&self, topic: &str) -> Vec<Arrived> {
        let (servers, topic) = (self.servers(), topic.to_owned());
        let reading = tokio::task::spawn_blocking(move || consume(&servers, &topic));
        reading.await.expect("no panic")
    }
}

/// Reads each partition of a topic to its end.
fn consume(servers: &str, topic: &str) -> Vec<Arrived> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    config.set("group.id", "test");
    config.set("enable.auto.commit", "false");
    config.set("enable.partition.eof", "true");
    config.set("fetch.wait.max.ms", "5");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let metadata = consumer
        .fetch_metadata(Some(topic), PATIENCE)
        .expect("metadata");
    let mut assigned = TopicPartitionList::new();
    let partitions = metadata.topics()[0].partitions();
    for partition in partitions {
        let added = assigned.add_partition_offset(topic, partition.id(), Offset::Beginning);
        added.expect("a partition");
    }
    consumer.assign(&assigned).expect("assigned");
    let (mut arrived, mut left) = (Vec::new(), partitions.len());
    let begun = Instant::now();
    while left > 0 {
        assert!(begun.elapsed() < PATIENCE, "{left} partitions have no end");
        match consumer.poll(Duration::from_secs(1)) {
            Some(Ok(record)) => arrived.push(Arrived {
                partition: record.partition(),
                key: record.key().map(<[u8]>::to_vec),
                event: outbox_transport_kafka::read(&record).expect("an event"),
            }),
            Some(Err(KafkaError::PartitionEOF(_))) => left -= 1,
            _ => {}
        }
    }
    arrived.sort_by_key(|arrived| arrived.partition);
    arrived
}

pub fn open(config: KafkaConfig) -> KafkaTransport {
    KafkaTransport::open(config).expect("a valid config")
}

pub fn template(text: &str) -> Template {
    text.parse().expect("a template")
}

pub fn ids(events: &[Event]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

/// New events of some keys, one key after another.
pub fn keyed(count: usize, keys: usize) -> Vec<Event> {
    let event = |number: usize| {
        let event = Event::new("order.placed", format!("payload {number}"));
        event.ordering_key(format!("key {}", number % keys))
    };
    (0..count).map(event).collect()
}

pub async fn all_ok(transport: &KafkaTransport, events: &[Event]) {
    for answer in transport.publish(events).await {
        answer.expect("published");
    }
}

/// The answer to a single event, which is an error.
pub async fn refused(transport: &KafkaTransport) -> PublishError {
    let answers = transport.publish(&keyed(1, 1)).await;
    answers[0].clone().expect_err("refused")
}

/// An error with its causes.
pub fn text(error: &PublishError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
