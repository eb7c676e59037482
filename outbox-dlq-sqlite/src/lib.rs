#![doc = include_str!("../README.md")]

mod rows;

use async_trait::async_trait;
use outbox_core::{
    Clock, DlqEntry, DlqHeap, ErrorText, EventId, FailedAttempt, HeapSize, OutboxError,
};
use outbox_driver_sqlite::rusqlite::Connection;
use outbox_driver_sqlite::{Component, Driver, from_micros, micros, sqlite_error};
use rows::{blob, corrupt, entries, none_exceeded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use outbox_driver_sqlite::{SqliteConfig, memory_uri, rusqlite};

/// The migrations, oldest first.
pub const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001.sql")];

const COMPONENT: Component = Component {
    name: "dlq-heap",
    tables: &["outbox_dlq_heap"],
    migrations: MIGRATIONS,
};

/// A dead-letter heap in a SQLite file. Clones share a connection.
#[derive(Clone, Debug)]
pub struct SqliteDlqHeap {
    driver: Driver,
    clock: Clock,
    /// How many corrupt rows were told of last, so that a row is not told of at each call.
    corrupt: Arc<AtomicU64>,
}

impl SqliteDlqHeap {
    /// Opens the heap in a file that was migrated before.
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if the tables are missing or have another version,
    /// or if the file is missing, is not an SQLite file or cannot be written.
    /// [`Unavailable`](outbox_core::ErrorKind::Unavailable) if other connections keep it locked.
    pub async fn open(config: impl Into<SqliteConfig>) -> Result<Self, OutboxError> {
        Ok(Self::on(COMPONENT.open(config).await?))
    }

    /// Creates the file and the tables that are missing, and opens the heap. Several processes may
    /// call it at the same time.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open). Also [`Invalid`](outbox_core::ErrorKind::Invalid) if a table with
    /// one of the names belongs to another program.
    pub async fn migrate(config: impl Into<SqliteConfig>) -> Result<Self, OutboxError> {
        Ok(Self::on(COMPONENT.migrate(config).await?))
    }

    /// How many of [`MIGRATIONS`] are applied; `None` if the file does not exist, but its folder does.
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

    /// Replaces the clock, which is the machine's.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
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

    fn on(driver: Driver) -> Self {
        Self {
            driver,
            clock: Clock::system(),
            corrupt: Arc::default(),
        }
    }

    fn now(&self) -> i64 {
        micros(self.clock.now())
    }

    /// Runs a statement that gives up entries, at most `limit`, and warns of what it passed over.
    async fn give_up(
        &self,
        operation: &'static str,
        threshold: u32,
        limit: usize,
        sql: &'static str,
        parameters: impl rusqlite::Params + Send + 'static,
    ) -> Result<Vec<DlqEntry>, OutboxError> {
        let empty = move |connection: &Connection| none_exceeded(connection, threshold);
        if self.driver.read(operation, empty).await? {
            return Ok(Vec::new());
        }
        let work = move |connection: &Connection| {
            let entries = entries(connection, sql, parameters, operation)?;
            // A full page left entries behind, and to look through them each time would cost more
            // than the page.
            let full = entries.len() == limit;
            let corrupt = (!full).then(|| corrupt(connection, threshold, operation));
            Ok((entries, corrupt.transpose()?))
        };
        let (entries, corrupt) = self.driver.write(operation, work).await?;
        if let Some((count, turn)) = corrupt
            && self.corrupt.swap(count, Ordering::Relaxed) != count
            && let Some(turn) = turn
        {
            let table = "outbox_dlq_heap";
            tracing::warn!(
                table,
                turn,
                count,
                "rows with an id or a count that cannot be one are skipped"
            );
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
        let (sql, threshold, now) = (include_str!("sql/drain.sql"), threshold.max(1), self.now());
        self.give_up("drain", threshold, usize::MAX, sql, (threshold, now))
            .await
    }

    async fn record_failures(&self, failures: &[FailedAttempt]) -> Result<(), OutboxError> {
        const OPERATION: &str = "record";
        if failures.is_empty() {
            return Ok(());
        }
        let (failures, now) = (failures.to_vec(), self.now());
        let record = move |connection: &Connection| {
            let error = sqlite_error(OPERATION);
            let mut upsert = connection
                .prepare_cached(include_str!("sql/record.sql"))
                .map_err(&error)?;
            for failure in &failures {
                let text = failure.error.as_ref().map(ErrorText::as_str);
                upsert
                    .execute((blob(&failure.id), now, text))
                    .map_err(&error)?;
            }
            Ok(())
        };
        self.driver.write(OPERATION, record).await
    }

    async fn forget(&self, ids: &[EventId]) -> Result<(), OutboxError> {
        const OPERATION: &str = "forget";
        if ids.is_empty() {
            return Ok(());
        }
        // On the healthy path nothing failed, and a look takes no lock for writing.
        let empty = |connection: &Connection| none_exceeded(connection, 1);
        if self.driver.read(OPERATION, empty).await? {
            return Ok(());
        }
        let ids = ids.to_vec();
        let forget = move |connection: &Connection| {
            let error = sqlite_error(OPERATION);
            let mut delete = connection
                .prepare_cached(include_str!("sql/forget.sql"))
                .map_err(&error)?;
            for id in &ids {
                delete.execute([blob(id)]).map_err(&error)?;
            }
            Ok(())
        };
        self.driver.write(OPERATION, forget).await
    }

    async fn lease_exceeded(
        &self,
        threshold: u32,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<DlqEntry>, OutboxError> {
        let (sql, threshold, now) = (include_str!("sql/lease.sql"), threshold.max(1), self.now());
        let lease = i64::try_from(lease.as_micros()).unwrap_or(i64::MAX);
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let parameters = (threshold, now, most, now.saturating_add(lease), lease);
        self.give_up("lease", threshold, limit, sql, parameters)
            .await
    }

    async fn size(&self) -> Result<Option<HeapSize>, OutboxError> {
        let size = |connection: &Connection| {
            connection
                .query_row(include_str!("sql/size.sql"), [], |row| {
                    let oldest: Option<i64> = row.get(1)?;
                    let entries = row.get::<_, i64>(0)?.unsigned_abs();
                    Ok(Some(HeapSize::new(entries, oldest.map(from_micros))))
                })
                .map_err(sqlite_error("size"))
        };
        self.driver.read("size", size).await
    }

    /// Also ends leases in their time that were made while the clock was ahead.
    async fn prune(&self, age: Duration, limit: usize) -> Result<usize, OutboxError> {
        let now = self.now();
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let prune = move |connection: &Connection| {
            let shortened = connection
                .execute(include_str!("sql/shorten.sql"), [now])
                .map_err(sqlite_error("prune"))?;
            if shortened > 0 {
                tracing::warn!(shortened, "leases ended later than their length from now");
            }
            connection
                .execute(
                    include_str!("sql/prune.sql"),
                    (now.saturating_sub(age), now, limit),
                )
                .map_err(sqlite_error("prune"))
        };
        self.driver.write("prune", prune).await
    }
}
