//! What `append` costs compared with the INSERT of SeaORM itself: the program of `benches/append`, which measures
//! the layers that fit into one lock file.
//!
//! ```console
//! $ cargo bench --bench insert    # needs the installed programs of PostgreSQL
//! ```

#[path = "../../benches/append/src/compare.rs"]
mod compare;

use compare::{Failure, Layer, Place};
use outbox_append_sea_orm::sea_orm::{
    ConnectOptions, Database, DatabaseConnection, EntityTrait, Set, TransactionTrait,
};
use outbox_append_sea_orm::{Schema, append};
use outbox_core::Event;
use std::time::SystemTime;

/// The table as an entity.
mod same {
    use outbox_append_sea_orm::sea_orm;
    use outbox_append_sea_orm::sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "same")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) id: Uuid,
        pub(crate) event_type: String,
        pub(crate) payload: Vec<u8>,
        pub(crate) content_type: String,
        pub(crate) headers: Option<String>,
        pub(crate) ordering_key: Option<String>,
        pub(crate) idempotency_token: Option<String>,
        pub(crate) created_at: TimeDateTimeWithTimeZone,
        pub(crate) available_at: Option<TimeDateTimeWithTimeZone>,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

struct SeaOrm(DatabaseConnection);

impl Layer for SeaOrm {
    const NAME: &'static str = "SeaORM 2";
    const WAYS: &'static [&'static str] = &["append", "insert, insert_many"];

    async fn insert(&mut self, way: usize, events: &[Event]) -> Result<(), Failure> {
        let mut transaction = self.0.begin().await?;
        match (way, events) {
            (0, events) => append(&mut transaction, &Schema::default(), events).await?,
            (_, [event]) => {
                let insert = same::Entity::insert(row(event));
                insert.exec_without_returning(&transaction).await?;
            }
            (_, events) => {
                let insert = same::Entity::insert_many(events.iter().map(row));
                insert.exec_without_returning(&transaction).await?;
            }
        }
        Ok(transaction.commit().await?)
    }
}

fn row(event: &Event) -> same::ActiveModel {
    same::ActiveModel {
        id: Set(*event.id.as_uuid()),
        event_type: Set(event.event_type.clone()),
        payload: Set(event.payload.to_vec()),
        content_type: Set(event.content_type.clone()),
        headers: Set(None),
        ordering_key: Set(event.ordering_key.clone()),
        idempotency_token: Set(event.idempotency_token.clone()),
        created_at: Set(SystemTime::into(event.created_at)),
        available_at: Set(event.available_at.map(SystemTime::into)),
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let place = Place::start().await?;
    let mut options = ConnectOptions::new(place.url());
    options.max_connections(1).sqlx_logging(false);
    let layer = SeaOrm(Database::connect(options).await?);
    place.compare(layer).await
}
