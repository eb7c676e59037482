#![doc = include_str!("../README.md")]

mod append;
mod builder;
mod claim;
mod claims;
mod dead_letters;
mod filter;
mod fresh;
mod housekeeping;
mod quarantine;
mod refusal;
mod registry;
mod row;
mod settle;
mod status;
mod steps;
mod storage;

pub use append::append;
pub use outbox_driver_sqlite::{SqliteConfig, memory_uri, rusqlite};

use outbox_core::{ClaimMark, Clock, OutboxError};
use outbox_driver_sqlite::{Changes, Component, Driver, sqlite_error};
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The migrations, oldest first.
pub const MIGRATIONS: &[&str] = &[TABLES, LAST_ERROR, RELAYS];

const TABLES: &str = include_str!("../migrations/0001.sql");
const LAST_ERROR: &str = include_str!("../migrations/0002.sql");
const RELAYS: &str = include_str!("../migrations/0003.sql");

const COMPONENT: Component = Component {
    name: "store",
    tables: &[
        "outbox_events",
        "outbox_tokens",
        "outbox_cursor",
        "outbox_keys",
        "outbox_waiting",
        "outbox_claims",
        "outbox_dead_letters",
        "outbox_relays",
    ],
    migrations: MIGRATIONS,
    min_compatible: 1,
};

/// The outbox and its quarantine in an SQLite file. Clones share the connection; several processes may
/// share the file.
///
/// # Cancel safety
///
/// Each method is one transaction, or a few where each is complete: a call whose future is dropped was
/// applied whole or not at all.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    driver: Driver,
    clock: Clock,
    /// Of the claims of this handle and its clones.
    mark: ClaimMark,
    token_retention: Duration,
    blocks_keys: bool,
    /// The last event that the housekeeping has checked.
    checked: Arc<AtomicI64>,
    idle: Arc<Mutex<Option<Idle>>>,
}

/// What a wait for work knew when it ended without work: the state of the file, and when something is due. The
/// next wait reads the tables only if one of them says so.
type Idle = (Changes, Option<i64>);

impl SqliteStore {
    /// Opens the store in a file that was migrated before.
    ///
    /// ```no_run
    /// # use outbox_store_sqlite::SqliteStore;
    /// # async fn example() -> Result<(), outbox_core::OutboxError> {
    /// let store = SqliteStore::open("shop.db").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if the tables are missing or of a version that it cannot use,
    /// or if the file is missing, is not an SQLite file or cannot be written.
    /// [`Unavailable`](outbox_core::ErrorKind::Unavailable) if other connections keep it locked.
    pub async fn open(config: impl Into<SqliteConfig>) -> Result<Self, OutboxError> {
        Ok(Self::on(COMPONENT.open(config).await?))
    }

    /// Creates the file, and the tables, triggers and rows that are missing, and opens the store.
    /// Several processes may call it at the same time.
    ///
    /// ```no_run
    /// # use outbox_store_sqlite::{SqliteConfig, SqliteStore};
    /// # use std::time::Duration;
    /// # async fn example() -> Result<(), outbox_core::OutboxError> {
    /// let config = SqliteConfig::new("shop.db").busy_timeout(Duration::from_secs(2));
    /// let store = SqliteStore::migrate(config).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open). Also [`Invalid`](outbox_core::ErrorKind::Invalid) if a table with
    /// one of the names belongs to another program.
    pub async fn migrate(config: impl Into<SqliteConfig>) -> Result<Self, OutboxError> {
        let driver = COMPONENT.migrate(config).await?;
        driver.write("migrate", create_missing).await?;
        Ok(Self::on(driver))
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

    /// Replaces the clock, which measures leases and delays. Default: the clock of the machine.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// How long an idempotency token stays taken, by the clock of the machine that appended the event.
    /// Default: 7 days.
    #[must_use]
    pub fn token_retention(mut self, retention: Duration) -> Self {
        self.token_retention = retention;
        self
    }

    /// A dead letter that is made through this handle blocks its ordering key: later events of the key
    /// wait until the dead letter is replayed or purged. Default: they are published.
    #[must_use]
    pub fn block_key_on_dead_letter(mut self) -> Self {
        self.blocks_keys = true;
        self
    }

    /// Finishes the calls in the queue, copies the write-ahead log into the file and closes the
    /// connection, for all clones of this handle. Later calls are
    /// [`Invalid`](outbox_core::ErrorKind::Invalid).
    ///
    /// Call it before the process ends. The drop of the last clone closes the connection too, but waits
    /// for at most a second.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](outbox_core::ErrorKind::Unavailable) if it takes longer than a call may.
    pub async fn close(&self) -> Result<(), OutboxError> {
        self.driver.close().await
    }

    fn on(driver: Driver) -> Self {
        Self {
            driver,
            clock: Clock::system(),
            mark: ClaimMark::new(),
            token_retention: Duration::from_secs(7 * 24 * 60 * 60),
            blocks_keys: false,
            checked: Arc::default(),
            idle: Arc::default(),
        }
    }
}

/// Creates again what was dropped by hand, and the row of `outbox_cursor` if it was deleted.
fn create_missing(connection: &rusqlite::Connection) -> Result<(), OutboxError> {
    let create = || {
        connection.execute_batch(TABLES)?;
        if !connection.column_exists(None, "outbox_keys", "last_error")? {
            connection.execute_batch(LAST_ERROR)?;
        }
        connection.execute_batch(RELAYS)
    };
    create().map_err(sqlite_error("migrate"))
}
