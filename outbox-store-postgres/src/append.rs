//! The producer's side: `append` in a transaction of the application.

use outbox_core::{ErrorKind, Event, Headers, OutboxError};
use outbox_driver_postgres::{PgTime, PgUuid, Schema, postgres_error};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, SqlStr};

const APPEND: &str = "append";

/// Appends `events` to the outbox in the schema `outbox`, in the caller's transaction: all or none, with
/// one statement. For another schema, or through PgBouncer, use an [`Appender`].
///
/// The events are published once the transaction commits, and never if it rolls back. Events of one
/// ordering key are published in the order of the appends if their writers take turns, for example
/// because each locks the row that the key stands for. Like any failed statement, a refused append
/// ends the transaction; set a savepoint before it to continue.
///
/// ```no_run
/// # use outbox_core::Event;
/// # use outbox_store_postgres::{append, sqlx::{Connection, Executor, PgConnection}};
/// # async fn example(shop: &mut PgConnection) -> Result<(), Box<dyn std::error::Error>> {
/// let mut tx = shop.begin().await?;
/// tx.execute("INSERT INTO orders (id) VALUES (7)").await?;
/// append(&mut tx, &[Event::new("order.placed", "7").ordering_key("order-7")]).await?;
/// tx.commit().await?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`Duplicate`](ErrorKind::Duplicate) if an id or an idempotency token is taken.
/// [`Invalid`](ErrorKind::Invalid) if a field is outside the limits of [`Event::validate`], a payload
/// is larger than 1,000,000,000 bytes, or the tables are missing.
/// [`Unavailable`](ErrorKind::Unavailable) if the connection is lost.
///
/// # Cancel safety
///
/// If the future is dropped, the caller must roll its transaction back.
pub async fn append(connection: &mut PgConnection, events: &[Event]) -> Result<(), OutboxError> {
    let one = SqlStr::from_static(include_str!("sql/append_one.sql"));
    let many = SqlStr::from_static(include_str!("sql/append.sql"));
    insert(connection, (one, many), events, true).await
}

/// Appends events to a schema that is not `outbox`, or through PgBouncer.
/// [`PostgresStore::appender`](crate::PostgresStore::appender) makes one with the schema of the store.
#[derive(Clone, Debug)]
pub struct Appender {
    one: SqlStr,
    many: SqlStr,
    through_pgbouncer: bool,
}

impl Appender {
    /// Appends to `schema`.
    ///
    /// ```no_run
    /// # use outbox_core::{Event, OutboxError};
    /// # use outbox_store_postgres::{Appender, Schema, sqlx::PgConnection};
    /// # async fn example(tx: &mut PgConnection) -> Result<(), OutboxError> {
    /// let appender = Appender::new(&Schema::new("events")?);
    /// appender.append(tx, &[Event::new("order.placed", "7")]).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn new(schema: &Schema) -> Self {
        Self {
            one: schema.sql(include_str!("sql/append_one.sql")),
            many: schema.sql(include_str!("sql/append.sql")),
            through_pgbouncer: false,
        }
    }

    /// The connections go through PgBouncer in transaction mode: no prepared statement stays on them.
    /// Default: they do not.
    #[must_use]
    pub fn through_pgbouncer(mut self) -> Self {
        self.through_pgbouncer = true;
        self
    }

    /// As [`append`]. Through PgBouncer the caller's transaction must have started, because two messages
    /// outside of a transaction may reach two connections.
    ///
    /// # Errors
    ///
    /// Those of [`append`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the caller must roll its transaction back.
    pub async fn append(
        &self,
        connection: &mut PgConnection,
        events: &[Event],
    ) -> Result<(), OutboxError> {
        let statements = (self.one.clone(), self.many.clone());
        insert(connection, statements, events, !self.through_pgbouncer).await
    }
}

async fn insert(
    connection: &mut PgConnection,
    (one, many): (SqlStr, SqlStr),
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
        insert_one(one, event, headers.into_iter().flatten().next())
    } else {
        insert_many(many, events, headers)
    };
    query
        .persistent(is_prepared)
        .execute(connection)
        .await
        .map(drop)
        .map_err(postgres_error(APPEND))
}

fn insert_one(
    statement: SqlStr,
    event: &Event,
    headers: Option<String>,
) -> Query<'_, Postgres, PgArguments> {
    sqlx::query(statement)
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

fn insert_many(
    statement: SqlStr,
    events: &[Event],
    headers: Vec<Option<String>>,
) -> Query<'_, Postgres, PgArguments> {
    sqlx::query(statement)
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

fn each<'e, T>(events: &'e [Event], column: impl Fn(&'e Event) -> T) -> Vec<T> {
    events.iter().map(column).collect()
}

/// The headers as a JSON object of strings. Without headers the column is NULL.
fn headers_to_json(headers: &Headers) -> Result<Option<String>, OutboxError> {
    if headers.is_empty() {
        return Ok(None);
    }
    let json = serde_json::to_string(headers).map_err(|error| {
        OutboxError::new(ErrorKind::Invalid, "postgres", APPEND).with_source(error)
    })?;
    Ok(Some(json))
}
