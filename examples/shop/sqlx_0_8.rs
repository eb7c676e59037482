//! The shop on sqlx 0.8: each order and its event in one transaction.
//!
//! ```console
//! $ cd outbox-append-sqlx-0-8
//! $ DATABASE_URL=postgres://me@db.example/shop cargo run --example shop-sqlx-0-8
//! ```
#![allow(
    clippy::disallowed_methods,
    reason = "nothing drops the future that starts the transaction"
)]

mod on_postgres;
pub(crate) mod order;

use order::{Failure, ORDERS, Order};
use outbox_append_sqlx_0_8::sqlx::{self, PgPool};
use outbox_append_sqlx_0_8::{Schema, append};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    run(&order::url()?).await.map(drop)
}

pub(crate) async fn run(url: &str) -> Result<Vec<String>, Failure> {
    let pool = on_postgres::prepare(url).await?;
    let shop = PgPool::connect(url).await?;
    for order in &ORDERS {
        place(&shop, order).await?;
    }
    on_postgres::show(&pool).await
}

async fn place(shop: &PgPool, order: &Order) -> Result<(), Failure> {
    let mut transaction = shop.begin().await?;
    let insert = sqlx::query("INSERT INTO shop_orders (customer, total) VALUES ($1, $2)");
    let insert = insert.bind(order.customer).bind(order.total);
    insert.execute(&mut *transaction).await?;
    append(&mut transaction, &Schema::default(), &[order.placed()]).await?;
    if order.is_paid {
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    Ok(())
}
