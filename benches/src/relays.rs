//! Several relays on one store: one of two hangs in its transport; and 1, 2, 4 and 8 share the work.

use crate::broker::SlowBroker;
use crate::ours::{self, Running};
use crate::server::Postgres;
use crate::{Failure, median};
use async_trait::async_trait;
use outbox_core::{Event, OutboxConfig, PublishError, Transport};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio::time::{interval, sleep};

const ROUNDS: usize = 3;
const CALL: Duration = Duration::from_millis(5);
const SECONDS: usize = 15;

/// A broker whose calls to its one destination stop returning.
#[derive(Clone, Debug)]
struct Hanging {
    broker: SlowBroker,
    is_cut: Arc<AtomicBool>,
    /// Whether it names its destination.
    is_named: bool,
}

#[async_trait]
impl Transport for Hanging {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        if self.is_cut.load(SeqCst) {
            return std::future::pending().await;
        }
        self.broker.publish(events).await
    }

    fn destination<'a>(&'a self, _: &'a Event) -> Option<Cow<'a, str>> {
        self.is_named.then_some("orders".into())
    }
}

/// How another relay hangs.
#[derive(Clone, Copy, Debug)]
struct Other {
    /// Since it started, or after it has worked for a second.
    since_start: bool,
    is_named: bool,
}

const OTHERS: [(&str, Other); 3] = [
    (
        "since it started",
        Other {
            since_start: true,
            is_named: true,
        },
    ),
    (
        "after a second",
        Other {
            since_start: false,
            is_named: true,
        },
    ),
    (
        "after a second, and names no destination",
        Other {
            since_start: false,
            is_named: false,
        },
    ),
];

pub(crate) async fn run() -> Result<(), Failure> {
    let mut ratios = OTHERS.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        let alone = seconds(None).await?;
        println!("events in each second: alone {alone:?}");
        for ((name, other), ratios) in OTHERS.into_iter().zip(&mut ratios) {
            let next_to = seconds(Some(other)).await?;
            println!("next to a relay that hangs {name} {next_to:?}");
            ratios.push(next_to[0] as f64 / alone[0] as f64);
        }
    }
    for ((name, _), ratios) in OTHERS.into_iter().zip(ratios) {
        println!(
            "the first second next to a relay that hangs {name}, median of {ROUNDS}: {:.2} of that alone",
            median(ratios)
        );
    }
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
async fn seconds(other: Option<Other>) -> Result<Vec<usize>, Failure> {
    let postgres = Postgres::start().await?;
    ours::fill(&postgres, 300_000).await?;
    postgres.vacuum().await?;
    let hanging = match other {
        Some(other) => Some(start(&postgres, other).await?),
        None => None,
    };
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

/// A relay that hangs, a second later: it has as many claims as it wants.
async fn start(postgres: &Postgres, other: Other) -> Result<Running, Failure> {
    let hanging = Hanging {
        broker: SlowBroker::new(CALL, false),
        is_cut: Arc::new(AtomicBool::new(other.since_start)),
        is_named: other.is_named,
    };
    let relay = Running::start(postgres, hanging.clone(), config()?).await?;
    if !other.since_start {
        sleep(Duration::from_secs(1)).await;
        hanging.is_cut.store(true, SeqCst);
    }
    sleep(Duration::from_secs(1)).await;
    Ok(relay)
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
