//! The time from commit to publish at 500 events a second, while a dump of the database runs.

use crate::server::Postgres;
use crate::{Failure, load};
use async_trait::async_trait;
use outbox_core::{Event, PublishError, Relay, Transport};
use outbox_dlq_postgres::PostgresDlqHeap;
use outbox_store_postgres::sqlx::{Connection, Executor, PgConnection, Row};
use outbox_store_postgres::{PostgresStore, append};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

/// Between two events.
const PACE: Duration = Duration::from_millis(2);

/// How long events are published before the dump starts.
const BEFORE: usize = 5;

/// What `pg_dump` does until its end: it keeps its snapshot, and a lock on each table.
const DUMP: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
                    LOCK TABLE outbox.outbox_lanes, outbox.outbox_events, outbox.outbox_retries,
                               outbox.outbox_dead_letters, outbox.outbox_marks IN ACCESS SHARE MODE;
                    SELECT count(*) FROM outbox.outbox_lanes";

/// When each event was committed and published, by its number.
#[derive(Clone, Debug, Default)]
struct Times(Arc<Mutex<Vec<(Option<Instant>, Option<Instant>)>>>);

#[async_trait]
impl Transport for Times {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        let now = Instant::now();
        for event in events {
            let number = event.event_type.rsplit('.').next().unwrap_or_default();
            self.at(number.parse().unwrap_or_default(), |(_, published)| {
                *published = Some(now);
            });
        }
        events.iter().map(|_| Ok(())).collect()
    }
}

impl Times {
    fn at(&self, number: usize, set: impl FnOnce(&mut (Option<Instant>, Option<Instant>))) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if times.len() <= number {
            times.resize(number + 1, (None, None));
        }
        set(&mut times[number]);
    }

    /// The delays of a range in milliseconds, in order. An event that is not published yet counts as
    /// published now.
    fn delays(&self, from: usize, to: usize) -> Vec<f64> {
        let (now, times) = (
            Instant::now(),
            self.0.lock().unwrap_or_else(PoisonError::into_inner),
        );
        let mut delays: Vec<f64> = times[from.min(times.len())..to.min(times.len())]
            .iter()
            .filter_map(|(committed, published)| {
                let published = published.unwrap_or(now);
                committed.map(|committed| published.saturating_duration_since(committed))
            })
            .map(|delay| delay.as_secs_f64() * 1e3)
            .collect();
        delays.sort_unstable_by(f64::total_cmp);
        delays
    }
}

pub(crate) async fn run(seconds: usize) -> Result<(), Failure> {
    let postgres = Postgres::start().await?;
    let store = PostgresStore::migrate(postgres.pool.clone()).await?;
    let heap = PostgresDlqHeap::migrate(postgres.pool.clone()).await?;
    let times = Times::default();
    let relay = Relay::new(Arc::new(store), Arc::new(times.clone())).dlq_heap(Arc::new(heap));
    let (stop, stopped) = oneshot::channel::<()>();
    let relay = tokio::spawn(relay.run(async {
        // A sender that is dropped stops it as well.
        let _ = stopped.await;
    }));
    let a_second = Duration::from_secs(1).div_duration_f64(PACE) as usize;
    produce(&postgres, &times, 0..a_second * BEFORE).await?;
    print(&times, "before the dump", a_second, a_second * BEFORE);
    let mut dump = PgConnection::connect(postgres.url()).await?;
    dump.execute(DUMP).await?;
    let part = a_second * seconds.div_ceil(5);
    for number in 0..5 {
        let first = a_second * BEFORE + number * part;
        produce(&postgres, &times, first..first + part).await?;
        let name = format!("part {} of 5 of the dump", number + 1);
        print(&times, &name, first, first + part);
    }
    let first = a_second * BEFORE;
    print(&times, "the dump", first, first + 5 * part);
    println!("outbox_lanes: {} kB", lanes(&postgres).await?);
    dump.execute("COMMIT").await?;
    let _ = stop.send(());
    relay.await??;
    Ok(())
}

/// Appends one event per transaction at the pace. Late events follow at once.
async fn produce(
    postgres: &Postgres,
    times: &Times,
    numbers: std::ops::Range<usize>,
) -> Result<(), Failure> {
    let mut connection = postgres.pool.acquire().await?;
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in numbers {
        pace.tick().await;
        let mut event = load::event(number);
        event.event_type = format!("order.{number}");
        append(&mut connection, &[event]).await?;
        let now = Instant::now();
        times.at(number, |(committed, _)| *committed = Some(now));
    }
    Ok(())
}

fn print(times: &Times, name: &str, from: usize, to: usize) {
    let delays = times.delays(from, to);
    let at = |share: usize| delays[(delays.len() * share / 100).min(delays.len() - 1)];
    println!(
        "{name}: {} events, median {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        delays.len(),
        at(50),
        at(99),
        at(100)
    );
}

/// The size of the table of the lanes and its indexes, in kilobytes.
async fn lanes(postgres: &Postgres) -> Result<i64, Failure> {
    let size = "SELECT pg_total_relation_size('outbox.outbox_lanes') / 1024";
    Ok(postgres.pool.fetch_one(size).await?.get(0))
}
