#![doc = include_str!("../README.md")]

use outbox_core::{EventId, OutboxError};
use outbox_driver_sqlite::rusqlite::{Connection, Transaction};
use outbox_driver_sqlite::{Component, Driver, interval, micros, sqlite_error};
use std::time::{Duration, SystemTime};

pub use outbox_driver_sqlite::{SqliteConfig, memory_uri, rusqlite};

/// The migrations, oldest first.
pub const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001.sql")];

const COMPONENT: Component = Component {
    name: "inbox",
    tables: &["outbox_inbox"],
    migrations: MIGRATIONS,
    min_compatible: 1,
};

/// The events that one consumer has handled. Clones share the connection.
///
/// An outbox delivers at least once. If a consumer calls [`accept`](Self::accept) in the transaction of
/// its work, it does the work once for each event: the idempotent receiver of *Enterprise Integration
/// Patterns*.
#[derive(Clone, Debug)]
pub struct SqliteInbox {
    driver: Driver,
    consumer: String,
}

impl SqliteInbox {
    /// Opens the inbox of `consumer` in a file that was migrated before. Each consumer of a file has a
    /// different name.
    ///
    /// ```no_run
    /// # use outbox_inbox_sqlite::SqliteInbox;
    /// # async fn example() -> Result<(), outbox_core::OutboxError> {
    /// let inbox = SqliteInbox::open("shop.db", "billing").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if the tables are missing or of a version that it cannot use,
    /// if the file is missing, is not an SQLite file or cannot be written, or if `consumer` does not
    /// have 1 to 1,024 bytes.
    /// [`Unavailable`](outbox_core::ErrorKind::Unavailable) if other connections keep it locked.
    pub async fn open(
        config: impl Into<SqliteConfig>,
        consumer: impl Into<String>,
    ) -> Result<Self, OutboxError> {
        let consumer = named(consumer)?;
        let driver = COMPONENT.open(config).await?;
        Ok(Self { driver, consumer })
    }

    /// Creates the file and the tables that are missing, and opens the inbox of `consumer`. Several
    /// processes may call it at the same time.
    ///
    /// ```no_run
    /// # use outbox_inbox_sqlite::{SqliteConfig, SqliteInbox};
    /// # use std::time::Duration;
    /// # async fn example() -> Result<(), outbox_core::OutboxError> {
    /// let config = SqliteConfig::new("shop.db").busy_timeout(Duration::from_secs(2));
    /// let inbox = SqliteInbox::migrate(config, "billing").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open). Also [`Invalid`](outbox_core::ErrorKind::Invalid) if a table with
    /// one of the names belongs to another program.
    pub async fn migrate(
        config: impl Into<SqliteConfig>,
        consumer: impl Into<String>,
    ) -> Result<Self, OutboxError> {
        let consumer = named(consumer)?;
        let driver = COMPONENT.migrate(config).await?;
        Ok(Self { driver, consumer })
    }

    /// How many of [`MIGRATIONS`] are applied; more than there are if a newer version, which is compatible,
    /// migrated the tables; `None` if the file does not exist, but its folder does.
    /// Changes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`migrate`](Self::migrate).
    pub async fn applied_migrations(
        config: impl Into<SqliteConfig>,
    ) -> Result<Option<usize>, OutboxError> {
        COMPONENT.applied(config).await
    }

    /// The statements that [`migrate`](Self::migrate) runs in an empty file, as a script for the
    /// `sqlite3` shell or for `Connection::execute_batch`.
    #[must_use]
    pub fn script() -> String {
        COMPONENT.script()
    }

    /// Whether this consumer sees the event for the first time. Then handle it in this transaction. If the
    /// transaction rolls back, the next delivery is the first again.
    ///
    /// Start the transaction with `TransactionBehavior::Immediate`, so that concurrent deliveries wait for
    /// each other. The connection needs a busy timeout (`Connection::busy_timeout`).
    ///
    /// ```no_run
    /// # use outbox_core::EventId;
    /// # use outbox_inbox_sqlite::{SqliteInbox, rusqlite};
    /// # fn example(
    /// #     inbox: &SqliteInbox, billing: &mut rusqlite::Connection, event: EventId,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// let tx = billing.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    /// if inbox.accept(&tx, event)? {
    ///     tx.execute("INSERT INTO invoices (order_id) VALUES (7)", [])?;
    /// }
    /// tx.commit()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Unavailable`](outbox_core::ErrorKind::Unavailable) if the file is locked or the disk fails.
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if the file of the transaction was not migrated.
    pub fn accept(&self, transaction: &Transaction<'_>, id: EventId) -> Result<bool, OutboxError> {
        const ACCEPT: &str = "accept";
        let now = micros(SystemTime::now());
        let rows = transaction
            .prepare_cached(include_str!("sql/accept.sql"))
            .and_then(|mut accept| accept.execute((&self.consumer, id.as_uuid().as_bytes(), now)))
            .map_err(sqlite_error(ACCEPT))?;
        Ok(rows > 0)
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
    /// If the future is dropped, the events may be forgotten later.
    pub async fn clean_up(&self, retention: Duration, limit: usize) -> Result<usize, OutboxError> {
        let before = micros(SystemTime::now()).saturating_sub(interval(retention));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let consumer = self.consumer.clone();
        let forget = move |connection: &Connection| {
            connection.execute(include_str!("sql/clean_up.sql"), (consumer, before, limit))
        };
        self.driver.execute("clean_up", forget).await
    }

    /// Finishes the calls in the queue, copies the write-ahead log into the file and closes the
    /// connection, for all clones of this handle. Later calls are
    /// [`Invalid`](outbox_core::ErrorKind::Invalid), except [`accept`](Self::accept).
    ///
    /// # Errors
    ///
    /// [`Unavailable`](outbox_core::ErrorKind::Unavailable) if it takes longer than a call may.
    pub async fn close(&self) -> Result<(), OutboxError> {
        self.driver.close().await
    }
}

/// The name of a consumer, if it has a length that the PostgreSQL inbox accepts, too.
fn named(consumer: impl Into<String>) -> Result<String, OutboxError> {
    let consumer = consumer.into();
    if (1..=1024).contains(&consumer.len()) && !consumer.contains('\0') {
        return Ok(consumer);
    }
    let shown: String = consumer.chars().take(100).collect();
    let problem = format!("consumer is {shown:?}, but must be 1 to 1024 bytes without NUL");
    Err(OutboxError::invalid("sqlite", "open", problem))
}
