#![doc = include_str!("../README.md")]

mod error;
mod query;

pub use diesel;
pub use error::{explained, refuse_outside};
pub use outbox_append_postgres::Schema;
pub use query::Append;

#[cfg(feature = "postgres")]
use diesel::{
    PgConnection, RunQueryDsl,
    connection::{AnsiTransactionManager, TransactionManager},
};
#[cfg(feature = "postgres")]
use outbox_core::{Event, OutboxError};

/// The name of the backend in the errors.
const BACKEND: &str = "postgres";
const APPEND: &str = "append";

/// Appends `events` to the outbox in `schema`, in the caller's transaction: all or none, with one statement.
/// The connection prepares the statement once, and keeps it in its cache: one for a single event, one for
/// several.
///
/// The events are published once the transaction commits, and never if it rolls back. Events of one
/// ordering key are published in the order of the appends if their writers take turns, for example
/// because each locks the row that the key stands for. Like any failed statement, a refused append
/// ends the transaction; call it in a nested `transaction` to continue. An event that is
/// [`Invalid`](outbox_core::ErrorKind::Invalid) because of its fields is not sent, and ends nothing.
///
/// ```no_run
/// # use outbox_append_diesel::diesel::{Connection, PgConnection, RunQueryDsl, sql_query};
/// # use outbox_append_diesel::{Schema, append};
/// # use outbox_core::Event;
/// # fn example(shop: &mut PgConnection) -> Result<(), Box<dyn std::error::Error>> {
/// shop.transaction(|shop| {
///     sql_query("INSERT INTO orders (id) VALUES (7)").execute(shop)?;
///     let events = [Event::new("order.placed", "7").ordering_key("order-7")];
///     append(shop, &Schema::default(), &events)?;
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// [`Duplicate`](outbox_core::ErrorKind::Duplicate) if an id or an idempotency token is taken.
/// [`Invalid`](outbox_core::ErrorKind::Invalid) if the connection is in no transaction, a field is outside
/// the limits of [`Event::validate`], the events of the call are larger than 2 GiB, or the tables are
/// missing. [`Conflict`](outbox_core::ErrorKind::Conflict) if a serializable transaction collided.
/// [`Unavailable`](outbox_core::ErrorKind::Unavailable) if the connection is lost, and for all that diesel
/// does not distinguish: see [`explained`]. The source is the [`diesel::result::Error`].
#[cfg(feature = "postgres")]
pub fn append(
    connection: &mut PgConnection,
    schema: &Schema,
    events: &[Event],
) -> Result<(), OutboxError> {
    refuse_outside(AnsiTransactionManager::transaction_manager_status_mut(
        connection,
    ))?;
    let Some(query) = Append::new(schema, events)? else {
        return Ok(());
    };
    query.execute(connection).map(drop).map_err(explained)
}
