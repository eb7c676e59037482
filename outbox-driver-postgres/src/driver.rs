//! The handle that adapters hold.

use crate::config::PostgresConfig;
use crate::error::{is_name_of_others, is_unfit, postgres_error, refusal, without_option};
use crate::lent::Lent;
use crate::schema::SchemaSql;
use outbox_append_postgres::Schema;
use outbox_core::{ErrorKind, OutboxError};
use sqlx::error::DatabaseError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::query::Query;
use sqlx::{
    ConnectOptions as _, Connection as _, Executor, PgConnection, PgPool, Postgres, SqlStr,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long the driver tries to find out why it gets no connection.
const PROBE: Duration = Duration::from_secs(1);

/// Operations that change nothing that a caller can see, by the names of the traits' methods.
const READS: &[&str] = &[
    "open",
    "applied_migrations",
    "check",
    "size",
    "list",
    "find",
    "statistics",
    "backlog",
    "wait_for_work",
];

/// A pool, a schema, and the time that a call may take. Clones share the pool.
///
/// # Cancel safety
///
/// A call whose future is dropped, or whose time is over, may or may not have been applied; a
/// transaction is applied whole or not at all. Its connection is closed, and never given to
/// another caller.
///
/// # Connections
///
/// A connection to the wrong server is not kept. After an error that shows this (a read-only standby, a
/// server that shuts down, missing tables) it is closed together with the idle connections of the pool.
/// The next call then connects to the server that the name or the proxy leads to at that time.
///
/// # Plans
///
/// New connections of the pool do not compile statements (`jit` is off), because that takes longer than
/// the statements: the server compiles them if it overestimates their cost. If a proxy refuses the startup
/// parameter `options`, it is left out, and `jit` is off in transactions only.
#[derive(Clone, Debug)]
pub struct Driver {
    config: PostgresConfig,
    /// The options of the pool's connections without [`NO_JIT`], if this handle has added it.
    plain: Option<Arc<PgConnectOptions>>,
}

impl Driver {
    /// Runs calls on connections of the pool of `config`. New connections of the pool do not log their
    /// statements, and do not compile them.
    #[must_use]
    pub fn new(config: impl Into<PostgresConfig>) -> Self {
        let config = config.into();
        let mut connect = (*config.pool.connect_options())
            .clone()
            .disable_statement_logging();
        let mut plain = None;
        if config.through_pgbouncer {
            connect = connect.extra_float_digits(None);
        } else if !says_jit(&connect) {
            plain = Some(Arc::new(connect.clone()));
            connect = connect.options([NO_JIT]);
        }
        config.pool.set_connect_options(connect);
        Self { config, plain }
    }

    /// As [`new`](Self::new). If the pool was not made like this before, its idle connections would log
    /// their statements, so they are closed.
    pub(crate) fn without_logs(config: impl Into<PostgresConfig>) -> Self {
        let config = config.into();
        let logs = logs_statements(&config.pool.connect_options());
        let driver = Self::new(config);
        if logs {
            driver.close_idle();
        }
        driver
    }

    /// Whether the pool goes through PgBouncer in transaction mode: see
    /// [`PostgresConfig::through_pgbouncer`].
    #[must_use]
    pub fn is_through_pgbouncer(&self) -> bool {
        self.config.through_pgbouncer
    }

    /// How long a call may take: see [`PostgresConfig::call_timeout`].
    #[must_use]
    pub fn call_timeout(&self) -> Duration {
        self.config.call_timeout
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.config.pool
    }

    /// The schema of the tables.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.config.schema
    }

    /// The text of a SQL file with its tables in the schema: see [`Schema::sql`].
    #[must_use]
    pub fn sql(&self, text: &str) -> SqlStr {
        self.config.schema.sql(text)
    }

    /// Runs one statement as a separate transaction, and returns how many rows it wrote.
    ///
    /// # Errors
    ///
    /// Those of [`postgres_error`]; [`ErrorKind::Unavailable`] if the call times out.
    pub async fn execute(
        &self,
        operation: &'static str,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<u64, OutboxError> {
        self.single(operation, async |connection: &mut PgConnection| {
            let done = self.unnamed(query).execute(connection).await;
            done.map(|done| done.rows_affected())
        })
        .await
    }

    /// Runs one statement as a separate transaction, and returns its rows.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    pub async fn fetch(
        &self,
        operation: &'static str,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, OutboxError> {
        self.single(operation, async |connection: &mut PgConnection| {
            self.unnamed(query).fetch_all(connection).await
        })
        .await
    }

    /// Runs one statement as a separate transaction. Calls `read` with each row while the next ones are on
    /// their way, so only one row is in memory.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute), and the first of `read`.
    pub async fn read(
        &self,
        operation: &'static str,
        query: Query<'_, Postgres, PgArguments>,
        mut read: impl FnMut(&PgRow) -> sqlx::Result<()> + Send,
    ) -> Result<(), OutboxError> {
        self.single(operation, async |connection: &mut PgConnection| {
            let rows = self.unnamed(query).try_map(|row: PgRow| read(&row));
            rows.fetch_all(connection).await.map(drop)
        })
        .await
    }

    /// Runs one statement that returns at least one row, and reads the first.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute); [`ErrorKind::Corrupt`] if no row comes, or if `read` fails. If
    /// `read` fails with [`sqlx::Error::Protocol`], this is not the server that the caller expects: the
    /// connection is closed.
    pub async fn fetch_one<T>(
        &self,
        operation: &'static str,
        query: Query<'_, Postgres, PgArguments>,
        read: impl FnOnce(&PgRow) -> sqlx::Result<T>,
    ) -> Result<T, OutboxError> {
        self.single(operation, async |connection: &mut PgConnection| {
            let rows = self.unnamed(query).fetch_all(connection).await?;
            rows.first().ok_or(sqlx::Error::RowNotFound).and_then(read)
        })
        .await
    }

    /// Runs `work` in a transaction (READ COMMITTED), and returns once it is committed.
    ///
    /// If `work` fails, or ignores a statement that failed, all of it is rolled back. `work` must not
    /// start or end a transaction; savepoints are fine.
    ///
    /// # Errors
    ///
    /// Those of `work`, and those of [`execute`](Self::execute).
    pub async fn transaction<T>(
        &self,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, OutboxError>,
    ) -> Result<T, OutboxError> {
        self.transaction_within(self.config.call_timeout, operation, work)
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
            let result = self.transact(connection, operation, work).await;
            if let Err(error) = &result {
                self.roll_back(connection, error)
                    .await
                    .map_err(postgres_error(operation))?;
            }
            Ok(result)
        })
        .await
    }

    /// Runs one statement as a separate transaction.
    async fn single<T>(
        &self,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, OutboxError> {
        let error = postgres_error(operation);
        if self.config.through_pgbouncer {
            // Without a transaction, the messages of one statement may reach two connections.
            let work = async |connection: &mut PgConnection| work(connection).await.map_err(error);
            return self.transaction(operation, work).await;
        }
        let time = self.config.call_timeout;
        self.call(time, operation, async |connection: &mut PgConnection| {
            Ok(work(connection).await.map_err(error))
        })
        .await
    }

    /// The query, as an unnamed statement if a name would stay on a connection of other clients.
    fn unnamed<'q>(
        &self,
        query: Query<'q, Postgres, PgArguments>,
    ) -> Query<'q, Postgres, PgArguments> {
        query.persistent(!self.config.through_pgbouncer)
    }

    async fn transact<T>(
        &self,
        connection: &mut PgConnection,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, OutboxError>,
    ) -> Result<T, OutboxError> {
        let error = postgres_error(operation);
        let begin = if says_jit(&self.config.pool.connect_options()) {
            "BEGIN ISOLATION LEVEL READ COMMITTED"
        } else {
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL jit = off"
        };
        connection.execute(begin).await.map_err(&error)?;
        let value = work(connection).await?;
        if self.config.through_pgbouncer {
            connection.clear_cached_statements().await.map_err(&error)?;
        }
        sqlx::raw_sql(COMMIT)
            .execute(connection)
            .await
            .map_err(&error)?;
        Ok(value)
    }

    /// Ends a transaction that failed with `error`, and removes its prepared statements. If another client
    /// of PgBouncer had taken the name of a statement, all names on the connection are removed.
    async fn roll_back(
        &self,
        connection: &mut PgConnection,
        error: &OutboxError,
    ) -> sqlx::Result<()> {
        if !self.config.through_pgbouncer {
            return connection.execute("ROLLBACK").await.map(drop);
        }
        connection.clear_cached_statements().await?;
        let end = if is_name_of_others(error) {
            "ROLLBACK; DEALLOCATE ALL"
        } else {
            "ROLLBACK"
        };
        sqlx::raw_sql(end).execute(connection).await.map(drop)
    }

    /// Runs `work` on a connection within `time`. After an outer `Err` of `work` the connection is closed;
    /// after an inner one it is closed if the error shows that it must be.
    async fn call<T>(
        &self,
        time: Duration,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<Result<T, OutboxError>, OutboxError>,
    ) -> Result<T, OutboxError> {
        let late = |text: &str, time: Duration| {
            let text = format!("{text} within {time:?}");
            refusal(ErrorKind::Unavailable, operation, text)
        };
        let no_answer = if READS.contains(&operation) {
            "no answer"
        } else {
            "the call may have been applied; no answer"
        };
        let (start, patience) = (Instant::now(), self.config.call_timeout);
        let connection = match timeout(patience, self.acquire()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) if !matches!(error, sqlx::Error::PoolTimedOut) => {
                return Err(postgres_error(operation)(error));
            }
            _ => {
                // The ping of an idle connection may wait for a server that is gone.
                self.close_idle();
                return Err(match self.refused().await {
                    Some(error) => postgres_error(operation)(error),
                    None => late("no connection", start.elapsed()),
                });
            }
        };
        let mut lent = Lent::new(connection);
        let answer = timeout(
            time.saturating_sub(start.elapsed()),
            work(lent.connection()),
        )
        .await
        .map_err(|_| late(no_answer, time))??;
        match answer {
            Err(error) if is_unfit(&error) => {
                drop(lent);
                self.close_idle();
                Err(without_option(error, self.config.through_pgbouncer))
            }
            answer => {
                lent.give_back();
                answer
            }
        }
    }

    /// A connection of the pool. If a proxy refuses the parameter for [`NO_JIT`], connects without it.
    async fn acquire(&self) -> sqlx::Result<PoolConnection<Postgres>> {
        let connection = self.config.pool.acquire().await;
        match (&connection, &self.plain) {
            (Err(error), Some(plain)) if is_refused_option(error) => {
                self.config.pool.set_connect_options((**plain).clone());
                self.config.pool.acquire().await
            }
            _ => connection,
        }
    }

    /// The error with which the server refuses a new connection, if it does. A pool does not return it:
    /// while the server or the role has too many connections, the pool retries until it times out.
    async fn refused(&self) -> Option<sqlx::Error> {
        let options = self.config.pool.options();
        if self.config.pool.size() >= options.get_max_connections() {
            return None;
        }
        let connect = self.config.pool.connect_options();
        let connecting = timeout(PROBE, PgConnection::connect_with(&connect))
            .await
            .ok()?;
        match connecting {
            Ok(connection) => {
                drop(timeout(PROBE, connection.close()).await);
                None
            }
            Err(error) => Some(error),
        }
    }

    /// Closes idle connections, which may lead to a wrong server or log their statements.
    fn close_idle(&self) {
        while let Some(mut idle) = self.config.pool.try_acquire() {
            idle.close_on_drop();
        }
    }
}

/// Keeps the server from compiling statements.
const NO_JIT: (&str, &str) = ("jit", "off");

/// Whether the options of a connection set `jit`, as ours or as the caller's.
fn says_jit(options: &PgConnectOptions) -> bool {
    let options = options.get_options().unwrap_or_default();
    options.contains("jit=")
}

/// Whether a proxy refuses a startup parameter: PgBouncer as a violation of the protocol, RDS Proxy as a
/// feature that it does not have.
fn is_refused_option(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| code == "08P01" || code == "0A000")
}

/// Whether connections with these options log their statements. Only the text of the options shows it.
fn logs_statements(options: &PgConnectOptions) -> bool {
    let without = options.clone().disable_statement_logging();
    format!("{options:?}") != format!("{without:?}")
}

/// After a failed statement, the server answers a COMMIT with a rollback and no error. The statement
/// before the COMMIT fails then.
const COMMIT: &str = "SELECT; COMMIT";
