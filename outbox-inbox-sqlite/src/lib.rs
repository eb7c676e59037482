//! The consumer's side on SQLite: which events were handled, in the transaction that handles them.

use outbox_core::{EventId, OutboxError};
use outbox_driver_sqlite::rusqlite::{Connection, Transaction};
use outbox_driver_sqlite::{micros, migrate, sqlite_error};
use std::time::{Duration, SystemTime};

pub use outbox_driver_sqlite::rusqlite;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

const COMPONENT: &str = "inbox";
const TABLES: &[&str] = &["outbox_inbox"];

/// The migrations, oldest first, for printing. [`SqliteInbox::migrate_on`] applies them.
pub const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001.sql")];

/// The events that one consumer has handled.
///
/// An outbox delivers at least once. A consumer that asks its inbox in the transaction of its own
/// work does that work once for each event: the idempotent receiver of *Enterprise Integration
/// Patterns*.
#[derive(Clone, Debug)]
pub struct SqliteInbox {
    consumer: String,
}

impl SqliteInbox {
    /// The inbox of `consumer`. Consumers that share a file have a name each.
    #[must_use]
    pub fn new(consumer: impl Into<String>) -> Self {
        Self {
            consumer: consumer.into(),
        }
    }

    /// Makes the table if it is missing, over a connection of the application's, and returns how
    /// many migrations were applied. Safe from several processes at once.
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if a table of our name is not ours or a newer
    /// program migrated the file, [`Unavailable`](outbox_core::ErrorKind::Unavailable) if it is
    /// locked.
    pub fn migrate_on(connection: &mut Connection) -> Result<usize, OutboxError> {
        migrate(connection, COMPONENT, TABLES, MIGRATIONS)
    }

    /// Whether the event comes for the first time: then handle it in this transaction. If the
    /// transaction rolls back, the next delivery is the first again.
    ///
    /// Begin with `TransactionBehavior::Immediate`, so that two deliveries take turns.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](outbox_core::ErrorKind::Unavailable) if the file is locked or the disk fails.
    pub fn accept(&self, transaction: &Transaction<'_>, id: EventId) -> Result<bool, OutboxError> {
        const ACCEPT: &str = "accept";
        let now = micros(SystemTime::now());
        let rows = transaction
            .prepare_cached(include_str!("sql/accept.sql"))
            .and_then(|mut accept| accept.execute((&self.consumer, id.as_uuid().as_bytes(), now)))
            .map_err(sqlite_error(ACCEPT))?;
        Ok(rows > 0)
    }

    /// Forgets up to `limit` events that were accepted more than `retention` ago, and returns how
    /// many. One that is delivered again after that is handled again, so keep them for longer than
    /// a relay may be down with an event that it published: 7 days is plenty.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    pub fn clean_up(
        &self,
        connection: &Connection,
        retention: Duration,
        limit: usize,
    ) -> Result<usize, OutboxError> {
        const CLEAN_UP: &str = "clean_up";
        let age = i64::try_from(retention.as_micros()).unwrap_or(i64::MAX);
        let before = micros(SystemTime::now()).saturating_sub(age);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        connection
            .prepare_cached(include_str!("sql/clean_up.sql"))
            .and_then(|mut clean_up| clean_up.execute((&self.consumer, before, limit)))
            .map_err(sqlite_error(CLEAN_UP))
    }
}
