//! [`OutboxStorage`](outbox_core::OutboxStorage) and [`DeadLetters`](outbox_core::DeadLetters) on
//! `PostgreSQL`, and [`append`] for the application's own transaction.
//!
//! The outbox is a log that is only inserted into. It is read in *windows*: the rows that one
//! snapshot of the database sees and the one before it does not. So no late commit is missed, and
//! no transaction that stays open holds the others up; the idea is that of `PgQ`. The log has 16
//! lanes, and a claim leases lanes; events of one ordering key share a lane. On the healthy path a
//! batch costs two small updates, and only events that fail cost rows of their own. The tables are
//! a public contract: see `docs/postgres-schema.md`.

mod append;
mod aside;
mod claim;
mod dead_letters;
mod draft;
mod headers;
mod lost;
mod memory;
mod origin;
mod plan;
mod quarantine;
mod renew;
mod row;
mod settle;
mod sql;
mod status;
mod storage;
mod wake;

pub use append::{append, append_through_pgbouncer};
pub use outbox_driver_postgres::{DriverOptions, Schema};
pub use sqlx;

use memory::Memory;
use outbox_core::OutboxError;
use outbox_driver_postgres::Driver;
use sql::Statements;
use sqlx::PgPool;
use std::sync::Arc;
use std::time::Duration;
use wake::Bell;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The name under which the tables are known in `outbox_migrations`.
const COMPONENT: &str = "store";

/// The migrations, oldest first. [`PostgresStore::migrate`] applies them.
pub const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001.sql")];

const TABLES: &[&str] = &[
    "outbox_events",
    "outbox_log",
    "outbox_tokens",
    "outbox_lanes",
    "outbox_marks",
    "outbox_unread",
    "outbox_origin",
    "outbox_home",
    "outbox_retries",
    "outbox_dead_letters",
    "outbox_alarm",
    "outbox_rings",
];

/// The outbox and its quarantine in a schema of a PostgreSQL database.
///
/// A clone shares the connections. Several processes may share the schema. A claim is settled
/// through the handle that made it, or a clone.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    driver: Driver,
    statements: Arc<Statements>,
    memory: Arc<Memory>,
    bell: Arc<Bell>,
    token_retention: Duration,
    holds_keys: bool,
}

impl PostgresStore {
    /// Makes the schema and the tables that are missing, and opens them. Safe from several
    /// processes at once.
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if the server is older than PostgreSQL 13, a
    /// right is missing, a table of our name is not ours, or a newer program migrated the schema;
    /// [`Unavailable`](outbox_core::ErrorKind::Unavailable) if the server cannot be reached.
    pub async fn migrate(pool: PgPool, options: DriverOptions) -> Result<Self, OutboxError> {
        let driver = Driver::new(pool, options);
        driver.migrate(COMPONENT, TABLES, MIGRATIONS).await?;
        Self::start(driver).await
    }

    /// Opens a schema that has the tables of this version.
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if it lacks them, or the server is older than
    /// PostgreSQL 13; [`Unavailable`](outbox_core::ErrorKind::Unavailable) if it cannot be reached.
    pub async fn open(pool: PgPool, options: DriverOptions) -> Result<Self, OutboxError> {
        let driver = Driver::new(pool, options);
        let newest = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
        driver.require_version(COMPONENT, TABLES, newest).await?;
        Self::start(driver).await
    }

    /// How many of [`MIGRATIONS`] the schema has. Changes nothing.
    ///
    /// # Errors
    ///
    /// As [`migrate`](Self::migrate), which fails after this only for want of a right.
    pub async fn applied_migrations(
        pool: PgPool,
        options: DriverOptions,
    ) -> Result<usize, OutboxError> {
        Driver::new(pool, options)
            .applied_migrations(COMPONENT, TABLES, MIGRATIONS)
            .await
    }

    /// What [`migrate`](Self::migrate) does in an empty `schema`, as a script for psql.
    #[must_use]
    pub fn script(schema: &Schema) -> String {
        schema.script(COMPONENT, MIGRATIONS)
    }

    /// How long an idempotency token stays taken. Default: 7 days.
    #[must_use]
    pub fn with_token_retention(mut self, retention: Duration) -> Self {
        self.token_retention = retention;
        self
    }

    /// Lets an event that is quarantined through this handle hold its key: the successors wait
    /// until the dead letter is replayed before them, or purged. Default: they go on.
    #[must_use]
    pub fn holding_keys(mut self) -> Self {
        self.holds_keys = true;
        self
    }

    /// Looks for new events every few milliseconds instead of listening for them. Default: a
    /// connection of its own listens, unless [`DriverOptions::through_pgbouncer`] is set.
    #[must_use]
    pub fn without_listening(mut self) -> Self {
        self.bell = Arc::new(Bell::silent());
        self
    }

    async fn start(driver: Driver) -> Result<Self, OutboxError> {
        let bell = if driver.is_through_pgbouncer() {
            Bell::silent()
        } else {
            Bell::new(&driver).await?
        };
        let statements = Statements::new(&driver);
        origin::adopt_at_start(&driver, &statements).await?;
        Ok(Self {
            statements: Arc::new(statements),
            memory: Arc::default(),
            bell: Arc::new(bell),
            token_retention: Duration::from_secs(7 * 24 * 60 * 60),
            holds_keys: false,
            driver,
        })
    }
}
