//! The consumer's side on `PostgreSQL`: which events were handled, in the transaction that handles
//! them.

use outbox_core::{EventId, OutboxError};
use outbox_driver_postgres::{Driver, PgUuid, interval, postgres_error};
use sqlx::{PgConnection, PgPool, SqlStr};
use std::time::Duration;

pub use outbox_driver_postgres::{DriverOptions, Schema};
pub use sqlx;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The name under which the table is known in `outbox_migrations`.
pub const COMPONENT: &str = "inbox";

/// The migrations, oldest first. [`PostgresInbox::migrate`] applies them.
pub const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001.sql")];

const TABLES: &[&str] = &["outbox_inbox"];

/// The events that one consumer has handled.
///
/// An outbox delivers at least once. A consumer that asks its inbox in the transaction of its own
/// work does that work once for each event: the idempotent receiver of *Enterprise Integration
/// Patterns*.
#[derive(Clone, Debug)]
pub struct PostgresInbox {
    driver: Driver,
    consumer: String,
    accept: SqlStr,
}

impl PostgresInbox {
    /// Makes the schema and the table if they are missing, and opens the inbox of `consumer`.
    /// Consumers that share a schema have a name each. Safe from several processes at once.
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if the name of the consumer does not have 1 to
    /// 1,024 bytes, a right is missing, a table of our name is not ours, or a newer program migrated
    /// the schema;
    /// [`Unavailable`](outbox_core::ErrorKind::Unavailable) if the server cannot be reached.
    pub async fn migrate(
        pool: PgPool,
        consumer: impl Into<String>,
        options: DriverOptions,
    ) -> Result<Self, OutboxError> {
        let consumer = named(consumer)?;
        let driver = Driver::new(pool, options);
        driver.migrate(COMPONENT, TABLES, MIGRATIONS).await?;
        Ok(Self::on(driver, consumer))
    }

    /// Opens the inbox of `consumer` in a schema that has the table of this version.
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if it lacks it, or the name of the consumer does not
    /// have 1 to 1,024 bytes;
    /// [`Unavailable`](outbox_core::ErrorKind::Unavailable) if the server cannot be reached.
    pub async fn open(
        pool: PgPool,
        consumer: impl Into<String>,
        options: DriverOptions,
    ) -> Result<Self, OutboxError> {
        let consumer = named(consumer)?;
        let driver = Driver::new(pool, options);
        let newest = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
        driver.require_version(COMPONENT, TABLES, newest).await?;
        Ok(Self::on(driver, consumer))
    }

    fn on(driver: Driver, consumer: String) -> Self {
        Self {
            accept: driver.sql(include_str!("sql/accept.sql")),
            driver,
            consumer,
        }
    }

    /// Whether the event comes for the first time: then handle it in the transaction that
    /// `connection` is in. If that rolls back, the next delivery is the first again. Waits for
    /// another transaction that accepted the event and has not ended.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](outbox_core::ErrorKind::Unavailable) if the server is lost.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped the caller's transaction must be rolled back.
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

    /// Forgets up to `limit` events that were accepted more than `retention` ago, and returns how
    /// many. One that is delivered again after that is handled again, so keep them for longer than
    /// a relay may be down with an event that it published: 7 days is plenty.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    pub async fn clean_up(&self, retention: Duration, limit: usize) -> Result<u64, OutboxError> {
        let query = sqlx::query(self.driver.sql(include_str!("sql/clean_up.sql")))
            .bind(&self.consumer)
            .bind(interval(retention))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        self.driver.execute("clean_up", query).await
    }
}

/// The name of a consumer, if the index of the table can hold it.
fn named(consumer: impl Into<String>) -> Result<String, OutboxError> {
    let consumer = consumer.into();
    if (1..=1024).contains(&consumer.len()) && !consumer.contains('\0') {
        return Ok(consumer);
    }
    let shown: String = consumer.chars().take(100).collect();
    let problem = format!("consumer is {shown:?}, but must be 1 to 1024 bytes without NUL");
    Err(OutboxError::invalid("postgres", "open", problem))
}
