//! Where the tables are, and how a driver reaches them.

use outbox_append_postgres::Schema;
use sqlx::PgPool;
use std::time::Duration;

/// The pool, the schema of the tables, and how calls are made. A pool converts into it with [`From`];
/// [`new`](Self::new) and the setters, in any order, set more.
///
/// New connections of the pool do not log their statements: sqlx would log 2 KB of SQL for each slow
/// one. `jit` is off on them, unless the options of the pool set it. Both also hold for other users of the
/// pool. The first adapter that is opened on a pool closes its idle connections, so that they are made again
/// in this way.
#[derive(Clone, Debug)]
#[must_use]
pub struct PostgresConfig {
    pub(crate) pool: PgPool,
    pub(crate) schema: Schema,
    pub(crate) call_timeout: Duration,
    pub(crate) through_pgbouncer: bool,
}

impl PostgresConfig {
    /// The schema `outbox`, reached through connections of `pool`.
    ///
    /// ```
    /// # use outbox_driver_postgres::{PostgresConfig, Schema, sqlx::PgPool};
    /// # use std::time::Duration;
    /// # fn example(pool: PgPool) -> Result<PostgresConfig, outbox_core::OutboxError> {
    /// let config = PostgresConfig::new(pool)
    ///     .schema(Schema::new("events")?)
    ///     .call_timeout(Duration::from_secs(5));
    /// # Ok(config) }
    /// ```
    pub fn new(pool: PgPool) -> Self {
        Self {
            pool,
            schema: Schema::default(),
            call_timeout: Duration::from_secs(10),
            through_pgbouncer: false,
        }
    }

    /// The schema of the tables. Default: `outbox`.
    pub fn schema(mut self, schema: Schema) -> Self {
        self.schema = schema;
        self
    }

    /// How long a call may take, including the wait for a connection of the pool. Default: 10 seconds.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// The pool goes through PgBouncer (or another proxy) in transaction mode, which may run each
    /// transaction on another connection to the server. Default: it does not.
    ///
    /// Each call is then a separate transaction that leaves no prepared statement behind, which costs
    /// two to four more round trips. New connections of the pool leave out the startup parameter
    /// `extra_float_digits`, which PgBouncer refuses. A pool that connects before it is given to an
    /// adapter needs `PgConnectOptions::extra_float_digits(None)`.
    pub fn through_pgbouncer(mut self) -> Self {
        self.through_pgbouncer = true;
        self
    }
}

impl From<PgPool> for PostgresConfig {
    fn from(pool: PgPool) -> Self {
        Self::new(pool)
    }
}
