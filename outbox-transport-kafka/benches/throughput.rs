//! Events a second on the mock cluster: the producer of rdkafka, and the transport, with the same settings. Run:
//! `cargo bench --bench throughput`.

use outbox_core::wire::{Binding, WireForm};
use outbox_core::{Event, OutboxConfig, OutboxStorage, Relay, Transport};
use outbox_store_memory::MemoryStore;
use outbox_transport_kafka::rdkafka::ClientConfig;
use outbox_transport_kafka::rdkafka::message::{Header, OwnedHeaders};
use outbox_transport_kafka::rdkafka::mocking::MockCluster;
use outbox_transport_kafka::rdkafka::producer::{FutureProducer, FutureRecord};
use outbox_transport_kafka::{KafkaConfig, KafkaTransport};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

const TOPIC: &str = "outbox";
const EVENTS: usize = 100_000;

/// As many events as the worker has under way by default.
const CALL: usize = 500;
const CALLS: usize = 4;

const ROUNDS: usize = 5;

/// What the transport sets.
const SETTINGS: [(&str, &str); 8] = [
    ("acks", "all"),
    ("allow.auto.create.topics", "false"),
    ("enable.gapless.guarantee", "true"),
    ("enable.idempotence", "true"),
    ("linger.ms", "0"),
    ("max.in.flight.requests.per.connection", "1"),
    ("message.timeout.ms", "0"),
    ("partitioner", "murmur2_random"),
];

fn events(keys: usize) -> Vec<Event> {
    let event = |number: usize| {
        let event = Event::new("order.placed", vec![b'x'; 250]);
        event.ordering_key(format!("key {}", number % keys))
    };
    (0..EVENTS).map(event).collect()
}

async fn by_rdkafka(producer: &FutureProducer, form: &WireForm, events: &[Event]) {
    let mut reports = Vec::with_capacity(events.len());
    for event in events {
        let message = form.write(Binding::Kafka, event).expect("written");
        let mut headers = OwnedHeaders::new_with_capacity(message.headers.len() + 1);
        for (key, value) in &message.headers {
            headers = headers.insert(Header {
                key,
                value: Some(&**value),
            });
        }
        let key = event.ordering_key.as_deref().expect("a key");
        let record = FutureRecord::to(TOPIC).key(key).payload(&message.body[..]);
        let sent = producer.send_result(record.headers(headers));
        reports.push(sent.map_err(|(error, _)| error).expect("queued"));
    }
    for report in reports {
        report
            .await
            .expect("reported")
            .map_err(|(error, _)| error)
            .expect("delivered");
    }
}

async fn by_transport(transport: &KafkaTransport, events: &[Event]) {
    for answer in transport.publish(events).await {
        answer.expect("published");
    }
}

/// Events a second of `work`, which gets the calls of each task.
async fn rate<F: Future<Output = ()> + Send + 'static>(
    tasks: usize,
    events: &[Event],
    work: impl Fn(Vec<Event>) -> F,
) -> f64 {
    let begun = Instant::now();
    let parts = events.chunks(events.len().div_ceil(tasks));
    let tasks: Vec<_> = parts
        .map(|part| tokio::spawn(work(part.to_vec())))
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    per_second(begun.elapsed())
}

#[expect(clippy::cast_precision_loss, reason = "a small number")]
fn per_second(time: Duration) -> f64 {
    EVENTS as f64 / time.as_secs_f64()
}

async fn of_rdkafka(servers: &str, tasks: usize, events: &[Event]) -> f64 {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    for (name, value) in SETTINGS {
        config.set(name, value);
    }
    let producer: FutureProducer = config.create().expect("a producer");
    by_rdkafka(&producer, &WireForm::default(), &events[..CALL]).await;
    rate(tasks, events, |part| {
        let producer = producer.clone();
        async move {
            let form = WireForm::default();
            for call in part.chunks(CALL) {
                by_rdkafka(&producer, &form, call).await;
            }
        }
    })
    .await
}

async fn of_transport(servers: &str, tasks: usize, events: &[Event]) -> f64 {
    let transport = KafkaTransport::open(KafkaConfig::new(servers)).expect("a config");
    by_transport(&transport, &events[..CALL]).await;
    rate(tasks, events, |part| {
        let transport = transport.clone();
        async move {
            for call in part.chunks(CALL) {
                by_transport(&transport, call).await;
            }
        }
    })
    .await
}

async fn of_relay(servers: &str, events: &[Event]) -> f64 {
    let store = Arc::new(MemoryStore::new());
    store.append(events).expect("appended");
    let transport = KafkaTransport::open(KafkaConfig::new(servers)).expect("a config");
    let options = OutboxConfig::builder()
        .batch_size(CALL)
        .build()
        .expect("options");
    let relay = Relay::new(Arc::clone(&store), transport).config(options);
    let (stop, stopped) = oneshot::channel::<()>();
    let begun = Instant::now();
    let task = tokio::spawn(async move { relay.run(async { drop(stopped.await) }).await });
    while store.backlog().await.expect("a backlog").pending > 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let time = begun.elapsed();
    stop.send(()).expect("it runs");
    task.await.expect("no panic").expect("no error");
    per_second(time)
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

async fn compare(servers: &str, name: &str, tasks: usize, events: &[Event]) {
    let (mut plain, mut ours) = (Vec::new(), Vec::new());
    for _round in 0..ROUNDS {
        plain.push(of_rdkafka(servers, tasks, events).await);
        ours.push(of_transport(servers, tasks, events).await);
    }
    let (plain, ours) = (median(plain), median(ours));
    let ratio = ours / plain;
    println!("{name}: rdkafka {plain:.0}/s, transport {ours:.0}/s, {ratio:.2} times");
}

#[tokio::main]
async fn main() {
    let cluster = MockCluster::new(3).expect("started");
    cluster.create_topic(TOPIC, 12, 1).expect("created");
    let servers = cluster.bootstrap_servers();
    let many = events(100_000);
    compare(
        &servers,
        "100,000 keys, 4 calls of 500 at a time",
        CALLS,
        &many,
    )
    .await;
    let some = events(1000);
    compare(
        &servers,
        "1,000 keys, 4 calls of 500 at a time",
        CALLS,
        &some,
    )
    .await;
    let hot = events(1);
    compare(&servers, "1 key, 1 call of 500 at a time", 1, &hot).await;
    let mut relays = Vec::new();
    for _round in 0..ROUNDS {
        relays.push(of_relay(&servers, &hot).await);
    }
    println!("1 key, relay from memory: {:.0}/s", median(relays));
}
