#![doc = include_str!("../README.md")]

mod error;
mod value;

use error::explained;
use outbox_append_postgres::{Bind, insert};
use outbox_core::{Event, OutboxError};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Transaction};
use value::{PgTime, PgUuid};

pub use outbox_append_postgres::Schema;
pub use sqlx;

/// Appends `events` to the outbox in `schema`, in the caller's transaction: all or none, with one statement.
/// A connection prepares the statement once; later calls on it are one round trip.
///
/// The events are published once the transaction commits, and never if it rolls back. Events of one
/// ordering key are published in the order of the appends if their writers take turns, for example
/// because each locks the row that the key stands for. Like any failed statement, a refused append
/// ends the transaction; start a nested one before it to continue. An event that is
/// [`Invalid`](outbox_core::ErrorKind::Invalid) because of its fields is not sent, and ends nothing.
///
/// ```no_run
/// # use outbox_append_sqlx_0_8::{Schema, append, sqlx::{Executor, Postgres, Transaction}};
/// # use outbox_core::Event;
/// # async fn example(mut transaction: Transaction<'_, Postgres>) -> Result<(), Box<dyn std::error::Error>> {
/// transaction.execute("INSERT INTO orders (id) VALUES (7)").await?;
/// let events = [Event::new("order.placed", "7").ordering_key("order-7")];
/// append(&mut transaction, &Schema::default(), &events).await?;
/// transaction.commit().await?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`Duplicate`](outbox_core::ErrorKind::Duplicate) if an id or an idempotency token is taken.
/// [`Invalid`](outbox_core::ErrorKind::Invalid) if a field is outside the limits of [`Event::validate`], a payload
/// is larger than 1,000,000,000 bytes, or the tables are missing.
/// [`Unavailable`](outbox_core::ErrorKind::Unavailable) if the connection is lost.
/// The source is the [`sqlx::Error`].
///
/// # Cancel safety
///
/// If the future is dropped, the caller must roll its transaction back.
pub async fn append(
    transaction: &mut Transaction<'_, Postgres>,
    schema: &Schema,
    events: &[Event],
) -> Result<(), OutboxError> {
    run(transaction, schema, events, true).await
}

/// As [`append`], but no prepared statement stays on the connection, for PgBouncer in transaction mode. Each call
/// is two round trips.
///
/// # Errors
///
/// Those of [`append`].
///
/// # Cancel safety
///
/// If the future is dropped, the caller must roll its transaction back.
pub async fn append_through_pgbouncer(
    transaction: &mut Transaction<'_, Postgres>,
    schema: &Schema,
    events: &[Event],
) -> Result<(), OutboxError> {
    run(transaction, schema, events, false).await
}

async fn run(
    connection: &mut PgConnection,
    schema: &Schema,
    events: &[Event],
    is_prepared: bool,
) -> Result<(), OutboxError> {
    let Some(insert) = insert(schema, events)? else {
        return Ok(());
    };
    let statement = insert
        .binds
        .into_iter()
        .fold(sqlx::query(&insert.sql), bind)
        .persistent(is_prepared);
    let done = statement.execute(connection).await;
    done.map(drop).map_err(explained)
}

type Statement<'q> = Query<'q, Postgres, PgArguments>;

fn bind<'q>(statement: Statement<'q>, value: Bind<'q>) -> Statement<'q> {
    match value {
        Bind::Uuid(id) => statement.bind(PgUuid(id)),
        Bind::Text(text) => statement.bind(text),
        Bind::Bytes(bytes) => statement.bind(bytes),
        Bind::Time(time) => statement.bind(time.map(PgTime)),
        Bind::Uuids(ids) => statement.bind(each(ids, PgUuid)),
        Bind::Texts(texts) => statement.bind(texts),
        Bind::ByteArrays(arrays) => statement.bind(arrays),
        Bind::Times(times) => statement.bind(each(times, |time| time.map(PgTime))),
    }
}

fn each<T, U>(values: Vec<T>, wrap: impl Fn(T) -> U) -> Vec<U> {
    values.into_iter().map(wrap).collect()
}
