#![doc = include_str!("../README.md")]

mod row;

use async_trait::async_trait;
use outbox_core::{Clock, DlqEntry, DlqHeap, EventId, FailedAttempt, HeapSize, OutboxError};
use outbox_driver_sqlite::rusqlite::{Connection, Params};
use outbox_driver_sqlite::{Component, Driver, from_micros, interval, micros};
use row::entry;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

pub use outbox_driver_sqlite::{SqliteConfig, memory_uri, rusqlite};

/// The migrations, oldest first.
pub const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001.sql")];

const COMPONENT: Component = Component {
    name: "dlq-heap",
    tables: &["outbox_dlq_heap"],
    migrations: MIGRATIONS,
    min_compatible: 1,
};

/// A [`DlqHeap`] in a table of an SQLite file. Clones share the connection.
///
/// # Cancel safety
///
/// Each method is one transaction: a call whose future is dropped was applied whole or not at all.
#[derive(Clone, Debug)]
pub struct SqliteDlqHeap {
    driver: Driver,
    clock: Clock,
    /// How many unreadable rows the latest warning counted, so that each call does not repeat it.
    unreadable: Arc<AtomicU64>,
}

impl SqliteDlqHeap {
    /// Opens the heap in a file that was migrated before.
    ///
    /// ```no_run
    /// # use outbox_dlq_sqlite::SqliteDlqHeap;
    /// # async fn example() -> Result<(), outbox_core::OutboxError> {
    /// let heap = SqliteDlqHeap::open("shop.db").await?;
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

    /// Creates the file and the tables that are missing, and opens the heap. Several processes may
    /// call it at the same time.
    ///
    /// ```no_run
    /// # use outbox_dlq_sqlite::{SqliteConfig, SqliteDlqHeap};
    /// # use std::time::Duration;
    /// # async fn example() -> Result<(), outbox_core::OutboxError> {
    /// let config = SqliteConfig::new("shop.db").busy_timeout(Duration::from_secs(2));
    /// let heap = SqliteDlqHeap::migrate(config).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open). Also [`Invalid`](outbox_core::ErrorKind::Invalid) if a table with
    /// one of the names belongs to another program.
    pub async fn migrate(config: impl Into<SqliteConfig>) -> Result<Self, OutboxError> {
        Ok(Self::on(COMPONENT.migrate(config).await?))
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

    /// Replaces the clock. Default: the clock of the machine.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
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
            unreadable: Arc::default(),
        }
    }

    fn now(&self) -> i64 {
        micros(self.clock.now())
    }

    /// Whether no entry has the threshold. While nothing fails, this spares the calls a write lock.
    async fn is_below(&self, threshold: u32, operation: &'static str) -> Result<bool, OutboxError> {
        let any = move |connection: &Connection| {
            let mut any = connection.prepare_cached(include_str!("sql/any_exceeded.sql"))?;
            any.query_row([threshold], |row| row.get::<_, bool>(0))
        };
        Ok(!self.driver.fetch(operation, any).await?)
    }

    /// Runs a statement that returns up to `limit` entries, and warns of the rows that it skips.
    async fn entries(
        &self,
        operation: &'static str,
        sql: &'static str,
        threshold: u32,
        limit: usize,
        parameters: impl Params + Send + 'static,
    ) -> Result<Vec<DlqEntry>, OutboxError> {
        if self.is_below(threshold, operation).await? {
            return Ok(Vec::new());
        }
        let work = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(parameters, entry)?;
            let entries = rows.collect::<Result<Vec<_>, _>>()?;
            // A full page leaves entries behind. To count the unreadable rows among them would cost
            // more than the page.
            let is_full = entries.len() == limit;
            let unreadable = (!is_full).then(|| unreadable(connection, threshold));
            Ok((entries, unreadable.transpose()?))
        };
        let (entries, unreadable) = self.driver.execute(operation, work).await?;
        if let Some((count, turn)) = unreadable
            && self.unreadable.swap(count, Relaxed) != count
            && count > 0
        {
            let problem = "rows with an invalid id or failure count are skipped";
            tracing::warn!(table = "outbox_dlq_heap", turn, count, "{problem}");
        }
        Ok(entries)
    }
}

