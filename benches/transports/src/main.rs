//! What each transport costs compared with its client library, in one run on one server.
//!
//! ```console
//! $ cargo run --release    # needs the installed programs of the four brokers
//! ```
//!
//! Both sides publish the same messages in calls of the same size, by turns, and wait for all confirmations
//! of a call before the next one. At PostgreSQL the rows of the client all have the same time. The messages
//! of the client library are made before its time starts. Figures of one run compare; figures of two runs
//! do not.

mod client;

use client::Client;
use integration_tests::brokers::{Arrived, Broker, Nats, RabbitMq, Stream};
use outbox_core::{Event, OutboxStorage, Relay, Transport};
use outbox_store_memory::MemoryStore;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The sizes of a call, and how many events a round has.
const CALLS: [(usize, usize); 3] = [(1, 1_000), (100, 10_000), (1_000, 20_000)];
const ROUNDS: usize = 5;
const HOT: usize = 10_000;

fn events(count: usize) -> Vec<Event> {
    let payload = format!("{{\"order\":7,\"lines\":\"{}\"}}", "x".repeat(200));
    (0..count)
        .map(|number| {
            let event = Event::new("order.placed", payload.clone());
            event.ordering_key(format!("order-{}", number % 500))
        })
        .collect()
}

/// Events a second of a transport.
async fn ours(transport: &dyn Transport, size: usize, count: usize) -> Result<f64, Failure> {
    let events = events(count);
    let start = Instant::now();
    for call in events.chunks(size) {
        for answer in transport.publish(call).await {
            answer?;
        }
    }
    Ok(rate(count, start))
}

/// Events a second of a client library.
async fn alone<C: Client>(client: &mut C, size: usize, count: usize) -> Result<f64, Failure> {
    let events = events(count);
    let calls = events.chunks(size);
    let calls: Vec<Vec<_>> = calls
        .map(|call| call.iter().map(|event| client.prepare(event)).collect())
        .collect();
    let start = Instant::now();
    for call in calls {
        client.publish(call).await?;
    }
    Ok(rate(count, start))
}

fn rate(count: usize, start: Instant) -> f64 {
    count as f64 / start.elapsed().as_secs_f64()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

async fn compare<C: Client>(
    name: &str,
    transport: Arc<dyn Transport>,
    mut client: C,
) -> Result<(), Failure> {
    for (size, count) in CALLS {
        let (mut mine, mut its, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            mine.push(ours(&*transport, size, count).await?);
            its.push(alone(&mut client, size, count).await?);
            ratios.push(its[its.len() - 1] / mine[mine.len() - 1]);
        }
        println!(
            "{name}, calls of {size}: {:.0} events a second; the client alone {:.0}, {:.2} times",
            median(mine),
            median(its),
            median(ratios)
        );
    }
    hot_key(name, transport).await
}

/// A relay with the default options, and events of one key that wait.
async fn hot_key(name: &str, transport: Arc<dyn Transport>) -> Result<(), Failure> {
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let store = MemoryStore::new();
        let events = events(HOT).into_iter();
        let events: Vec<Event> = events.map(|event| event.ordering_key("hot")).collect();
        store.append(&events)?;
        let relay = Relay::new(store.clone(), Arc::clone(&transport));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let start = Instant::now();
        let running = tokio::spawn(relay.run(async { drop(stopped.await) }));
        while store.backlog().await?.pending > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        rates.push(rate(HOT, start));
        drop(stop);
        running.await??;
    }
    let kept = if transport.keeps_order() {
        "keeps the order"
    } else {
        "does not keep the order"
    };
    println!(
        "{name}, {HOT} events of one key, {kept}: {:.0} events a second",
        median(rates)
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut nats = Nats::start().await;
    nats.create().await;
    let client = client::Nats::connect(nats.server().url()).await?;
    compare("NATS", nats.transport(), client).await?;

    let mut rabbitmq = RabbitMq::start().await;
    rabbitmq.create().await;
    let client = client::RabbitMq::connect(rabbitmq.server().url()).await?;
    compare("RabbitMQ", rabbitmq.transport(), client).await?;

    let mut redis = Stream::start().await;
    redis.create().await;
    let client = client::Redis::connect(redis.server().url()).await?;
    compare("Redis", redis.transport(), client).await?;

    let postgres = Arrived::start().await;
    postgres.create().await;
    let client = client::Postgres::on(postgres.pool());
    compare("PostgreSQL", postgres.transport(), client).await
}
