#![doc = include_str!("../README.md")]

mod error;
mod value;

use error::{explained, wrong_backend};
use outbox_append_postgres::insert;
use outbox_core::{Event, OutboxError};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, Statement};
use value::value;

pub use outbox_append_postgres::Schema;
pub use sea_orm;

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
/// # use outbox_append_sea_orm::{Schema, append};
/// # use outbox_append_sea_orm::sea_orm::{ConnectionTrait, DatabaseTransaction};
/// # use outbox_core::Event;
/// # async fn example(mut transaction: DatabaseTransaction) -> Result<(), Box<dyn std::error::Error>> {
/// transaction.execute_unprepared("INSERT INTO orders (id) VALUES (7)").await?;
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
/// is larger than 1,000,000,000 bytes, the tables are missing, or the database is not PostgreSQL.
/// [`Unavailable`](outbox_core::ErrorKind::Unavailable) if the connection is lost.
/// The source is the [`sea_orm::DbErr`].
///
/// # Cancel safety
///
/// If the future is dropped, the caller must roll its transaction back.
pub async fn append(
    transaction: &mut DatabaseTransaction,
    schema: &Schema,
    events: &[Event],
) -> Result<(), OutboxError> {
    let backend = transaction.get_database_backend();
    if backend != DbBackend::Postgres {
        return Err(wrong_backend(backend));
    }
    let Some(insert) = insert(schema, events)? else {
        return Ok(());
    };
    let values = insert.binds.into_iter().map(value);
    let statement = Statement::from_sql_and_values(backend, insert.sql, values);
    let done = transaction.execute_raw(statement).await;
    done.map(drop).map_err(explained)
}