#[async_trait]
impl DlqHeap for SqliteDlqHeap {
    async fn record_failure(&self, id: EventId) -> Result<(), OutboxError> {
        self.record_failures(&[FailedAttempt::new(id)]).await
    }

    async fn record_success(&self, id: EventId) -> Result<(), OutboxError> {
        self.forget(&[id]).await
    }

    async fn drain_exceeded(&self, threshold: u32) -> Result<Vec<DlqEntry>, OutboxError> {
        let (drain, threshold) = (include_str!("sql/drain.sql"), threshold.max(1));
        let parameters = (threshold, self.now());
        self.entries("drain_exceeded", drain, threshold, usize::MAX, parameters)
            .await
    }

    async fn record_failures(&self, failures: &[FailedAttempt]) -> Result<(), OutboxError> {
        if failures.is_empty() {
            return Ok(());
        }
        let (failures, now) = (failures.to_vec(), self.now());
        let record = move |connection: &Connection| {
            let mut record = connection.prepare_cached(include_str!("sql/record.sql"))?;
            failures.iter().try_for_each(|failure| {
                let error = failure.error.as_deref();
                record.execute((blob(&failure.id), now, error)).map(drop)
            })
        };
        self.driver.execute("record_failures", record).await
    }

    async fn forget(&self, ids: &[EventId]) -> Result<(), OutboxError> {
        const OPERATION: &str = "forget";
        if ids.is_empty() || self.is_below(1, OPERATION).await? {
            return Ok(());
        }
        let ids = ids.to_vec();
        let forget = move |connection: &Connection| {
            let mut forget = connection.prepare_cached(include_str!("sql/forget.sql"))?;
            ids.iter()
                .try_for_each(|id| forget.execute([blob(id)]).map(drop))
        };
        self.driver.execute(OPERATION, forget).await
    }

    async fn lease_exceeded(
        &self,
        threshold: u32,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<DlqEntry>, OutboxError> {
        let (sql, threshold) = (include_str!("sql/lease.sql"), threshold.max(1));
        let (now, lease) = (self.now(), interval(lease));
        let until = now.saturating_add(lease);
        let parameters = (threshold, now, bound(limit), until, lease);
        self.entries("lease_exceeded", sql, threshold, limit, parameters)
            .await
    }

    async fn size(&self) -> Result<Option<HeapSize>, OutboxError> {
        let size = |connection: &Connection| {
            let sql = include_str!("sql/size.sql");
            connection.query_row(sql, [], |row| {
                let (count, oldest): (i64, Option<i64>) = (row.get(0)?, row.get(1)?);
                let oldest = oldest.map(from_micros);
                Ok(Some(HeapSize::new(count.unsigned_abs(), oldest)))
            })
        };
        self.driver.fetch("size", size).await
    }

    async fn prune(&self, age: Duration, limit: usize) -> Result<usize, OutboxError> {
        let now = self.now();
        let parameters = (now.saturating_sub(interval(age)), now, bound(limit));
        let prune = move |connection: &Connection| {
            let cut = connection.execute(include_str!("sql/cut_leases.sql"), [now])?;
            if cut > 0 {
                tracing::warn!(cut, "leases that ended too late were shortened");
            }
            connection.execute(include_str!("sql/prune.sql"), parameters)
        };
        self.driver.execute("prune", prune).await
    }
}

fn blob(id: &EventId) -> &[u8; 16] {
    id.as_uuid().as_bytes()
}

fn bound(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// How many rows are skipped at the threshold, and the turn of the first.
fn unreadable(connection: &Connection, threshold: u32) -> rusqlite::Result<(u64, Option<i64>)> {
    let mut unreadable = connection.prepare_cached(include_str!("sql/unreadable.sql"))?;
    unreadable.query_row([threshold], |row| {
        let count: i64 = row.get(0)?;
        Ok((count.unsigned_abs(), row.get(1)?))
    })
}
