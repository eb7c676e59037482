//! The producer's side: `append` in a transaction of the application.

use outbox_append_postgres::{Bind, Insert, insert};
use outbox_core::{Event, OutboxError};
use outbox_driver_postgres::{PgTime, PgUuid, Schema, postgres_error};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, SqlSafeStr, SqlStr};
use std::borrow::Cow;

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
/// [`Duplicate`](outbox_core::ErrorKind::Duplicate) if an id or an idempotency token is taken.
/// [`Invalid`](outbox_core::ErrorKind::Invalid) if a field is outside the limits of [`Event::validate`], a payload
/// is larger than 1,000,000,000 bytes, or the tables are missing.
/// [`Unavailable`](outbox_core::ErrorKind::Unavailable) if the connection is lost.
///
/// # Cancel safety
///
/// If the future is dropped, the caller must roll its transaction back.
pub async fn append(connection: &mut PgConnection, events: &[Event]) -> Result<(), OutboxError> {
    run(connection, &Schema::default(), events, true).await
}

/// Appends events to a schema that is not `outbox`, or through PgBouncer.
/// [`PostgresStore::appender`](crate::PostgresStore::appender) makes one with the schema of the store.
#[derive(Clone, Debug)]
pub struct Appender {
    schema: Schema,
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
            schema: schema.clone(),
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
        run(connection, &self.schema, events, !self.through_pgbouncer).await
    }
}

async fn run(
    connection: &mut PgConnection,
    schema: &Schema,
    events: &[Event],
    is_prepared: bool,
) -> Result<(), OutboxError> {
    let Some(Insert { sql, binds, .. }) = insert(schema, events)? else {
        return Ok(());
    };
    let sql = match sql {
        Cow::Borrowed(text) => SqlStr::from_static(text),
        // The name of the schema is quoted.
        Cow::Owned(text) => AssertSqlSafe(text).into_sql_str(),
    };
    binds
        .into_iter()
        .fold(sqlx::query(sql), bind)
        .persistent(is_prepared)
        .execute(connection)
        .await
        .map(drop)
        .map_err(postgres_error("append"))
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
