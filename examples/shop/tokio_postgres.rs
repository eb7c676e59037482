//! The shop on tokio-postgres: each order and its event in one transaction.
//!
//! ```console
//! $ DATABASE_URL=postgres://me@db.example/shop \
//!       cargo run -p outbox-append-tokio-postgres --example shop-tokio-postgres
//! ```

mod on_postgres;
pub(crate) mod order;

use order::{Failure, ORDERS, Order};
use outbox_append_tokio_postgres::tokio_postgres::{self, Client, NoTls};
use outbox_append_tokio_postgres::{Schema, append};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    run(&order::url()?).await.map(drop)
}

pub(crate) async fn run(url: &str) -> Result<Vec<String>, Failure> {
    let pool = on_postgres::prepare(url).await?;
    let (mut shop, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    for order in &ORDERS {
        place(&mut shop, order).await?;
    }
    on_postgres::show(&pool).await
}

async fn place(shop: &mut Client, order: &Order) -> Result<(), Failure> {
    let mut transaction = shop.transaction().await?;
    let insert = "INSERT INTO shop_orders (customer, total) VALUES ($1, $2)";
    transaction
        .execute(insert, &[&order.customer, &order.total])
        .await?;
    append(&mut transaction, &Schema::default(), &[order.placed()]).await?;
    if order.is_paid {
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    Ok(())
}
