#![doc = include_str!("../README.md")]

mod append;
mod claim;
mod claims;
mod dead_letters;
mod draft;
mod filter;
mod fresh;
mod headers;
mod keep;
mod outlook;
mod pace;
mod plan;
mod quarantine;
mod registry;
mod row;
mod settle;
mod sql;
mod status;
mod steps;
mod storage;
mod upkeep;
mod wake;

pub use append::{Appender, append};
pub use outbox_driver_postgres::{PostgresConfig, Schema, sqlx};

use claims::Claims;
use outbox_core::{ClaimMark, OutboxError};
use outbox_driver_postgres::{Component, Driver};
use pace::Pace;
use sql::{Statements, Variants};
use std::sync::Arc;
use std::time::Duration;
use upkeep::{Progress, Runs, adopt_at_start};
use wake::Bell;

/// The migrations, oldest first.
pub const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001.sql"),
    include_str!("../migrations/0002.sql"),
];

const COMPONENT: Component = Component {
    name: "store",
    tables: &[
        "outbox_events",
        "outbox_log",
        "outbox_tokens",
        "outbox_lanes",
        "outbox_newest",
        "outbox_marks",
        "outbox_unread",
        "outbox_origin",
        "outbox_home",
        "outbox_retries",
        "outbox_dead_letters",
        "outbox_alarm",
        "outbox_rings",
        "outbox_relays",
    ],
    migrations: MIGRATIONS,
    min_compatible: 1,
};

/// The outbox and its quarantine in a schema of a PostgreSQL database.
///
/// Clones share the pool. Several processes may share the schema. A claim is settled through the handle
/// that made it, or a clone.
///
/// # Cancel safety
///
/// Each method is one transaction, or a few where each is complete: a call whose future is dropped was
/// applied whole or not at all.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    driver: Driver,
    variants: Arc<Variants>,
    claims: Arc<Claims>,
    pace: Arc<Pace>,
    runs: Arc<Runs>,
    progress: Arc<Progress>,
    bell: Arc<Bell>,
    /// Of the claims of this handle and its clones.
    mark: ClaimMark,
    token_retention: Duration,
    blocks_keys: bool,
}

impl PostgresStore {
    /// Opens the store in a schema that was migrated before.
    ///
    /// ```no_run
    /// # use outbox_store_postgres::{PostgresStore, sqlx::PgPool};
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = PgPool::connect("postgres://me@db.example/shop").await?;
    /// let store = PostgresStore::open(pool).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if the tables are missing or of a version that it cannot use,
    /// or if the server is older than PostgreSQL 13.
    /// [`Unavailable`](outbox_core::ErrorKind::Unavailable) if the server cannot be reached.
    pub async fn open(config: impl Into<PostgresConfig>) -> Result<Self, OutboxError> {
        Self::start(COMPONENT.open(config).await?).await
    }

    /// Creates the schema and the tables that are missing, and opens the store. Several processes may
    /// call it at the same time.
    ///
    /// ```no_run
    /// # use outbox_store_postgres::{PostgresConfig, PostgresStore, Schema, sqlx::PgPool};
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = PgPool::connect("postgres://owner@db.example/shop").await?;
    /// let config = PostgresConfig::new(pool).schema(Schema::new("events")?);
    /// let store = PostgresStore::migrate(config).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open). Also [`Invalid`](outbox_core::ErrorKind::Invalid) if a table with
    /// one of the names belongs to another program, or if a privilege is missing.
    pub async fn migrate(config: impl Into<PostgresConfig>) -> Result<Self, OutboxError> {
        Self::start(COMPONENT.migrate(config).await?).await
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

    /// An appender for the schema of this store, also through PgBouncer.
    #[must_use]
    pub fn appender(&self) -> Appender {
        let appender = Appender::new(self.driver.schema());
        if self.driver.is_through_pgbouncer() {
            appender.through_pgbouncer()
        } else {
            appender
        }
    }

    /// How long an idempotency token stays taken. Default: 7 days.
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

    /// Polls for new events every 5 to 100 milliseconds instead of listening for them. Default: a
    /// separate connection listens, unless [`PostgresConfig::through_pgbouncer`] is set.
    #[must_use]
    pub fn without_listening(mut self) -> Self {
        self.bell = Arc::new(Bell::silent());
        self
    }

    /// The statements for the size that the retries had at the last look.
    fn statements(&self) -> &Statements {
        self.variants.of(self.pace.outlook().many_retries)
    }

    async fn start(driver: Driver) -> Result<Self, OutboxError> {
        let bell = if driver.is_through_pgbouncer() {
            Bell::silent()
        } else {
            Bell::new(&driver).await?
        };
        let variants = Variants::new(&driver);
        adopt_at_start(&driver, variants.of(false)).await?;
        Ok(Self {
            variants: Arc::new(variants),
            claims: Arc::default(),
            pace: Arc::default(),
            runs: Arc::default(),
            progress: Arc::default(),
            bell: Arc::new(bell),
            mark: ClaimMark::new(),
            token_retention: Duration::from_secs(7 * 24 * 60 * 60),
            blocks_keys: false,
            driver,
        })
    }
}
