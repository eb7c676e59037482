//! Several relays on one store: one of two hangs in its transport; and 1, 2, 4 and 8 share the work.

use crate::broker::SlowBroker;
use crate::ours::{self, Running};
use crate::server::Postgres;
use crate::{Failure, median};
use async_trait::async_trait;
use outbox_core::{Event, OutboxConfig, PublishError, Transport};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::{interval, sleep};

const ROUNDS: usize = 3;
const CALL: Duration = Duration::from_millis(5);
const SECONDS: usize = 5;

/// It never answers.
#[derive(Debug)]
struct Hanging(Arc<Notify>);

#[async_trait]
impl Transport for Hanging {
    async fn publish(&self, _: &[Event]) -> Vec<Result<(), PublishError>> {
        self.0.notify_one();
        std::future::pending().await
    }
}

pub(crate) async fn run() -> Result<(), Failure> {
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let alone = seconds(false).await?;
        let with_other = seconds(true).await?;
        println!(
            "events in each second: alone {alone:?}, next to a relay that hangs {with_other:?}"
        );
        ratios.push(with_other[0] as f64 / alone[0] as f64);
    }
    println!(
        "the first second next to a relay that hangs, median of {ROUNDS}: {:.2} of that alone",
        median(ratios)
    );
    for (name, keys, events) in [
        ("10 keys", 10, 6000),
        ("1,000 keys", 1000, 100_000),
        ("a key an event", usize::MAX, 100_000),
    ] {
        table(name, keys, events).await?;
    }
    Ok(())
}

fn config() -> Result<OutboxConfig, Failure> {
    let grace = Duration::from_secs(1);
    Ok(OutboxConfig::builder().shutdown_grace(grace).build()?)
}

/// The events that a relay publishes in each of its first seconds.
async fn seconds(with_other: bool) -> Result<Vec<usize>, Failure> {
    let postgres = Postgres::start().await?;
    ours::fill(&postgres, 300_000).await?;
    postgres.vacuum().await?;
    let calls = Arc::new(Notify::new());
    let hanging = Running::start(&postgres, Hanging(Arc::clone(&calls)), config()?);
    let hanging = if with_other {
        Some(hanging.await?)
    } else {
        None
    };
    if hanging.is_some() {
        calls.notified().await;
        // It has as many claims as it wants.
        sleep(Duration::from_secs(1)).await;
    }
    let broker = SlowBroker::new(CALL, false);
    let relay = Running::start(&postgres, broker.clone(), config()?).await?;
    let (mut counts, mut before) = (Vec::new(), broker.count());
    let mut second = interval(Duration::from_secs(1));
    second.tick().await;
    for _ in 0..SECONDS {
        second.tick().await;
        let now = broker.count();
        counts.push(now - before);
        before = now;
    }
    for relay in [Some(relay), hanging].into_iter().flatten() {
        relay.stop().await?;
    }
    Ok(counts)
}

/// Events per second of 1, 2, 4 and 8 relays together, in one process.
async fn table(name: &str, keys: usize, events: usize) -> Result<(), Failure> {
    const RELAYS: [usize; 4] = [1, 2, 4, 8];
    let postgres = Postgres::start().await?;
    let mut rates = RELAYS.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (relays, rates) in RELAYS.into_iter().zip(&mut rates) {
            let event =
                |number| crate::load::event(number).ordering_key(format!("key {}", number % keys));
            ours::fill_with(&postgres, events, event).await?;
            postgres.vacuum().await?;
            let broker = SlowBroker::new(CALL, false);
            let start = Instant::now();
            let mut running = Vec::new();
            for _ in 0..relays {
                running.push(Running::start(&postgres, broker.clone(), config()?).await?);
            }
            broker.has(events).await;
            rates.push(events as f64 / start.elapsed().as_secs_f64());
            for relay in running {
                relay.stop().await?;
            }
            ours::clean_up(&postgres).await?;
        }
    }
    let rates = rates.map(|rates| median(rates).round());
    println!("5 ms, {name}: {RELAYS:?} relays publish {rates:?} events a second");
    Ok(())
}
