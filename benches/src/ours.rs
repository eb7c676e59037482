//! This project: store and heap on PostgreSQL.

use crate::Failure;
use crate::load::{Nothing, event};
use crate::server::Postgres;
use outbox_core::{
    Event, OutboxConfig, OutboxError, OutboxProcessor, OutboxStorage as _, Pauses, Relay, Transport,
};
use outbox_dlq_postgres::PostgresDlqHeap;
use outbox_store_postgres::sqlx::postgres::PgPoolOptions;
use outbox_store_postgres::{PostgresStore, append};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) async fn fill(postgres: &Postgres, events: usize) -> Result<(), Failure> {
    fill_with(postgres, events, event).await
}

/// Appends events that a function makes of their numbers.
pub(crate) async fn fill_with(
    postgres: &Postgres,
    events: usize,
    event: impl Fn(usize) -> Event,
) -> Result<(), Failure> {
    PostgresStore::migrate(postgres.pool.clone()).await?;
    for first in (0..events).step_by(1000) {
        let events: Vec<Event> = (first..events.min(first + 1000)).map(&event).collect();
        let mut connection = postgres.pool.acquire().await?;
        append(&mut connection, &events).await?;
    }
    Ok(())
}

/// A processor with a heap, which publishes in batches.
pub(crate) async fn processor(
    postgres: &Postgres,
    batch: usize,
) -> Result<OutboxProcessor, Failure> {
    let options = PgPoolOptions::new()
        .max_connections(2)
        .test_before_acquire(false);
    let pool = options.connect(postgres.url()).await?;
    let store = PostgresStore::open(pool.clone()).await?;
    let heap = PostgresDlqHeap::migrate(pool).await?;
    let config = OutboxConfig::builder().batch_size(batch).build()?;
    Ok(OutboxProcessor::new(Arc::new(store), Arc::new(Nothing))
        .config(config)
        .dlq_heap(Arc::new(heap)))
}

/// Publishes all that is pending. Returns how many events.
pub(crate) async fn drain(mut processor: OutboxProcessor) -> Result<usize, Failure> {
    let mut published = 0;
    loop {
        let report = processor.process_pending_events().await?;
        if report.claimed == 0 {
            return Ok(published);
        }
        published += report.published;
    }
}

/// As the relay does between its passes.
pub(crate) async fn clean_up(postgres: &Postgres) -> Result<(), Failure> {
    let store = PostgresStore::open(postgres.pool.clone()).await?;
    while store.clean_up(1000).await? > 0 {}
    Ok(())
}

/// A relay that runs, as the command does: four connections for the store, and four for the heap.
pub(crate) struct Running {
    pub(crate) pauses: Pauses,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), OutboxError>>,
}

impl Running {
    pub(crate) async fn start(
        postgres: &Postgres,
        transport: impl Transport + 'static,
        config: OutboxConfig,
    ) -> Result<Self, Failure> {
        let options = || {
            PgPoolOptions::new()
                .max_connections(4)
                .test_before_acquire(false)
        };
        let store = PostgresStore::open(options().connect(postgres.url()).await?).await?;
        let heap = PostgresDlqHeap::migrate(options().connect(postgres.url()).await?).await?;
        let relay = Relay::new(store, transport).dlq_heap(heap).config(config);
        let pauses = relay.pauses();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            // A sender that is dropped stops it as well.
            let _ = stopped.await;
        };
        Ok(Self {
            pauses,
            stop,
            task: tokio::spawn(relay.run(shutdown)),
        })
    }

    pub(crate) async fn stop(self) -> Result<(), Failure> {
        drop(self.stop);
        Ok(self.task.await??)
    }
}

/// Removes all events.
pub(crate) async fn empty(postgres: &Postgres) -> Result<(), Failure> {
    clean_up(postgres).await?;
    postgres.vacuum().await
}
