#![doc = include_str!("../README.md")]

mod rows;

use async_trait::async_trait;
use outbox_core::{
    Clock, DlqEntry, DlqHeap, ErrorText, EventId, FailedAttempt, HeapSize, OutboxError,
};
use outbox_driver_sqlite::rusqlite::Connection;
use outbox_driver_sqlite::{
    Driver, applied_migrations, from_micros, inspect, micros, migrate, migrate_within,
    require_version, sqlite_error,
};
use rows::{blob, corrupt, entries, none_exceeded};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use outbox_driver_sqlite::{DriverOptions, memory_uri, rusqlite};

const COMPONENT: &str = "dlq-heap";
const TABLES: &[&str] = &["outbox_dlq_heap"];

/// The migrations, in their order.
pub const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001.sql")];

/// A dead-letter heap in a SQLite file. Clones share a connection.
#[derive(Clone, Debug)]
pub struct SqliteDlqHeap {
    driver: Driver,
    clock: Clock,
    /// How many corrupt rows were told of last, so that a row is not told of at each call.
    corrupt: Arc<AtomicU64>,
}

impl SqliteDlqHeap {
    /// Opens a heap that was migrated before.
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) for a file that is missing, read-only or not
    /// SQLite, or whose heap was not migrated, or by a newer program.
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
        let driver = Driver::open(path, options, check).await?;
        Ok(Self::on(driver))
    }

    /// Creates the file and the table where they are missing, then opens the heap.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and if a table of that name is not ours.
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

    /// Opens the heap in the database `name` in this process's memory, which is gone when the last
    /// handle and connection to it is.
    ///
    /// # Errors
    ///
    /// As [`migrate`](Self::migrate); [`Invalid`](outbox_core::ErrorKind::Invalid) for a name that
    /// is not of 1 to 100 ASCII letters, digits, `-`, `_` and `.`.
    pub async fn open_in_memory(name: &str) -> Result<Self, OutboxError> {
        Self::migrated(Driver::open_in_memory(name, DriverOptions::default()).await?).await
    }

    /// Creates the table on a connection of the caller's, and returns how many migrations ran.
    ///
    /// # Errors
    ///
    /// As [`migrate`](Self::migrate).
    pub fn migrate_on(connection: &mut Connection) -> Result<usize, OutboxError> {
        migrate(connection, COMPONENT, TABLES, MIGRATIONS)
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

    async fn migrated(driver: Driver) -> Result<Self, OutboxError> {
        let migrate =
            |connection: &Connection| migrate_within(connection, COMPONENT, TABLES, MIGRATIONS);
        driver.write("migrate", migrate).await?;
        Ok(Self::on(driver))
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

fn applied(connection: &Connection) -> Result<usize, OutboxError> {
    applied_migrations(connection, COMPONENT, TABLES, MIGRATIONS)
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
