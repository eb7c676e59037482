//! 100 destinations, of which three hang, one is missing and one throttles: the delay from append to
//! publish at the other 95, compared with a run without the five.

use crate::ours::{self, Running};
use crate::server::Postgres;
use crate::{Failure, median};
use async_trait::async_trait;
use outbox_core::{
    DlqHeap as _, Event, OutboxConfig, OutboxStorage as _, PublishError, PublishErrorKind,
    Transport,
};
use outbox_dlq_postgres::PostgresDlqHeap;
use outbox_store_postgres::{PostgresStore, append};
use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::time::{MissedTickBehavior, interval, sleep};

const ROUNDS: usize = 3;

/// How long events are appended, in steps with one event for each destination.
const INFLOW: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(50);

const DESTINATIONS: usize = 100;

/// The first five of the destinations.
const FAULTY: usize = 5;

/// Each call of a sound destination takes as long.
const CALL: Duration = Duration::from_millis(5);

/// Clones are the same broker.
#[derive(Clone, Debug, Default)]
struct Broker(Arc<Mutex<Vec<f64>>>);

impl Broker {
    /// Milliseconds of the events at sound destinations, sorted.
    fn delays(&self) -> Vec<f64> {
        let mut delays = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        delays.sort_unstable_by(f64::total_cmp);
        delays
    }
}

#[async_trait]
impl Transport for Broker {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        let Some(name) = events.first().map(destination) else {
            return Vec::new();
        };
        let fail = |kind| {
            let error = PublishError::new(kind).with_destination(name);
            error.for_all(events.len())
        };
        match name {
            "topic-0" | "topic-1" | "topic-2" => std::future::pending().await,
            "topic-3" => fail(PublishErrorKind::Misconfigured),
            "topic-4" => fail(PublishErrorKind::Throttled(Duration::from_secs(1))),
            _ => {
                sleep(CALL).await;
                let now = SystemTime::now();
                let delay = |event: &Event| {
                    let delay = now.duration_since(event.created_at).unwrap_or_default();
                    delay.as_secs_f64() * 1e3
                };
                let mut delays = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                delays.extend(events.iter().map(delay));
                events.iter().map(|_| Ok(())).collect()
            }
        }
    }

    fn destination<'a>(&'a self, event: &'a Event) -> Option<Cow<'a, str>> {
        Some(destination(event).into())
    }
}

fn destination(event: &Event) -> &str {
    event.event_type.split('.').next().unwrap_or_default()
}

pub(crate) async fn run() -> Result<(), Failure> {
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let without = measure(round, FAULTY).await?;
        let with = measure(round, 0).await?;
        ratios.push(with / without);
    }
    println!(
        "p99 with the five faulty destinations, median of {ROUNDS}: {:.2} times that without them",
        median(ratios)
    );
    Ok(())
}

/// The 99th percentile of the delays, if events go to the destinations from `first` on.
async fn measure(round: usize, first: usize) -> Result<f64, Failure> {
    let postgres = Postgres::start().await?;
    ours::fill(&postgres, 0).await?;
    let broker = Broker::default();
    let config = OutboxConfig::builder()
        .shutdown_grace(Duration::from_secs(1))
        .build()?;
    let relay = Running::start(&postgres, broker.clone(), config).await?;
    let appended = inflow(&postgres, first).await?;
    let sound = appended / (DESTINATIONS - first) * (DESTINATIONS - FAULTY);
    let ended = Instant::now();
    while broker.delays().len() < sound && ended.elapsed() < INFLOW {
        sleep(STEP).await;
    }
    let pauses: Vec<String> = relay
        .pauses
        .list()
        .iter()
        .map(|pause| {
            let name = pause.destination.as_deref().unwrap_or("the broker");
            format!("{name} ({:?})", pause.kind)
        })
        .collect();
    let store = PostgresStore::open(postgres.pool.clone()).await?;
    let heap = PostgresDlqHeap::migrate(postgres.pool.clone()).await?;
    let counted = heap.size().await?.map_or(0, |size| size.entries);
    let dead = store.backlog().await?.dead_letters;
    relay.stop().await?;
    let delays = broker.delays();
    let at = |part: f64| delays[((delays.len() - 1) as f64 * part) as usize];
    println!(
        "{round}, destinations {first} to 99: {} of {sound} events at the sound ones, median {:.1} ms, \
         p99 {:.1} ms, longest {:.1} ms; {counted} counted, {dead} dead letters; paused: {pauses:?}",
        delays.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    Ok(at(0.99))
}

/// Appends events for each destination from `first` on, and returns how many.
async fn inflow(postgres: &Postgres, first: usize) -> Result<usize, Failure> {
    let (start, mut appended) = (Instant::now(), 0);
    let mut connection = postgres.pool.acquire().await?;
    let mut steps = interval(STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while start.elapsed() < INFLOW {
        steps.tick().await;
        let events: Vec<Event> = (first..DESTINATIONS)
            .map(|topic| {
                let key = format!("{topic} {}", appended % 10);
                Event::new(format!("topic-{topic}.placed"), "{}").ordering_key(key)
            })
            .collect();
        append(&mut connection, &events).await?;
        appended += events.len();
    }
    Ok(appended)
}
