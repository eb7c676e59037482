//! The shop on rusqlite: each order and its event in one transaction.
//!
//! ```console
//! $ DATABASE_URL=shop.db cargo run -p outbox-store-sqlite --example shop-rusqlite
//! ```

mod on_sqlite;
pub(crate) mod order;

use order::{Failure, ORDERS, Order};
use outbox_store_sqlite::append;
use outbox_store_sqlite::rusqlite::{Connection, TransactionBehavior};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    run(&order::url()?).await.map(drop)
}

pub(crate) async fn run(path: &str) -> Result<Vec<String>, Failure> {
    let store = on_sqlite::prepare(path).await?;
    let mut shop = Connection::open(path)?;
    for order in &ORDERS {
        place(&mut shop, order)?;
    }
    on_sqlite::show(path, &store).await
}

fn place(shop: &mut Connection, order: &Order) -> Result<(), Failure> {
    let transaction = shop.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let insert = "INSERT INTO shop_orders (customer, total) VALUES (?, ?)";
    transaction.execute(insert, (order.customer, order.total))?;
    append(&transaction, &[order.placed()])?;
    if order.is_paid {
        transaction.commit()?;
    } else {
        transaction.rollback()?;
    }
    Ok(())
}
