#![doc = include_str!("../README.md")]

use async_trait::async_trait;
use outbox_core::{DlqEntry, DlqHeap, ErrorText, EventId, FailedAttempt, HeapSize, OutboxError};
use outbox_driver_postgres::sqlx::postgres::PgRow;
use outbox_driver_postgres::sqlx::{Row, SqlStr, query};
use outbox_driver_postgres::{Component, Driver, PgTime, PgUuid, interval, postgres_error};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

pub use outbox_driver_postgres::{PostgresConfig, Schema, sqlx};

/// The migrations, oldest first.
pub const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001.sql")];

const COMPONENT: Component = Component {
    name: "dlq-heap",
    tables: &["outbox_dlq_heap"],
    migrations: MIGRATIONS,
    min_compatible: 1,
};

/// A [`DlqHeap`] in a table of a PostgreSQL database. Clones share the pool.
///
/// # Cancel safety
///
/// A call whose future is dropped was applied whole or not at all.
#[derive(Clone, Debug)]
pub struct PostgresDlqHeap {
    driver: Driver,
    statements: Statements,
    /// The longest lease that was taken through this handle, in seconds.
    longest_lease: Arc<AtomicU64>,
}

/// The statements, with the table in its schema.
#[derive(Clone, Debug)]
struct Statements {
    record: SqlStr,
    forget: SqlStr,
    drain: SqlStr,
    lease: SqlStr,
    size: SqlStr,
    prune: SqlStr,
    cut_leases: SqlStr,
}

impl PostgresDlqHeap {
    /// Opens the heap in a schema that was migrated before.
    ///
    /// ```no_run
    /// # use outbox_dlq_postgres::{PostgresDlqHeap, sqlx::PgPool};
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = PgPool::connect("postgres://me@db.example/shop").await?;
    /// let heap = PostgresDlqHeap::open(pool).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if the tables are missing or of a version that it cannot use,
    /// or if the server is older than PostgreSQL 13.
    /// [`Unavailable`](outbox_core::ErrorKind::Unavailable) if the server cannot be reached.
    pub async fn open(config: impl Into<PostgresConfig>) -> Result<Self, OutboxError> {
        Ok(Self::on(COMPONENT.open(config).await?))
    }

    /// Creates the schema and the tables that are missing, and opens the heap. Several processes may
    /// call it at the same time.
    ///
    /// ```no_run
    /// # use outbox_dlq_postgres::{PostgresConfig, PostgresDlqHeap, Schema, sqlx::PgPool};
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = PgPool::connect("postgres://owner@db.example/shop").await?;
    /// let config = PostgresConfig::new(pool).schema(Schema::new("events")?);
    /// let heap = PostgresDlqHeap::migrate(config).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open). Also [`Invalid`](outbox_core::ErrorKind::Invalid) if a table with
    /// one of the names belongs to another program, or if a privilege is missing.
    pub async fn migrate(config: impl Into<PostgresConfig>) -> Result<Self, OutboxError> {
        Ok(Self::on(COMPONENT.migrate(config).await?))
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

    fn on(driver: Driver) -> Self {
        let statements = Statements {
            record: driver.sql(include_str!("sql/record.sql")),
            forget: driver.sql(include_str!("sql/forget.sql")),
            drain: driver.sql(include_str!("sql/drain.sql")),
            lease: driver.sql(include_str!("sql/lease.sql")),
            size: driver.sql(include_str!("sql/size.sql")),
            prune: driver.sql(include_str!("sql/prune.sql")),
            cut_leases: driver.sql(include_str!("sql/cut_leases.sql")),
        };
        Self {
            driver,
            statements,
            longest_lease: Arc::new(AtomicU64::new(LONGEST_LEASE.as_secs())),
        }
    }
}

/// The longest lease that a relay can be configured to take.
const LONGEST_LEASE: Duration = Duration::from_secs(24 * 60 * 60);

#[async_trait]
impl DlqHeap for PostgresDlqHeap {
    async fn record_failure(&self, id: EventId) -> Result<(), OutboxError> {
        self.record_failures(&[FailedAttempt::new(id)]).await
    }

