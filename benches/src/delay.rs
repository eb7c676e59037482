//! The time from commit to publish on an idle system, and the statements that an idle relay sends.

use crate::server::Postgres;
use crate::{Failure, load, median};
use async_trait::async_trait;
use outbox_core::{Event, PublishError, Relay, Transport};
use outbox_dlq_postgres::PostgresDlqHeap;
use outbox_store_postgres::sqlx::{Executor, Row};
use outbox_store_postgres::{PostgresStore, append};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// The server publishes the statistics of an idle connection within ten seconds.
const SETTLED: Duration = Duration::from_secs(15);

const IDLE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Clock(mpsc::UnboundedSender<Instant>);

#[async_trait]
impl Transport for Clock {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        // The receiver is dropped: no more times are needed.
        let _ = self.0.send(Instant::now());
        events.iter().map(|_| Ok(())).collect()
    }
}

pub(crate) async fn run() -> Result<(), Failure> {
    let postgres = Postgres::start().await?;
    // Its transactions would be counted too.
    postgres
        .pool
        .execute("ALTER SYSTEM SET autovacuum = off")
        .await?;
    postgres.pool.execute("SELECT pg_reload_conf()").await?;
    let store = PostgresStore::migrate(postgres.pool.clone()).await?;
    let (sender, mut published) = mpsc::unbounded_channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let heap = PostgresDlqHeap::migrate(postgres.pool.clone()).await?;
    let relay = Relay::new(Arc::new(store), Arc::new(Clock(sender))).dlq_heap(Arc::new(heap));
    let relay = tokio::spawn(relay.run(async {
        // A sender that is dropped stops it as well.
        let _ = stopped.await;
    }));
    let mut delays = Vec::new();
    for number in 0..200 {
        // Long enough for the worker to wait for a wake-up, and not a multiple of its poll interval.
        tokio::time::sleep(Duration::from_millis(37)).await;
        let mut connection = postgres.pool.acquire().await?;
        append(&mut connection, &[load::event(number)]).await?;
        let committed = Instant::now();
        let seen = published.recv().await.ok_or("the relay has ended")?;
        delays.push(seen.saturating_duration_since(committed).as_secs_f64() * 1e3);
    }
    tokio::time::sleep(SETTLED).await;
    let before = transactions(&postgres).await?;
    tokio::time::sleep(IDLE).await;
    // The first of the two counts itself.
    let asked = transactions(&postgres).await? - before - 1;
    let _ = stop.send(());
    relay.await??;
    delays.sort_unstable_by(f64::total_cmp);
    let (p99, max) = (delays[delays.len() * 99 / 100], delays[delays.len() - 1]);
    println!(
        "{} events: median {:.2} ms, p99 {p99:.2} ms, longest {max:.2} ms",
        delays.len(),
        median(delays)
    );
    let seconds = IDLE.as_secs_f64();
    println!(
        "idle for {seconds} s: {:.2} statements a second",
        asked as f64 / seconds
    );
    Ok(())
}

/// Each statement of an idle relay is a transaction.
async fn transactions(postgres: &Postgres) -> Result<i64, Failure> {
    let count =
        "SELECT sum(xact_commit)::bigint FROM pg_stat_database WHERE datname = current_database()";
    Ok(postgres.pool.fetch_one(count).await?.get(0))
}
