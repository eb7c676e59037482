//! What `append` of each data layer costs compared with the layer's own INSERT of the same bytes, in one run
//! on one server.
//!
//! ```console
//! $ cargo run --release    # needs the installed programs of PostgreSQL
//! ```
//!
//! Both sides insert by turns on one connection, a transaction for each call: `append` into the outbox, the
//! layer into a table that is the same. Figures of one run compare; figures of two runs do not. sqlx 0.8 and
//! SeaORM have such a program in their own workspaces.

mod compare;
mod diesel_async_layer;
mod diesel_layer;
mod sqlx_layer;
mod tokio_postgres_layer;

use compare::{Failure, Place};

/// What sqlx 0.9 has and 0.8 has not, and the other way round.
mod ours {
    pub(crate) use outbox_driver_postgres::{PgTime, PgUuid};
    pub(crate) use outbox_store_postgres::{append, sqlx};

    pub(crate) const NAME: &str = "sqlx 0.9";
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let place = Place::start().await?;
    let url = place.url();
    place.compare(sqlx_layer::connect(url).await?).await?;
    let prepared = tokio_postgres_layer::prepare(url).await?;
    place.compare(prepared).await?;
    let unprepared = tokio_postgres_layer::connect(url).await?;
    place.compare(unprepared).await?;
    place.compare(diesel_layer::connect(url)?).await?;
    place.compare(diesel_async_layer::connect(url).await?).await
    // Another layer is a file with a type that implements `Layer`, and a line here.
}