    async fn record_success(&self, id: EventId) -> Result<(), OutboxError> {
        self.forget(&[id]).await
    }

    async fn drain_exceeded(&self, threshold: u32) -> Result<Vec<DlqEntry>, OutboxError> {
        const OPERATION: &str = "drain_exceeded";
        let drain = query(self.statements.drain.clone()).bind(i64::from(threshold));
        entries(&self.driver.fetch(OPERATION, drain).await?, OPERATION)
    }

    async fn record_failures(&self, failures: &[FailedAttempt]) -> Result<(), OutboxError> {
        if failures.is_empty() {
            return Ok(());
        }
        let ids: Vec<PgUuid> = failures.iter().map(|failure| uuid(&failure.id)).collect();
        let error = |failure: &FailedAttempt| failure.error.as_deref().map(str::to_owned);
        let errors: Vec<Option<String>> = failures.iter().map(error).collect();
        let record = query(self.statements.record.clone()).bind(ids).bind(errors);
        self.driver
            .execute("record_failures", record)
            .await
            .map(drop)
    }

    async fn forget(&self, ids: &[EventId]) -> Result<(), OutboxError> {
        if ids.is_empty() {
            return Ok(());
        }
        let ids: Vec<PgUuid> = ids.iter().map(uuid).collect();
        let forget = query(self.statements.forget.clone()).bind(ids);
        self.driver.execute("forget", forget).await.map(drop)
    }

    async fn lease_exceeded(
        &self,
        threshold: u32,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<DlqEntry>, OutboxError> {
        const OPERATION: &str = "lease_exceeded";
        self.longest_lease
            .fetch_max(lease.as_secs().saturating_add(1), Relaxed);
        let lease = query(self.statements.lease.clone())
            .bind(i64::from(threshold))
            .bind(bound(limit))
            .bind(interval(lease));
        entries(&self.driver.fetch(OPERATION, lease).await?, OPERATION)
    }

    async fn size(&self) -> Result<Option<HeapSize>, OutboxError> {
        const OPERATION: &str = "size";
        let error = postgres_error(OPERATION);
        let size = query(self.statements.size.clone());
        let rows = self.driver.fetch(OPERATION, size).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let count: i64 = row.try_get(0).map_err(&error)?;
        let oldest: Option<PgTime> = row.try_get(1).map_err(&error)?;
        let oldest = oldest.map(|PgTime(time)| time);
        Ok(Some(HeapSize::new(count.unsigned_abs(), oldest)))
    }

    async fn prune(&self, age: Duration, limit: usize) -> Result<usize, OutboxError> {
        let longest = Duration::from_secs(self.longest_lease.load(Relaxed));
        let cut = query(self.statements.cut_leases.clone()).bind(interval(longest));
        self.driver.execute("prune", cut).await?;
        let prune = query(self.statements.prune.clone())
            .bind(interval(age))
            .bind(bound(limit));
        let pruned = self.driver.execute("prune", prune).await?;
        Ok(usize::try_from(pruned).unwrap_or(usize::MAX))
    }
}

fn uuid(id: &EventId) -> PgUuid {
    PgUuid(*id.as_uuid())
}

fn bound(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn entries(rows: &[PgRow], operation: &'static str) -> Result<Vec<DlqEntry>, OutboxError> {
    let entries: Result<_, _> = rows.iter().map(entry).collect();
    entries.map_err(postgres_error(operation))
}

fn entry(row: &PgRow) -> Result<DlqEntry, sqlx::Error> {
    let PgUuid(id) = row.try_get(0)?;
    let count = u32::try_from(row.try_get::<i64, _>(1)?).unwrap_or(u32::MAX);
    let error: Option<&str> = row.try_get(2)?;
    let (PgTime(first), PgTime(last)) = (row.try_get(3)?, row.try_get(4)?);
    let entry = DlqEntry::new(EventId::from(id), count, first, last);
    Ok(entry.with_error(error.map(ErrorText::new)))
}
