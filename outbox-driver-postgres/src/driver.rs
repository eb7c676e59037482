//! The handle that adapters hold.

use crate::error::{postgres_error, refusal};
use crate::lent::Lent;
use crate::schema::Schema;
use outbox_core::{ErrorKind, OutboxError};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Executor, PgConnection, PgPool, Postgres, SqlStr};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Where the tables are, and how long a [`Driver`] waits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DriverOptions {
    pub(crate) schema: Schema,
    pub(crate) call_timeout: Duration,
}

impl Default for DriverOptions {
    fn default() -> Self {
        Self {
            schema: Schema::default(),
            call_timeout: Duration::from_secs(10),
        }
    }
}

impl DriverOptions {
    /// The schema of the tables. Default: `outbox`.
    #[must_use]
    pub fn schema(mut self, schema: Schema) -> Self {
        self.schema = schema;
        self
    }

    /// How long a caller waits for its answer, time in the pool's queue included. Default: 10
    /// seconds.
    #[must_use]
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }
}

/// A pool, a schema, and the time that a call may take. Clones share the pool.
///
/// # Cancel safety
///
/// A call whose future is dropped, or whose time is over, may or may not have been applied; a
/// transaction is applied whole or not at all. Its connection is closed, and never given to
/// another caller.
#[derive(Clone, Debug)]
pub struct Driver {
    pub(crate) pool: PgPool,
    pub(crate) options: DriverOptions,
}

impl Driver {
    /// Runs calls on connections of `pool`.
    #[must_use]
    pub fn new(pool: PgPool, options: DriverOptions) -> Self {
        Self { pool, options }
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The schema of the tables.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.options.schema
    }

    /// The text of a SQL file with its tables in the schema: see [`Schema::sql`].
    #[must_use]
    pub fn sql(&self, text: &str) -> SqlStr {
        self.options.schema.sql(text)
    }

    /// Runs one statement, which is a transaction of its own, and returns how many rows it wrote.
    ///
    /// # Errors
    ///
    /// Those of [`postgres_error`]; [`ErrorKind::Unavailable`] if the answer does not come in time.
    pub async fn execute(
        &self,
        operation: &'static str,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<u64, OutboxError> {
        let time = self.options.call_timeout;
        self.call(time, operation, async |connection: &mut PgConnection| {
            let done = query.execute(connection).await;
            Ok(done.map(|done| done.rows_affected()))
        })
        .await?
        .map_err(postgres_error(operation))
    }

    /// Runs one statement, which is a transaction of its own, and returns its rows.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    pub async fn fetch(
        &self,
        operation: &'static str,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, OutboxError> {
        let time = self.options.call_timeout;
        self.call(time, operation, async |connection: &mut PgConnection| {
            Ok(query.fetch_all(connection).await)
        })
        .await?
        .map_err(postgres_error(operation))
    }

    /// Runs one statement that always has a row, and reads its first.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute); [`ErrorKind::Corrupt`] if there is no row, or `read` fails.
    pub async fn fetch_one<T>(
        &self,
        operation: &'static str,
        query: Query<'_, Postgres, PgArguments>,
        read: impl FnOnce(&PgRow) -> sqlx::Result<T>,
    ) -> Result<T, OutboxError> {
        let rows = self.fetch(operation, query).await?;
        let row = rows.first().ok_or(sqlx::Error::RowNotFound);
        row.and_then(read).map_err(postgres_error(operation))
    }

    /// Runs `work` in a transaction (READ COMMITTED) and answers once it is committed.
    ///
    /// If `work` errs, or a statement in it failed and `work` went on, all of it is rolled back.
    /// `work` must not begin or end a transaction; savepoints are fine.
    ///
    /// # Errors
    ///
    /// What `work` returns, and as [`execute`](Self::execute).
    pub async fn transaction<T>(
        &self,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, OutboxError>,
    ) -> Result<T, OutboxError> {
        self.transaction_within(self.options.call_timeout, operation, work)
            .await
    }

    /// As [`transaction`](Self::transaction), within `time` instead of the call timeout.
    ///
    /// # Errors
    ///
    /// As [`transaction`](Self::transaction).
    pub async fn transaction_within<T>(
        &self,
        time: Duration,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, OutboxError>,
    ) -> Result<T, OutboxError> {
        self.call(time, operation, async |connection: &mut PgConnection| {
            let result = transact(connection, operation, work).await;
            if result.is_err() {
                connection
                    .execute("ROLLBACK")
                    .await
                    .map_err(postgres_error(operation))?;
            }
            Ok(result)
        })
        .await?
    }

    /// Runs `work` on a connection within `time`. An `Err` of `work` says that the connection is
    /// not fit for another caller.
    async fn call<T>(
        &self,
        time: Duration,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, OutboxError>,
    ) -> Result<T, OutboxError> {
        let late = |text: &str, time: Duration| {
            let text = format!("{text} within {time:?}");
            refusal(ErrorKind::Unavailable, operation, text)
        };
        let (start, patience) = (Instant::now(), self.options.call_timeout);
        let connection = timeout(patience, self.pool.acquire())
            .await
            .map_err(|_| late("no connection", patience))?
            .map_err(postgres_error(operation))?;
        let mut lent = Lent::new(connection);
        let answer = timeout(
            time.saturating_sub(start.elapsed()),
            work(lent.connection()),
        )
        .await
        .map_err(|_| late("the call may have been applied; no answer", time))??;
        lent.give_back();
        Ok(answer)
    }
}

/// The statement before the COMMIT fails in a transaction that a failed statement has ended, where
/// a COMMIT alone would be answered as if it had committed.
const COMMIT: &str = "SELECT; COMMIT";

async fn transact<T>(
    connection: &mut PgConnection,
    operation: &'static str,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, OutboxError>,
) -> Result<T, OutboxError> {
    let error = postgres_error(operation);
    connection
        .execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        .await
        .map_err(&error)?;
    let value = work(connection).await?;
    sqlx::raw_sql(COMMIT)
        .execute(connection)
        .await
        .map_err(&error)?;
    Ok(value)
}
