//! The shop on diesel: each order and its event in one transaction.
//!
//! ```console
//! $ DATABASE_URL=postgres://me@db.example/shop cargo run -p outbox-append-diesel --example shop-diesel
//! ```

mod on_postgres;
pub(crate) mod order;

use diesel::prelude::*;
use diesel::result::Error;
use order::{Failure, ORDERS, Order};
use outbox_append_diesel::{Schema, append};

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
    let mut shop = PgConnection::establish(url)?;
    for order in &ORDERS {
        let placed = place(&mut shop, order);
        if order.is_paid {
            placed?;
        }
    }
    on_postgres::show(&pool).await
}

/// An error rolls the transaction back, also that of an order that is not paid.
fn place(shop: &mut PgConnection, order: &Order) -> Result<(), Failure> {
    shop.transaction(|shop| {
        use tables::shop_orders::{self, customer, total};
        let row = (customer.eq(order.customer), total.eq(order.total));
        diesel::insert_into(shop_orders::table)
            .values(row)
            .execute(shop)?;
        append(shop, &Schema::default(), &[order.placed()])?;
        if order.is_paid {
            Ok(())
        } else {
            Err(Error::RollbackTransaction.into())
        }
    })
}
