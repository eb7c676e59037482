#![doc = include_str!("../README.md")]

use outbox_append_sqlite::{INSERT, Row, SqliteError, rows};
use outbox_core::{ErrorKind, Event, OutboxError};
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Connection, Sqlite, SqliteConnection, Transaction};

pub use sqlx;

/// Appends `events` to the outbox in the caller's transaction: all or none.
///
/// The events are published once the transaction commits, and never if it rolls back. After an error the
/// transaction is usable and contains none of `events`.
///
/// Start the transaction with `begin_with("BEGIN IMMEDIATE")`: a transaction that reads first and then writes
/// fails if another connection has written in between.
///
/// ```no_run
/// # use outbox_append_sqlx_sqlite::{append, sqlx::{Executor, Sqlite, Transaction}};
/// # use outbox_core::Event;
/// # async fn example(mut transaction: Transaction<'_, Sqlite>) -> Result<(), Box<dyn std::error::Error>> {
/// transaction.execute("INSERT INTO orders (id) VALUES (7)").await?;
/// append(&mut transaction, &[Event::new("order.placed", "7").ordering_key("order-7")]).await?;
/// transaction.commit().await?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`Duplicate`](ErrorKind::Duplicate) if an id or an idempotency token is taken.
/// [`Invalid`](ErrorKind::Invalid) if a field is outside the limits of [`Event::validate`], a payload is larger
/// than SQLite allows (1 GB), or the file was not migrated.
/// [`Unavailable`](ErrorKind::Unavailable) if the file is locked or the disk fails.
/// The source is the [`sqlx::Error`].
///
/// # Cancel safety
///
/// If the future is dropped, the caller must roll its transaction back.
pub async fn append(
    transaction: &mut Transaction<'_, Sqlite>,
    events: &[Event],
) -> Result<(), OutboxError> {
    let rows = rows(events)?;
    if rows.is_empty() {
        return Ok(());
    }
    insert(transaction, &rows).await.map_err(explained)
}

#[allow(
    clippy::disallowed_methods,
    reason = "a savepoint in the transaction of the caller, which rolls back if this is cancelled"
)]
async fn insert(connection: &mut SqliteConnection, rows: &[Row<'_>]) -> Result<(), sqlx::Error> {
    // It rolls back when it is dropped.
    let mut savepoint = connection.begin().await?;
    for row in rows {
        statement(row).execute(&mut *savepoint).await?;
    }
    savepoint.commit().await
}

fn statement<'r>(row: &'r Row<'_>) -> Query<'r, Sqlite, SqliteArguments> {
    sqlx::query(INSERT)
        .bind(row.id)
        .bind(row.event_type)
        .bind(row.payload)
        .bind(row.content_type)
        .bind(&row.headers)
        .bind(row.ordering_key)
        .bind(row.idempotency_token)
        .bind(row.created_at)
        .bind(row.available_at)
}

fn explained(error: sqlx::Error) -> OutboxError {
    let found = match error.as_database_error() {
        Some(error) => SqliteError {
            code: error.code().and_then(|code| code.parse().ok()),
            message: error.message(),
        }
        .explain(),
        None => OutboxError::new(kind(&error), "sqlite", "append"),
    };
    found.with_source(error)
}

/// The kind of an error that is not of SQLite: values that cannot be sent, or the connection.
fn kind(error: &sqlx::Error) -> ErrorKind {
    match error {
        sqlx::Error::Encode(_) => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    }
}
