//! The producer's side: events in the transaction of the application.

use outbox_append_sqlite::{INSERT, Row, rows};
use outbox_core::{ErrorKind, Event, OutboxError};
use outbox_driver_sqlite::sqlite_error;
use rusqlite::{Connection, Error, Transaction, ffi};

const APPEND: &str = "append";

/// Appends `events` to the outbox in the transaction of the caller, all or none.
///
/// They are published after the transaction commits, and never if it rolls back. After an error the
/// transaction is usable and contains none of `events`.
///
/// Start the transaction with `transaction_with_behavior(TransactionBehavior::Immediate)`: a transaction
/// that reads first and then writes fails if another process has written in between. Set a busy timeout on
/// the connection (`Connection::busy_timeout`), so that it waits for other writers.
///
/// ```no_run
/// # use outbox_core::Event;
/// # use outbox_store_sqlite::{append, rusqlite};
/// # fn example(shop: &mut rusqlite::Connection) -> Result<(), Box<dyn std::error::Error>> {
/// let tx = shop.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
/// tx.execute("INSERT INTO orders (id) VALUES (7)", [])?;
/// append(&tx, &[Event::new("order.placed", "7").ordering_key("order-7")])?;
/// tx.commit()?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`Duplicate`](ErrorKind::Duplicate) if an id or an idempotency token is taken.
/// [`Invalid`](ErrorKind::Invalid) if a field exceeds the limits of [`Event::validate`], if a payload is
/// larger than SQLite allows (1 GB), or if the file was not migrated.
/// [`Unavailable`](ErrorKind::Unavailable) if the file is locked or the disk fails.
pub fn append(transaction: &Transaction<'_>, events: &[Event]) -> Result<(), OutboxError> {
    let rows = rows(events)?;
    transaction
        .execute_batch("SAVEPOINT outbox_append")
        .map_err(sqlite_error(APPEND))?;
    let result = rows.iter().try_for_each(|row| insert(transaction, row));
    if result.is_err() {
        // A full disk may have ended the transaction. Then there is nothing to undo.
        let _ = transaction.execute_batch("ROLLBACK TO outbox_append");
    }
    let released = transaction.execute_batch("RELEASE outbox_append");
    result?;
    released.map_err(sqlite_error(APPEND))
}

fn insert(connection: &Connection, row: &Row<'_>) -> Result<(), OutboxError> {
    let mut statement = connection
        .prepare_cached(INSERT)
        .map_err(sqlite_error(APPEND))?;
    let inserted = statement.execute((
        row.id,
        row.event_type,
        row.payload,
        row.content_type,
        &row.headers,
        row.ordering_key,
        row.idempotency_token,
        row.created_at,
        row.available_at,
    ));
    inserted.map(drop).map_err(|error| {
        if is_duplicate(&error) {
            OutboxError::new(ErrorKind::Duplicate, "sqlite", APPEND).with_source(error)
        } else {
            sqlite_error(APPEND)(error)
        }
    })
}

/// Whether an id or a token is taken.
pub(crate) fn is_duplicate(error: &Error) -> bool {
    match error {
        Error::SqliteFailure(failure, message) => match failure.extended_code {
            ffi::SQLITE_CONSTRAINT_UNIQUE => true,
            ffi::SQLITE_CONSTRAINT_TRIGGER => message
                .as_deref()
                .is_some_and(|text| text.starts_with("outbox: duplicate")),
            _ => false,
        },
        _ => false,
    }
}
