#![doc = include_str!("../README.md")]

mod error;
mod query;

pub use diesel;

use diesel::connection::{AnsiTransactionManager, TransactionManager};
use diesel::{Connection, RunQueryDsl, SqliteConnection};
use error::{explained, refuse_outside};
use outbox_append_sqlite::rows;
use outbox_core::{Event, OutboxError};
use query::Insert;

/// Appends `events` to the outbox in the caller's transaction: all or none.
///
/// The events are published once the transaction commits, and never if it rolls back. After an error the
/// transaction is usable and contains none of `events`.
///
/// Start the transaction with `immediate_transaction`: a transaction that reads first and then writes fails if
/// another connection has written in between. Set `PRAGMA busy_timeout` on the connection, so that it waits
/// for other writers.
///
/// ```no_run
/// # use outbox_append_diesel_sqlite::diesel::{RunQueryDsl, SqliteConnection, sql_query};
/// # use outbox_append_diesel_sqlite::append;
/// # use outbox_core::Event;
/// # fn example(shop: &mut SqliteConnection) -> Result<(), Box<dyn std::error::Error>> {
/// shop.immediate_transaction(|shop| {
///     sql_query("INSERT INTO orders (id) VALUES (7)").execute(shop)?;
///     append(shop, &[Event::new("order.placed", "7").ordering_key("order-7")])?;
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// [`Duplicate`](outbox_core::ErrorKind::Duplicate) if an id or an idempotency token is taken.
/// [`Invalid`](outbox_core::ErrorKind::Invalid) if the connection is in no transaction, a field is outside
/// the limits of [`Event::validate`], or the file was not migrated.
/// [`Unavailable`](outbox_core::ErrorKind::Unavailable) if the file is locked or the disk fails, and for all
/// that diesel does not distinguish. The source is the [`diesel::result::Error`].
pub fn append(connection: &mut SqliteConnection, events: &[Event]) -> Result<(), OutboxError> {
    refuse_outside(AnsiTransactionManager::transaction_manager_status_mut(
        connection,
    ))?;
    let rows = rows(events)?;
    if rows.is_empty() {
        return Ok(());
    }
    // A nested transaction is a savepoint.
    let appended = connection.transaction(|savepoint| {
        let mut rows = rows.iter();
        rows.try_for_each(|row| Insert(row).execute(savepoint).map(drop))
    });
    appended.map_err(explained)
}
