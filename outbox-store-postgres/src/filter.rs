//! The filter of dead letters, as conditions of a `WHERE`.

use outbox_core::{DeadLetterFilter, EventId};
use outbox_driver_postgres::{PgTime, PgUuid};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{Postgres, SqlStr};

/// Statements have this text where the conditions belong. They are valid without the conditions.
const MARK: &str = "/* and the filter */";

/// The text of a statement, with the conditions where it asks for them.
pub(crate) fn with_conditions(statement: &str) -> String {
    statement.replace(MARK, include_str!("sql/filter.sql"))
}

/// A statement with the values of the filter, which are its first five parameters.
pub(crate) fn query<'q>(
    statement: &SqlStr,
    filter: &DeadLetterFilter,
) -> Query<'q, Postgres, PgArguments> {
    let uuid = |id: &EventId| PgUuid(*id.as_uuid());
    let ids = filter.ids.as_ref();
    let ids: Option<Vec<PgUuid>> = ids.map(|ids| ids.iter().map(uuid).collect());
    sqlx::query(statement.clone())
        .bind(ids)
        .bind(filter.event_type.clone())
        .bind(filter.ordering_key.clone())
        .bind(filter.error_contains.clone())
        .bind(filter.before.map(PgTime))
}
