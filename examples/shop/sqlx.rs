//! The shop on sqlx 0.9: each order and its event in one transaction.
//!
//! ```console
//! $ DATABASE_URL=postgres://me@db.example/shop cargo run -p outbox-store-postgres --example shop-sqlx
//! ```
#![allow(
    clippy::disallowed_methods,
    reason = "nothing drops the future that starts the transaction"
)]

mod on_postgres;
pub(crate) mod order;

use order::{Failure, ORDERS, Order};
use outbox_store_postgres::append;
use outbox_store_postgres::sqlx::{self, PgPool};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    run(&order::url()?).await.map(drop)
}

pub(crate) async fn run(url: &str) -> Result<Vec<String>, Failure> {
    let shop = on_postgres::prepare(url).await?;
    for order in &ORDERS {
        place(&shop, order).await?;
    }
    on_postgres::show(&shop).await
}

async fn place(shop: &PgPool, order: &Order) -> Result<(), Failure> {
    let mut transaction = shop.begin().await?;
    let insert = sqlx::query("INSERT INTO shop_orders (customer, total) VALUES ($1, $2)");
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
