//! The shop on diesel with SQLite: each order and its event in one transaction.
//!
//! ```console
//! $ cd outbox-append-diesel-sqlite
//! $ DATABASE_URL=shop.db cargo run --example shop-diesel-sqlite
//! ```

mod on_sqlite;
pub(crate) mod order;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::result::Error;
use order::{Failure, ORDERS, Order};
use outbox_append_diesel_sqlite::append;

mod tables {
    diesel::table! {
        shop_orders (id) { id -> BigInt, customer -> Text, total -> BigInt, }
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    run(&order::url()?).await.map(drop)
}

pub(crate) async fn run(path: &str) -> Result<Vec<String>, Failure> {
    let store = on_sqlite::prepare(path).await?;
    let mut shop = SqliteConnection::establish(path)?;
    shop.batch_execute("PRAGMA busy_timeout = 5000")?;
    for order in &ORDERS {
        let placed = place(&mut shop, order);
        if order.is_paid {
            placed?;
        }
    }
    on_sqlite::show(path, &store).await
}

/// An error rolls the transaction back, also that of an order that is not paid.
fn place(shop: &mut SqliteConnection, order: &Order) -> Result<(), Failure> {
    shop.immediate_transaction(|shop| {
        use tables::shop_orders::{self, customer, total};
        let row = (customer.eq(order.customer), total.eq(order.total));
        diesel::insert_into(shop_orders::table)
            .values(row)
            .execute(shop)?;
        append(shop, &[order.placed()])?;
        if order.is_paid {
            Ok(())
        } else {
            Err(Error::RollbackTransaction.into())
        }
    })
}
