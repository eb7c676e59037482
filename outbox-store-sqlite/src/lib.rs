//! [`OutboxStorage`](outbox_core::OutboxStorage) and [`DeadLetters`](outbox_core::DeadLetters) on `SQLite`,
//! and [`append`] for the application's own transaction.
//!
//! One writer at a time means that the order of rows is the order of commits, so one cursor over
//! the row number finds each event exactly once. Only keys that are claimed or wait cost a row of
//! their own. The tables are a public contract: see `docs/sqlite-schema.md`.

mod append;
mod claim;
mod dead_letters;
mod housekeeping;
mod keys;
mod quarantine;
mod row;
mod settle;
mod status;
mod storage;

pub use append::append;
pub use outbox_driver_sqlite::{DriverOptions, memory_uri};
pub use rusqlite;

use outbox_core::{Clock, OutboxError};
use outbox_driver_sqlite::{
    Driver, applied_migrations, inspect, migrate_within, require_version, sqlite_error,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The name under which the tables are known in `outbox_schema`.
const COMPONENT: &str = "store";

/// The migrations, oldest first, for printing. [`SqliteStore::migrate`] applies them.
pub const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001.sql")];

const TABLES: &[&str] = &[
    "outbox_events",
    "outbox_tokens",
    "outbox_cursor",
    "outbox_keys",
    "outbox_claims",
    "outbox_dead_letters",
];

/// The outbox and its quarantine in a `SQLite` file.
///
/// A clone shares the connection. Several processes may share the file.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    driver: Driver,
    clock: Clock,
    token_retention: Duration,
    holds_keys: bool,
    /// How far the housekeeping looked through the events that were taken up.
    looked_at: Arc<AtomicI64>,
}

impl SqliteStore {
    /// Opens the file, and makes it and what is missing of the tables: each of them, their triggers,
    /// the row of the cursor. Safe from several processes at once.
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if the file is not of `SQLite`, cannot be
    /// written, has a table of our name that is not ours, or was migrated by a newer program.
    pub async fn migrate(path: impl AsRef<Path>) -> Result<Self, OutboxError> {
        Self::migrate_with(path, DriverOptions::default()).await
    }

    /// As [`migrate`](Self::migrate), with other timeouts.
    ///
    /// # Errors
    ///
    /// As [`migrate`](Self::migrate).
    pub async fn migrate_with(
        path: impl AsRef<Path>,
        options: DriverOptions,
    ) -> Result<Self, OutboxError> {
        let check = |connection: &_| applied(connection).map(drop);
        Self::migrated(Driver::create(path, options, check).await?).await
    }

    /// Opens the database `name` in this process's memory, and makes the tables that are missing.
    /// It is gone when the last handle and connection to it is; the application connects to it with
    /// [`memory_uri`].
    ///
    /// # Errors
    ///
    /// As [`migrate`](Self::migrate); [`Invalid`](outbox_core::ErrorKind::Invalid) for a name that
    /// is not of 1 to 100 ASCII letters, digits, `-`, `_` and `.`.
    pub async fn open_in_memory(name: &str) -> Result<Self, OutboxError> {
        Self::migrated(Driver::open_in_memory(name, DriverOptions::default()).await?).await
    }

    /// Opens a file that exists and has the tables of this version.
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if the file is missing, is not of `SQLite`,
    /// cannot be written, or lacks these tables in this version.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, OutboxError> {
        Self::open_with(path, DriverOptions::default()).await
    }

    /// As [`open`](Self::open), with other timeouts.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_with(
        path: impl AsRef<Path>,
        options: DriverOptions,
    ) -> Result<Self, OutboxError> {
        let newest = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
        let check = move |connection: &_| require_version(connection, COMPONENT, newest);
        Ok(Self::new(Driver::open(path, options, check).await?))
    }

    /// How many of [`MIGRATIONS`] a file has; `None` if it does not exist, but its folder does.
    /// Changes nothing, and blocks while it looks.
    ///
    /// # Errors
    ///
    /// As [`migrate`](Self::migrate), which succeeds where this does.
    pub fn applied_migrations(path: impl AsRef<Path>) -> Result<Option<usize>, OutboxError> {
        inspect(path, applied)
    }

    /// Makes the tables that are missing over a connection of the application's, and returns how
    /// many migrations were applied.
    ///
    /// # Errors
    ///
    /// As [`migrate`](Self::migrate).
    pub fn migrate_on(connection: &mut rusqlite::Connection) -> Result<usize, OutboxError> {
        let applied = outbox_driver_sqlite::migrate(connection, COMPONENT, TABLES, MIGRATIONS)?;
        make_missing(connection)?;
        Ok(applied)
    }

    /// Where leases and delays take the time from. Default: the machine's clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// How long an idempotency token stays taken, by the clock of the machine that appended it.
    /// Default: 7 days.
    #[must_use]
    pub fn token_retention(mut self, retention: Duration) -> Self {
        self.token_retention = retention;
        self
    }

    /// Lets an event that is quarantined through this handle hold its key: the successors wait
    /// until the dead letter is replayed before them, or purged. Default: they go on.
    #[must_use]
    pub fn block_key_on_dead_letter(mut self) -> Self {
        self.holds_keys = true;
        self
    }

    /// Finishes what is queued, copies the write-ahead log into the file and closes the connection,
    /// for all clones of this handle. Calls after that are [`Invalid`](outbox_core::ErrorKind::Invalid).
    ///
    /// Call it before the process ends. The drop of the last clone closes as well, but waits for no
    /// more than a second.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](outbox_core::ErrorKind::Unavailable) if it takes longer than a call may.
    pub async fn close(&self) -> Result<(), OutboxError> {
        self.driver.close().await
    }

    async fn migrated(driver: Driver) -> Result<Self, OutboxError> {
        driver
            .write("migrate", |connection| {
                migrate_within(connection, COMPONENT, TABLES, MIGRATIONS)?;
                make_missing(connection)
            })
            .await?;
        Ok(Self::new(driver))
    }

    fn new(driver: Driver) -> Self {
        Self {
            driver,
            clock: Clock::system(),
            token_retention: Duration::from_secs(7 * 24 * 60 * 60),
            holds_keys: false,
            looked_at: Arc::default(),
        }
    }
}

fn applied(connection: &rusqlite::Connection) -> Result<usize, OutboxError> {
    applied_migrations(connection, COMPONENT, TABLES, MIGRATIONS)
}

/// Makes again what somebody dropped, and the row of `outbox_cursor` if it was deleted.
fn make_missing(connection: &rusqlite::Connection) -> Result<(), OutboxError> {
    MIGRATIONS
        .iter()
        .try_for_each(|migration| connection.execute_batch(migration))
        .map_err(sqlite_error("migrate"))
}
