//! What `append` costs compared with the INSERT of sqlx 0.8 itself: the program of `benches/append`, which measures
//! the layers that fit into one lock file.
//!
//! ```console
//! $ cargo bench --bench insert    # needs the installed programs of PostgreSQL
//! ```
#![allow(
    clippy::disallowed_methods,
    reason = "the transactions are those of an application"
)]

#[path = "../../benches/append/src/compare.rs"]
mod compare;
#[path = "../../benches/append/src/sqlx_layer.rs"]
mod sqlx_layer;
#[path = "../src/value.rs"]
mod value;

use compare::{Failure, Place};

/// What sqlx 0.8 has and 0.9 has not, and the other way round.
mod ours {
    pub(crate) use crate::value::{PgTime, PgUuid};
    pub(crate) use outbox_append_sqlx_0_8::sqlx;
    use outbox_append_sqlx_0_8::{Schema, append as append_to};
    use outbox_core::{Event, OutboxError};
    use sqlx::{Postgres, Transaction};

    pub(crate) const NAME: &str = "sqlx 0.8";

    pub(crate) async fn append(
        transaction: &mut Transaction<'_, Postgres>,
        events: &[Event],
    ) -> Result<(), OutboxError> {
        append_to(transaction, &Schema::default(), events).await
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let place = Place::start().await?;
    let layer = sqlx_layer::connect(place.url()).await?;
    place.compare(layer).await
}
