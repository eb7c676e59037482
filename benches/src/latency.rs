//! A backlog through a broker that takes milliseconds for each call, heap on, in batches of 100, by the
//! number of keys and by the claims that are published at the same time.
//!
//! The possible rate is the smallest of three: what the keys allow (a call has one event of a key, or a
//! batch of it where the transport keeps order), what the claims allow, and what the relay reaches
//! in this run with as many claims and a broker that takes no time. The first two are computed from the
//! time that the calls took in this run, because a busy machine wakes late.

use crate::broker::SlowBroker;
use crate::ours::{self, Running};
use crate::server::Postgres;
use crate::{Failure, median};
use outbox_core::OutboxConfig;
use std::time::{Duration, Instant};

const BATCH: usize = 100;
const CONCURRENCY: [usize; 5] = [1, 4, 8, 12, 16];
const ROUNDS: usize = 3;

/// One row of the table.
struct Load {
    name: &'static str,
    delay: Duration,
    /// None: as many as events.
    keys: Option<usize>,
    keeps_order: bool,
    events: usize,
}

const fn load(name: &'static str, delay: u64, keys: Option<usize>, events: usize) -> Load {
    Load {
        name,
        delay: Duration::from_millis(delay),
        keys,
        keeps_order: false,
        events,
    }
}

/// The first is the rate without a broker, which limits the others.
const LOADS: [Load; 5] = [
    load("0 ms, 1,000 keys", 0, Some(1000), 100_000),
    load("5 ms, 10 keys", 5, Some(10), 4000),
    load("5 ms, 1,000 keys", 5, Some(1000), 60_000),
    load("5 ms, a key an event", 5, None, 60_000),
    Load {
        keeps_order: true,
        ..load("1 ms, one key, keeps order", 1, Some(1), 40_000)
    },
];

pub(crate) async fn run() -> Result<(), Failure> {
    let postgres = Postgres::start().await?;
    println!("| broker | {CONCURRENCY:?} claims at the same time: events a second (possible) |");
    let mut without_broker = [0.0; CONCURRENCY.len()];
    for (number, load) in LOADS.iter().enumerate() {
        let mut runs = CONCURRENCY.map(|_| (Vec::new(), Vec::new()));
        for _ in 0..ROUNDS {
            for (concurrency, (rates, possible)) in CONCURRENCY.into_iter().zip(&mut runs) {
                let run = rate(&postgres, load, concurrency).await?;
                rates.push(run.0);
                possible.push(run.1);
            }
        }
        let medians = runs.map(|(rates, possible)| (median(rates), median(possible)));
        if number == 0 {
            without_broker = medians.map(|(rate, _)| rate);
        }
        print!("| {} |", load.name);
        for ((rate, possible), most) in medians.into_iter().zip(without_broker) {
            print!(" {rate:.0} ({:.0}) |", possible.min(most));
        }
        println!();
    }
    Ok(())
}

/// What the keys and the claims allow, with calls of so many seconds.
fn possible(load: &Load, concurrency: usize, call: f64) -> f64 {
    let keys = load.keys.unwrap_or(usize::MAX);
    let of_key = if load.keeps_order { BATCH } else { 1 };
    let at_once = keys.saturating_mul(of_key).min(concurrency * BATCH);
    at_once as f64 / call
}

/// Events per second until the broker has all, and how many were possible.
async fn rate(postgres: &Postgres, load: &Load, concurrency: usize) -> Result<(f64, f64), Failure> {
    let event = |number: usize| match load.keys {
        Some(keys) => crate::load::event(number).ordering_key(format!("key {}", number % keys)),
        None => crate::load::event(number).ordering_key(format!("key {number}")),
    };
    ours::fill_with(postgres, load.events, event).await?;
    postgres.vacuum().await?;
    let broker = SlowBroker::new(load.delay, load.keeps_order);
    let config = OutboxConfig::builder()
        .batch_size(BATCH)
        .concurrency(concurrency)
        .build()?;
    let start = Instant::now();
    let relay = Running::start(postgres, broker.clone(), config).await?;
    broker.has(load.events).await;
    let time = start.elapsed().as_secs_f64();
    relay.stop().await?;
    ours::clean_up(postgres).await?;
    let possible = possible(load, concurrency, broker.call_time());
    Ok((load.events as f64 / time, possible))
}
