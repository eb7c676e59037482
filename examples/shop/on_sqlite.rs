//! The tables of the shop on SQLite, and what is in them.

use super::order::{Failure, line};
use outbox_core::{ClaimLimit, OutboxStorage, Outcome, Settlement};
use outbox_store_sqlite::SqliteStore;
use outbox_store_sqlite::rusqlite::Connection;
use std::time::Duration;

/// Creates the tables of the shop and of the outbox.
pub(crate) async fn prepare(path: &str) -> Result<SqliteStore, Failure> {
    let store = SqliteStore::migrate(path).await?;
    let orders = "CREATE TABLE IF NOT EXISTS shop_orders (
        id INTEGER PRIMARY KEY, customer TEXT NOT NULL, total INTEGER NOT NULL) STRICT";
    Connection::open(path)?.execute_batch(orders)?;
    Ok(store)
}

/// Prints the orders, and the events that arrived in the outbox; settles these, as a relay does.
pub(crate) async fn show(path: &str, store: &SqliteStore) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    Connection::open(path)?
        .prepare("SELECT 'order of ' || customer || ': ' || total FROM shop_orders ORDER BY id")?
        .query_map([], |row| row.get(0))?
        .try_for_each(|line| line.map(|line| lines.push(line)))?;
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
