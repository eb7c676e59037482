#![doc = include_str!("../README.md")]

use outbox_core::{EventId, OutboxError};
use outbox_driver_postgres::{Component, Driver, PgUuid, interval, postgres_error};
use sqlx::{PgConnection, SqlStr};
use std::time::Duration;

pub use outbox_driver_postgres::{PostgresConfig, Schema, sqlx};

/// The migrations, oldest first.
pub const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001.sql")];

const COMPONENT: Component = Component {
    name: "inbox",
    tables: &["outbox_inbox"],
    migrations: MIGRATIONS,
    min_compatible: 1,
};

/// The events that one consumer has handled. Clones share the pool.
#[derive(Clone, Debug)]
pub struct PostgresInbox {
    driver: Driver,
    consumer: String,
    accept: SqlStr,
}

impl PostgresInbox {
    /// Opens the inbox of `consumer` in a schema that was migrated before. Each consumer of a schema
    /// has a different name.
    ///
    /// ```no_run
    /// # use outbox_inbox_postgres::{PostgresInbox, sqlx::PgPool};
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = PgPool::connect("postgres://me@db.example/shop").await?;
    /// let inbox = PostgresInbox::open(pool, "billing").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if the tables are missing or of a version that it cannot use,
    /// if the server is older than PostgreSQL 13, or if `consumer` does not have 1 to 1,024 bytes.
    /// [`Unavailable`](outbox_core::ErrorKind::Unavailable) if the server cannot be reached.
    pub async fn open(
        config: impl Into<PostgresConfig>,
        consumer: impl Into<String>,
    ) -> Result<Self, OutboxError> {
        let consumer = named(consumer)?;
        Ok(Self::on(COMPONENT.open(config).await?, consumer))
    }

    /// Creates the schema and the tables that are missing, and opens the inbox of `consumer`. Several
    /// processes may call it at the same time.
    ///
    /// ```no_run
    /// # use outbox_inbox_postgres::{PostgresConfig, PostgresInbox, Schema, sqlx::PgPool};
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = PgPool::connect("postgres://owner@db.example/shop").await?;
    /// let config = PostgresConfig::new(pool).schema(Schema::new("events")?);
    /// let inbox = PostgresInbox::migrate(config, "billing").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open). Also [`Invalid`](outbox_core::ErrorKind::Invalid) if a table with
    /// one of the names belongs to another program, or if a privilege is missing.
    pub async fn migrate(
        config: impl Into<PostgresConfig>,
        consumer: impl Into<String>,
    ) -> Result<Self, OutboxError> {
        let consumer = named(consumer)?;
        Ok(Self::on(COMPONENT.migrate(config).await?, consumer))
    }

    /// How many of [`MIGRATIONS`] are applied; more than there are if a newer version, which is compatible,
    /// migrated the tables. Changes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`migrate`](Self::migrate), except a missing privilege.
    pub async fn applied_migrations(
        config: impl Into<PostgresConfig>,
    ) -> Result<usize, OutboxError> {
        COMPONENT.applied(config).await
    }

    /// The statements that [`migrate`](Self::migrate) runs in an empty `schema`, as a script for psql.
    #[must_use]
    pub fn script(schema: &Schema) -> String {
        COMPONENT.script(schema)
    }

    fn on(driver: Driver, consumer: String) -> Self {
        Self {
            accept: driver.sql(include_str!("sql/accept.sql")),
            driver,
            consumer,
        }
    }

    /// Whether this consumer sees the event for the first time. Then handle it in the transaction of
    /// `connection`. If the transaction rolls back, the next delivery is the first again.
    ///
    /// If another open transaction has accepted the event, the call waits until that transaction ends.
    ///
    /// ```no_run
    /// # use outbox_core::EventId;
    /// # use outbox_inbox_postgres::{PostgresInbox, sqlx::{Connection, Executor, PgConnection}};
    /// # async fn example(
    /// #     inbox: &PostgresInbox, billing: &mut PgConnection, event: EventId,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut tx = billing.begin().await?;
    /// if inbox.accept(&mut tx, event).await? {
    ///     tx.execute("INSERT INTO invoices (order_id) VALUES (7)").await?;
    /// }
    /// tx.commit().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Unavailable`](outbox_core::ErrorKind::Unavailable) if the connection fails.
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if the database of `connection` was not migrated.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, roll the transaction back.
    pub async fn accept(
        &self,
        connection: &mut PgConnection,
        id: EventId,
    ) -> Result<bool, OutboxError> {
        let accept = sqlx::query(self.accept.clone())
            .bind(&self.consumer)
            .bind(PgUuid(*id.as_uuid()))
            .persistent(!self.driver.is_through_pgbouncer());
        let done = accept.execute(connection).await;
        done.map(|done| done.rows_affected() > 0)
            .map_err(postgres_error("accept"))
    }

    /// Forgets up to `limit` events that were accepted more than `retention` ago, and returns their number.
    /// If such an event is delivered again, it is handled again. So keep the events for longer than a relay
    /// may be down; 7 days are plenty.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the server forgets the events or keeps them all.
    pub async fn clean_up(&self, retention: Duration, limit: usize) -> Result<usize, OutboxError> {
        let query = sqlx::query(self.driver.sql(include_str!("sql/clean_up.sql")))
            .bind(&self.consumer)
            .bind(interval(retention))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let forgotten = self.driver.execute("clean_up", query).await?;
        Ok(usize::try_from(forgotten).unwrap_or(usize::MAX))
    }
}

/// The name of a consumer, if its length fits into the index of the table.
fn named(consumer: impl Into<String>) -> Result<String, OutboxError> {
    let consumer = consumer.into();
    if (1..=1024).contains(&consumer.len()) && !consumer.contains('\0') {
        return Ok(consumer);
    }
    let shown: String = consumer.chars().take(100).collect();
    let problem = format!("consumer is {shown:?}, but must be 1 to 1024 bytes without NUL");
    Err(OutboxError::invalid("postgres", "open", problem))
}
