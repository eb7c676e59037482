#![doc = include_str!("../README.md")]

mod appender;

pub use appender::Appender;

use outbox_append_postgres::{Bind, ServerError, insert};
use outbox_core::{ErrorKind, Event, OutboxError};
use std::error::Error as _;
use std::io;
use tokio_postgres::Transaction;
use tokio_postgres::types::{ToSql, Type};

pub use outbox_append_postgres::Schema;
pub use tokio_postgres;

const APPEND: &str = "append";

/// Appends `events` to the outbox in `schema`, in the caller's transaction: all or none, with one statement
/// and one round trip. The statement is not prepared, so it also works through PgBouncer in transaction mode. An
/// [`Appender`] prepares it.
///
/// The events are published once the transaction commits, and never if it rolls back. Events of one
/// ordering key are published in the order of the appends if their writers take turns, for example
/// because each locks the row that the key stands for. Like any failed statement, a refused append
/// ends the transaction; set a savepoint before it to continue. An event that is
/// [`Invalid`](ErrorKind::Invalid) because of its fields is not sent, and ends nothing.
///
/// ```no_run
/// # use outbox_append_tokio_postgres::{Schema, append, tokio_postgres::Client};
/// # use outbox_core::Event;
/// # async fn example(client: &mut Client) -> Result<(), Box<dyn std::error::Error>> {
/// let mut transaction = client.transaction().await?;
/// transaction.execute("INSERT INTO orders (id) VALUES (7)", &[]).await?;
/// let events = [Event::new("order.placed", "7").ordering_key("order-7")];
/// append(&mut transaction, &Schema::default(), &events).await?;
/// transaction.commit().await?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`Duplicate`](ErrorKind::Duplicate) if an id or an idempotency token is taken.
/// [`Invalid`](ErrorKind::Invalid) if a field is outside the limits of [`Event::validate`], a payload
/// is larger than 1,000,000,000 bytes, the events of the call are larger than 2 GiB, or the tables are
/// missing. [`Unavailable`](ErrorKind::Unavailable) if the connection is lost.
/// The source is the [`tokio_postgres::Error`].
///
/// # Cancel safety
///
/// If the future is dropped, the caller must roll its transaction back.
pub async fn append(
    transaction: &mut Transaction<'_>,
    schema: &Schema,
    events: &[Event],
) -> Result<(), OutboxError> {
    let Some(insert) = insert(schema, events)? else {
        return Ok(());
    };
    let values: Vec<(&(dyn ToSql + Sync), Type)> = insert.binds.iter().map(value).collect();
    let done = transaction.execute_typed(&insert.sql, &values).await;
    done.map(drop).map_err(explained)
}

fn value<'b>(bind: &'b Bind<'_>) -> (&'b (dyn ToSql + Sync), Type) {
    match bind {
        Bind::Uuid(id) => (id, Type::UUID),
        Bind::Text(text) => (text, Type::TEXT),
        Bind::Bytes(bytes) => (bytes, Type::BYTEA),
        // The driver writes microseconds too. `insert` has checked that they are within the calendar.
        Bind::Time(time) => (time, Type::TIMESTAMPTZ),
        Bind::Uuids(ids) => (ids, Type::UUID_ARRAY),
        Bind::Texts(texts) => (texts, Type::TEXT_ARRAY),
        Bind::ByteArrays(arrays) => (arrays, Type::BYTEA_ARRAY),
        Bind::Times(times) => (times, Type::TIMESTAMPTZ_ARRAY),
    }
}

fn explained(error: tokio_postgres::Error) -> OutboxError {
    let found = match error.as_db_error() {
        Some(error) => ServerError {
            code: Some(error.code().code()),
            message: error.message(),
            detail: error.detail(),
            hint: error.hint(),
            context: error.where_(),
        }
        .explain(APPEND),
        None => OutboxError::new(kind(&error), "postgres", APPEND),
    };
    found.with_source(error)
}

/// The kind of an error that is not of the server: values that are too large to send, or the connection.
fn kind(error: &tokio_postgres::Error) -> ErrorKind {
    let Some(source) = error.source() else {
        return ErrorKind::Unavailable;
    };
    match source.downcast_ref::<io::Error>() {
        Some(error) if error.kind() != io::ErrorKind::InvalidInput => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    }
}
