//! The shop on diesel-async: each order and its event in one transaction.
//!
//! ```console
//! $ DATABASE_URL=postgres://me@db.example/shop cargo run -p outbox-append-diesel-async \
//!       --example shop-diesel-async
//! ```

mod on_postgres;
pub(crate) mod order;

use diesel::{ExpressionMethods as _, result::Error};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use order::{Failure, ORDERS, Order};
use outbox_append_diesel_async::{Schema, append};

mod tables {
    diesel::table! {
        shop_orders (id) { id -> BigInt, customer -> Text, total -> BigInt, }
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    run(&order::url()?).await.map(drop)
}

pub(crate) async fn run(url: &str) -> Result<Vec<String>, Failure> {
    let pool = on_postgres::prepare(url).await?;
    let mut shop = AsyncPgConnection::establish(url).await?;
    for order in &ORDERS {
        let placed = place(&mut shop, order).await;
        if order.is_paid {
            placed?;
        }
    }
    on_postgres::show(&pool).await
}

/// An error rolls the transaction back, also that of an order that is not paid.
async fn place(shop: &mut AsyncPgConnection, order: &Order) -> Result<(), Failure> {
    shop.transaction(async |shop| -> Result<(), Failure> {
        use tables::shop_orders::{self, customer, total};
        let row = (customer.eq(order.customer), total.eq(order.total));
        diesel::insert_into(shop_orders::table)
            .values(row)
            .execute(shop)
            .await?;
        append(shop, &Schema::default(), &[order.placed()]).await?;
        if order.is_paid {
            Ok(())
        } else {
            Err(Error::RollbackTransaction.into())
        }
    })
    .await
}
