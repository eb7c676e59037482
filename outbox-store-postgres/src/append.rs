//! The producer's side: events into the application's own transaction.

use outbox_core::{ErrorKind, Event, Headers, OutboxError};
use outbox_driver_postgres::{PgTime, PgUuid, Schema, postgres_error};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, SqlStr};

const APPEND: &str = "append";

/// Appends `events` to the outbox in `schema` inside the caller's transaction, all or none, in one
/// statement.
///
/// They are published once the transaction commits, and never if it rolls back. Events of one
/// ordering key are published in the order of the appends if their writers take turns, such as by
/// a lock on the row that the key stands for. As any failed statement, a refused append ends the
/// transaction; set a savepoint before it to go on.
///
/// # Errors
///
/// [`Duplicate`](ErrorKind::Duplicate) if an id or an idempotency token is taken,
/// [`Invalid`](ErrorKind::Invalid) if a field is outside the limits of [`Event::validate`] or a payload
/// is larger than 1,000,000,000 bytes, [`Unavailable`](ErrorKind::Unavailable) if the server is lost.
///
/// # Cancel safety
///
/// If the future is dropped the caller's transaction must be rolled back.
pub async fn append(
    connection: &mut PgConnection,
    schema: &Schema,
    events: &[Event],
) -> Result<(), OutboxError> {
    insert(connection, schema, events, true).await
}

/// As [`append`], on a connection that goes through PgBouncer in transaction mode: it leaves no
/// prepared statement behind. The caller's transaction must have begun, as two statements that
/// are not in one may reach two servers.
///
/// # Errors
///
/// As [`append`].
///
/// # Cancel safety
///
/// As [`append`].
pub async fn append_through_pgbouncer(
    connection: &mut PgConnection,
    schema: &Schema,
    events: &[Event],
) -> Result<(), OutboxError> {
    insert(connection, schema, events, false).await
}

async fn insert(
    connection: &mut PgConnection,
    schema: &Schema,
    events: &[Event],
    is_prepared: bool,
) -> Result<(), OutboxError> {
    if events.is_empty() {
        return Ok(());
    }
    events.iter().try_for_each(Event::validate)?;
    let headers: Vec<Option<String>> = events
        .iter()
        .map(|event| headers_to_json(&event.headers))
        .collect::<Result<_, _>>()?;
    let query = if let [event] = events {
        one(schema, event, headers.into_iter().flatten().next())
    } else {
        many(schema, events, headers)
    };
    query
        .persistent(is_prepared)
        .execute(connection)
        .await
        .map(drop)
        .map_err(postgres_error(APPEND))
}

fn one<'e>(
    schema: &Schema,
    event: &'e Event,
    headers: Option<String>,
) -> Query<'e, Postgres, PgArguments> {
    sqlx::query(in_schema(schema, include_str!("sql/append_one.sql")))
        .bind(PgUuid(*event.id.as_uuid()))
        .bind(event.event_type.as_str())
        .bind(&event.payload[..])
        .bind(event.content_type.as_str())
        .bind(headers)
        .bind(event.ordering_key.as_deref())
        .bind(event.idempotency_token.as_deref())
        .bind(PgTime(event.created_at))
        .bind(event.available_at.map(PgTime))
}

fn many<'e>(
    schema: &Schema,
    events: &'e [Event],
    headers: Vec<Option<String>>,
) -> Query<'e, Postgres, PgArguments> {
    sqlx::query(in_schema(schema, include_str!("sql/append.sql")))
        .bind(each(events, |event| PgUuid(*event.id.as_uuid())))
        .bind(each(events, |event| event.event_type.as_str()))
        .bind(each(events, |event| &event.payload[..]))
        .bind(each(events, |event| event.content_type.as_str()))
        .bind(headers)
        .bind(each(events, |event| event.ordering_key.as_deref()))
        .bind(each(events, |event| event.idempotency_token.as_deref()))
        .bind(each(events, |event| PgTime(event.created_at)))
        .bind(each(events, |event| event.available_at.map(PgTime)))
}

fn in_schema(schema: &Schema, text: &'static str) -> SqlStr {
    if *schema == Schema::default() {
        SqlStr::from_static(text)
    } else {
        schema.sql(text)
    }
}

fn each<'e, T>(events: &'e [Event], column: impl Fn(&'e Event) -> T) -> Vec<T> {
    events.iter().map(column).collect()
}

/// Headers as the object of strings that the column holds; without any it is empty.
fn headers_to_json(headers: &Headers) -> Result<Option<String>, OutboxError> {
    if headers.is_empty() {
        return Ok(None);
    }
    let json = serde_json::to_string(headers).map_err(|error| {
        OutboxError::new(ErrorKind::Invalid, "postgres", APPEND).with_source(error)
    })?;
    Ok(Some(json))
}
