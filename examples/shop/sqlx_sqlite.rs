//! The shop on sqlx 0.9 with SQLite: each order and its event in one transaction.
//!
//! ```console
//! $ cd outbox-append-sqlx-sqlite
//! $ DATABASE_URL=shop.db cargo run --example shop-sqlx-sqlite
//! ```
#![allow(
    clippy::disallowed_methods,
    reason = "nothing drops the future that starts the transaction"
)]

mod on_sqlite;
pub(crate) mod order;

use order::{Failure, ORDERS, Order};
use outbox_append_sqlx_sqlite::append;
use outbox_append_sqlx_sqlite::sqlx::sqlite::SqliteConnectOptions;
use outbox_append_sqlx_sqlite::sqlx::{self, SqlitePool};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    run(&order::url()?).await.map(drop)
}

pub(crate) async fn run(path: &str) -> Result<Vec<String>, Failure> {
    let store = on_sqlite::prepare(path).await?;
    let options = SqliteConnectOptions::new().filename(path);
    let shop = SqlitePool::connect_with(options).await?;
    for order in &ORDERS {
        place(&shop, order).await?;
    }
    shop.close().await;
    on_sqlite::show(path, &store).await
}

async fn place(shop: &SqlitePool, order: &Order) -> Result<(), Failure> {
    let mut transaction = shop.begin_with("BEGIN IMMEDIATE").await?;
    let insert = sqlx::query("INSERT INTO shop_orders (customer, total) VALUES (?, ?)");
    let insert = insert.bind(order.customer).bind(order.total);
    insert.execute(&mut *transaction).await?;
    append(&mut transaction, &[order.placed()]).await?;
    if order.is_paid {
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    Ok(())
}
