//! The shop on SeaORM 2: each order and its event in one transaction.
//!
//! ```console
//! $ cd outbox-append-sea-orm
//! $ DATABASE_URL=postgres://me@db.example/shop cargo run --example shop-sea-orm
//! ```

mod on_postgres;
pub(crate) mod order;

use order::{Failure, ORDERS, Order};
use outbox_append_sea_orm::sea_orm::{
    ActiveModelTrait, Database, DatabaseConnection, Set, TransactionTrait,
};
use outbox_append_sea_orm::{Schema, append};

mod shop_orders {
    use outbox_append_sea_orm::sea_orm;
    use outbox_append_sea_orm::sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "shop_orders")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i64,
        pub(crate) customer: String,
        pub(crate) total: i64,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    run(&order::url()?).await.map(drop)
}

pub(crate) async fn run(url: &str) -> Result<Vec<String>, Failure> {
    let pool = on_postgres::prepare(url).await?;
    let shop = Database::connect(url).await?;
    for order in &ORDERS {
        place(&shop, order).await?;
    }
    shop.close().await?;
    on_postgres::show(&pool).await
}

async fn place(shop: &DatabaseConnection, order: &Order) -> Result<(), Failure> {
    let mut transaction = shop.begin().await?;
    let row = shop_orders::ActiveModel {
        customer: Set(order.customer.to_owned()),
        total: Set(order.total),
        ..Default::default()
    };
    row.insert(&transaction).await?;
    append(&mut transaction, &Schema::default(), &[order.placed()]).await?;
    if order.is_paid {
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    Ok(())
}
