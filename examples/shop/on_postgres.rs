//! The tables of the shop on PostgreSQL, and what is in them.

use super::order::{Failure, line};
use outbox_core::{ClaimLimit, OutboxStorage, Outcome, Settlement};
use outbox_store_postgres::PostgresStore;
use outbox_store_postgres::sqlx::{self, Executor, PgPool};
use std::time::Duration;

/// Creates the tables of the shop and of the outbox.
pub(crate) async fn prepare(url: &str) -> Result<PgPool, Failure> {
    let pool = PgPool::connect(url).await?;
    PostgresStore::migrate(pool.clone()).await?;
    let orders = "CREATE TABLE IF NOT EXISTS shop_orders (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text NOT NULL, total bigint NOT NULL)";
    pool.execute(orders).await?;
    Ok(pool)
}

/// Prints the orders, and the events that arrived in the outbox; settles these, as a relay does.
pub(crate) async fn show(pool: &PgPool) -> Result<Vec<String>, Failure> {
    let orders = "SELECT concat('order of ', customer, ': ', total) FROM shop_orders ORDER BY id";
    let mut lines: Vec<String> = sqlx::query_scalar(orders).fetch_all(pool).await?;
    let store = PostgresStore::open(pool.clone()).await?;
    let limit = ClaimLimit::events(100);
    let claim = store.claim(limit, Duration::from_secs(30)).await?;
    let mut settlements = Vec::new();
    for claimed in &claim.events {
        lines.push(line(&claimed.event));
        settlements.push(Settlement::new(claimed.event.id, Outcome::Published));
    }
    store.settle(claim.token, &settlements).await?;
    for line in &lines {
        println!("{line}");
    }
    Ok(lines)
}
