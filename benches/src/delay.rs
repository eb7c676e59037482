//! From commit to publish, while nothing else happens.

use crate::server::Postgres;
use crate::{Failure, median, ours};
use async_trait::async_trait;
use outbox_core::{Event, OutboxProcessor, PublishError, Transport};
use outbox_store_postgres::{DriverOptions, PostgresOutbox, Schema, append};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

#[derive(Debug)]
struct Clock(mpsc::UnboundedSender<Instant>);

#[async_trait]
impl Transport for Clock {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        // A receiver that is gone wants no more times.
        let _ = self.0.send(Instant::now());
        events.iter().map(|_| Ok(())).collect()
    }
}

pub(crate) async fn run() -> Result<(), Failure> {
    let postgres = Postgres::start().await?;
    let store = PostgresOutbox::migrate(postgres.pool.clone(), DriverOptions::default()).await?;
    let (sender, mut published) = mpsc::unbounded_channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let processor = OutboxProcessor::new(Arc::new(store), Arc::new(Clock(sender)));
    let relay = tokio::spawn(processor.run(async {
        // A sender that is dropped stops it as well.
        let _ = stopped.await;
    }));
    let mut delays = Vec::new();
    for number in 0..200 {
        // Long enough for the worker to fall asleep, and no multiple of its poll.
        tokio::time::sleep(Duration::from_millis(37)).await;
        let mut connection = postgres.pool.acquire().await?;
        append(&mut connection, &Schema::default(), &[ours::event(number)]).await?;
        let committed = Instant::now();
        let seen = published.recv().await.ok_or("the relay has ended")?;
        delays.push(seen.saturating_duration_since(committed).as_secs_f64() * 1e3);
    }
    let _ = stop.send(());
    relay.await??;
    delays.sort_unstable_by(f64::total_cmp);
    let (p99, max) = (delays[delays.len() * 99 / 100], delays[delays.len() - 1]);
    println!(
        "{} events: median {:.2} ms, p99 {p99:.2} ms, longest {max:.2} ms",
        delays.len(),
        median(delays)
    );
    Ok(())
}
