#![doc = include_str!("../README.md")]

mod check;
mod config;
mod error;
mod publish;
mod read;
mod row;

use async_trait::async_trait;
use outbox_core::wire::WireForm;
use outbox_core::{
    Event, OutboxError, PublishError, Transport, TransportCheck, check_call_timeout,
};
use outbox_driver_postgres::{Component, Driver};
use sqlx::SqlStr;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use config::PostgresTransportConfig;
pub use outbox_driver_postgres::{PostgresConfig, Schema, sqlx};
pub use read::read;

/// The migrations, oldest first.
pub const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001.sql")];

const COMPONENT: Component = Component {
    name: "arrived",
    tables: &["outbox_arrived"],
    migrations: MIGRATIONS,
    min_compatible: 1,
};

/// The index of the column `seq`.
const NUMBERS: &str = "outbox_arrived_in_order";

/// A [`Transport`] into the table `outbox_arrived` of a PostgreSQL database. Clones share the pool.
///
/// A call is answered within the call timeout and 2 seconds.
///
/// # Cancel safety
///
/// The events of a call whose future is dropped have arrived or not, all that were sent in one statement
/// together. Its connection is closed, and the next call uses another one.
#[derive(Clone, Debug)]
pub struct PostgresTransport {
    table: Arc<Table>,
}

/// The table, and how to reach it.
#[derive(Debug)]
struct Table {
    driver: Driver,
    postgres: PostgresConfig,
    form: WireForm,
    /// The name of the destination.
    name: String,
    insert: SqlStr,
    /// Events that the table had already.
    duplicates: AtomicU64,
}

impl PostgresTransport {
    /// Opens the transport. Connects to nothing, so a relay starts while the server is away; the first
    /// call needs a tokio runtime.
    ///
    /// ```no_run
    /// # use outbox_transport_postgres::{PostgresTransport, PostgresTransportConfig};
    /// # fn example() -> Result<(), outbox_core::OutboxError> {
    /// let config = PostgresTransportConfig::from_url("postgres://relay@db.example/billing")?;
    /// let transport = PostgresTransport::open(config)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if the call timeout is 0 or longer than a day.
    pub fn open(config: impl Into<PostgresTransportConfig>) -> Result<Self, OutboxError> {
        let PostgresTransportConfig { postgres, form } = config.into();
        let driver = Driver::new(postgres.clone());
        check_call_timeout(config::BACKEND, driver.call_timeout())?;
        let name = format!("{}.{}", driver.schema(), COMPONENT.tables[0]);
        let insert = driver.sql(include_str!("sql/insert.sql"));
        let table = Table {
            driver,
            postgres,
            form,
            name,
            insert,
            duplicates: AtomicU64::new(0),
        };
        Ok(Self {
            table: Arc::new(table),
        })
    }

    /// Creates the schema and the table if they are missing, and opens the transport. Several processes
    /// may call it at the same time.
    ///
    /// ```no_run
    /// # use outbox_transport_postgres::{PostgresTransport, sqlx::PgPool};
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = PgPool::connect("postgres://owner@db.example/billing").await?;
    /// let transport = PostgresTransport::migrate(pool).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open). Also [`Invalid`](outbox_core::ErrorKind::Invalid) if a table of this
    /// name belongs to another program, if a privilege is missing, or if the server is older than
    /// PostgreSQL 13. [`Unavailable`](outbox_core::ErrorKind::Unavailable) if it cannot be reached.
    pub async fn migrate(config: impl Into<PostgresTransportConfig>) -> Result<Self, OutboxError> {
        let config = config.into();
        let transport = Self::open(config.clone())?;
        COMPONENT.migrate(config.postgres).await?;
        Ok(transport)
    }

    /// How many of [`MIGRATIONS`] are applied; more than there are if a newer version, which is compatible,
    /// migrated the tables. Changes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`migrate`](Self::migrate), except a missing privilege.
    pub async fn applied_migrations(
        config: impl Into<PostgresTransportConfig>,
    ) -> Result<usize, OutboxError> {
        COMPONENT.applied(config.into().postgres).await
    }

    /// The statements that [`migrate`](Self::migrate) runs in an empty `schema`, as a script for psql.
    #[must_use]
    pub fn script(schema: &Schema) -> String {
        COMPONENT.script(schema)
    }
}

#[async_trait]
impl Transport for PostgresTransport {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        publish::publish(&self.table, events).await
    }

    fn keeps_order(&self) -> bool {
        true
    }

    fn destination<'a>(&'a self, _event: &'a Event) -> Option<Cow<'a, str>> {
        Some(Cow::Borrowed(&self.table.name))
    }

    fn duplicates(&self) -> u64 {
        self.table.duplicates.load(Ordering::Relaxed)
    }

    async fn check(&self) -> TransportCheck {
        check::check(&self.table).await
    }
}
