//! oxide-outbox: outbox-core 0.6, outbox-postgres 0.3, and the heap of outbox-redis 0.1.5.

use crate::Failure;
use crate::server::Postgres;
use async_trait::async_trait;
use peer_core::prelude::{Event, OutboxConfig, OutboxError, OutboxProcessor, Transport};
use peer_postgres::PostgresOutbox as PostgresStore;
use peer_redis::{RedisProvider, config::RedisTokenConfig};
use peer_sqlx::postgres::PgPoolOptions;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Order {
    order: usize,
    note: String,
}

pub(crate) struct Nothing;

pub(crate) type Peer = (
    OutboxProcessor<PostgresStore<Order>, Nothing, Order>,
    Arc<RedisProvider>,
);

#[async_trait]
impl Transport<Order> for Nothing {
    async fn publish(&self, _: Event<Order>) -> Result<(), OutboxError> {
        Ok(())
    }
}

/// Its own tables, and as many events of the same size as ours.
const FILL: &str = "
    INSERT INTO outbox_events (event_type, payload)
    SELECT 'order.placed', jsonb_build_object('order', n, 'note', repeat('x', 170))
    FROM generate_series(1, $1) AS n";

pub(crate) async fn fill(postgres: &Postgres, events: usize) -> Result<(), Failure> {
    let pool = peer_sqlx::PgPool::connect(postgres.url()).await?;
    peer_sqlx::raw_sql(include_str!("peer.sql"))
        .execute(&pool)
        .await?;
    peer_sqlx::query(FILL)
        .bind(i64::try_from(events)?)
        .execute(&pool)
        .await?;
    pool.close().await;
    Ok(())
}

/// A processor and its heap.
pub(crate) async fn processor(postgres: &Postgres, redis: &str) -> Result<Peer, Failure> {
    let options = PgPoolOptions::new()
        .max_connections(2)
        .test_before_acquire(false);
    let pool = options.connect(postgres.url()).await?;
    let config = Arc::new(OutboxConfig::<Order>::default());
    let storage = Arc::new(PostgresStore::new(pool.clone(), Arc::clone(&config)));
    let heap = Arc::new(RedisProvider::new(redis, RedisTokenConfig::default()).await?);
    let processor = OutboxProcessor::new(storage, Arc::new(Nothing), config);
    Ok((processor, heap))
}

/// Publishes all that is pending. Returns how many events.
pub(crate) async fn drain((processor, heap): Peer) -> Result<usize, Failure> {
    let mut published = 0;
    loop {
        let count = processor.process_pending_events(heap.clone()).await?;
        if count == 0 {
            return Ok(published);
        }
        published += count;
    }
}
