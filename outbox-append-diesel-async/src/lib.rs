#![doc = include_str!("../README.md")]

use diesel_async::{AnsiTransactionManager, AsyncPgConnection, RunQueryDsl, TransactionManager};
use outbox_append_diesel::{Append, explained, refuse_outside};
use outbox_core::{Event, OutboxError};

pub use diesel_async;
pub use outbox_append_diesel::{Schema, diesel};

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
/// # use outbox_append_diesel_async::diesel::sql_query;
/// # use outbox_append_diesel_async::diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
/// # use outbox_append_diesel_async::{Schema, append};
/// # use outbox_core::Event;
/// # type Done = Result<(), Box<dyn std::error::Error + Send + Sync>>;
/// # async fn example(shop: &mut AsyncPgConnection) -> Done {
/// shop.transaction(async |shop| -> Done {
///     sql_query("INSERT INTO orders (id) VALUES (7)").execute(shop).await?;
///     let events = [Event::new("order.placed", "7").ordering_key("order-7")];
///     append(shop, &Schema::default(), &events).await?;
///     Ok(())
/// })
/// .await
/// # }
/// ```
///
/// # Errors
///
/// [`Duplicate`](outbox_core::ErrorKind::Duplicate) if an id or an idempotency token is taken.
/// [`Invalid`](outbox_core::ErrorKind::Invalid) if the connection is in no transaction, a field is outside
/// the limits of [`Event::validate`], or the tables are missing.
/// [`Conflict`](outbox_core::ErrorKind::Conflict) if a serializable transaction collided.
/// [`Unavailable`](outbox_core::ErrorKind::Unavailable) if the connection is lost, and for all that diesel
/// does not distinguish: see [`explained`]. The source is the [`diesel::result::Error`].
///
/// # Cancel safety
///
/// If the future is dropped, the caller must roll its transaction back.
pub async fn append(
    connection: &mut AsyncPgConnection,
    schema: &Schema,
    events: &[Event],
) -> Result<(), OutboxError> {
    refuse_outside(AnsiTransactionManager::transaction_manager_status_mut(
        connection,
    ))?;
    let Some(query) = Append::new(schema, events)? else {
        return Ok(());
    };
    query.execute(connection).await.map(drop).map_err(explained)
}
