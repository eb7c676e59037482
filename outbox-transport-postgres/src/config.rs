//! Which database to publish to, and in which form.

use outbox_core::OutboxError;
use outbox_core::wire::WireForm;
use outbox_driver_postgres::{PostgresConfig, Schema};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use std::time::Duration;

pub(crate) const BACKEND: &str = "postgres";
pub(crate) const OPEN: &str = "open";

/// The database and the schema of the table, how calls are made, and the form of the events. A pool and a
/// [`PostgresConfig`] convert into it with [`From`].
#[derive(Clone, Debug)]
#[must_use]
pub struct PostgresTransportConfig {
    pub(crate) postgres: PostgresConfig,
    pub(crate) form: WireForm,
}

impl PostgresTransportConfig {
    /// The database that `postgres` reaches: a pool, or a [`PostgresConfig`] with a schema and a call
    /// timeout.
    ///
    /// ```
    /// # use outbox_transport_postgres::{PostgresConfig, PostgresTransportConfig, Schema, sqlx::PgPool};
    /// # fn example(pool: PgPool) -> Result<PostgresTransportConfig, outbox_core::OutboxError> {
    /// let postgres = PostgresConfig::new(pool).schema(Schema::new("billing")?);
    /// let config = PostgresTransportConfig::new(postgres);
    /// # Ok(config) }
    /// ```
    pub fn new(postgres: impl Into<PostgresConfig>) -> Self {
        Self {
            postgres: postgres.into(),
            form: WireForm::default(),
        }
    }

    /// The database at a URL such as `postgres://me@db.example/billing`, with up to 10 connections. The
    /// parameters of the URL are those of [`PgConnectOptions`].
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if `url` is not a URL of PostgreSQL. The text does not
    /// show the URL, which may have a password.
    pub fn from_url(url: &str) -> Result<Self, OutboxError> {
        const ALLOWED: &str = "a URL such as postgres://me@db.example/billing";
        let parsed = url::Url::parse(url).map_err(|error| {
            let problem =
                format!("the URL of the database cannot be read ({error}); it must be {ALLOWED}");
            OutboxError::invalid(BACKEND, OPEN, problem)
        })?;
        let scheme = parsed.scheme();
        if !matches!(scheme, "postgres" | "postgresql") {
            let problem =
                format!("the URL's scheme is {scheme:?}, but must be postgres or postgresql");
            return Err(OutboxError::invalid(BACKEND, OPEN, problem));
        }
        let connect: PgConnectOptions = url.parse().map_err(|error: sqlx::Error| {
            let problem = format!("a parameter of the URL cannot be used: {error}");
            OutboxError::invalid(BACKEND, OPEN, problem)
        })?;
        // A limit of the age or of the idle time would start a task, which needs a runtime.
        let pool = PgPoolOptions::new().max_lifetime(None).idle_timeout(None);
        Ok(Self::new(pool.connect_lazy_with(connect)))
    }

    /// The schema of the table. Default: `outbox`.
    pub fn schema(mut self, schema: Schema) -> Self {
        self.postgres = self.postgres.schema(schema);
        self
    }

    /// How long a call waits for a connection and for the answers, up to a day. Default: 10 seconds. A call
    /// ends at most 2 seconds later.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.postgres = self.postgres.call_timeout(timeout);
        self
    }

    /// The connections go through PgBouncer (or another proxy) in transaction mode: see
    /// [`PostgresConfig::through_pgbouncer`]. Default: they do not.
    pub fn through_pgbouncer(mut self) -> Self {
        self.postgres = self.postgres.through_pgbouncer();
        self
    }

    /// The form of the events. Default: raw.
    pub fn form(mut self, form: WireForm) -> Self {
        self.form = form;
        self
    }
}

impl From<PgPool> for PostgresTransportConfig {
    fn from(pool: PgPool) -> Self {
        Self::new(pool)
    }
}

impl From<PostgresConfig> for PostgresTransportConfig {
    fn from(postgres: PostgresConfig) -> Self {
        Self::new(postgres)
    }
}
