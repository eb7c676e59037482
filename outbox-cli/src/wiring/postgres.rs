//! A schema of a PostgreSQL database.

use super::backend::{Backend, CONSUMER, Store};
use super::examine::{self, Finding};
use super::pools::{PATIENCE, Pools};
use super::role::{DESTINATION, HEAP, Role, STORE, SWITCHES, has_scheme};
use super::switches::{self, PostgresSwitches, SwitchTable};
use crate::failure::Failure;
use async_trait::async_trait;
use outbox_core::{DlqHeap, ErrorKind, ErrorText, OutboxError, Transport};
use outbox_dlq_postgres::PostgresDlqHeap;
use outbox_driver_postgres::sqlx::postgres::PgConnectOptions;
use outbox_driver_postgres::sqlx::{self, ConnectOptions, Connection, PgConnection};
use outbox_driver_postgres::{PostgresConfig, Schema, postgres_error};
use outbox_inbox_postgres::PostgresInbox;
use outbox_store_postgres::PostgresStore;
use outbox_transport_postgres::PostgresTransport;
use std::sync::Arc;
use tokio::time::timeout;
use url::Url;

pub(super) const SCHEMES: &[&str] = &["postgres", "postgresql"];

/// The parameters that are ours; PostgreSQL has none of these names.
const SCHEMA: &str = "schema";
/// Whether PgBouncer in transaction mode is in between.
const PGBOUNCER: &str = "pgbouncer";
/// Whether the store listens for new events.
const LISTEN: &str = "listen";

/// The parameters that sqlx knows, by the names that libpq gives them. It would pass over others
/// with a warning that tells their values.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "statement-cache-capacity",
];

/// Those of a destination: it has no store that could listen.
pub(super) const OF_A_DESTINATION: &[&[&str]] = &[&[SCHEMA, PGBOUNCER], PARAMETERS];

#[derive(Clone, Debug)]
pub(crate) struct Database {
    role: Role,
    options: PgConnectOptions,
    schema: Schema,
    through_pgbouncer: bool,
    listens: bool,
    shown: String,
    hides_password: bool,
    /// The same for all URLs that lead to the database in the same way.
    key: Arc<str>,
    pools: Pools,
}

/// What a URL says with the parameters that are ours.
#[derive(Default)]
struct Ours {
    schema: Option<String>,
    through_pgbouncer: Option<bool>,
    listens: Option<bool>,
}

impl Database {
    /// Whether the URL has a scheme of PostgreSQL, in any case.
    pub(crate) fn is_url(text: &str) -> bool {
        has_scheme(text, SCHEMES)
    }

    /// Reads a URL whose scheme is known.
    pub(crate) fn parse(role: Role, text: &str) -> Result<Self, Failure> {
        let refused = |why: &str| role.refused(format_args!("{why}"));
        role.whole_login(text)?;
        let mut url =
            Url::parse(text).map_err(|error| refused(&format!("is not a URL: {error}")))?;
        let (ours, parameters) = take_ours(role, &url)?;
        let schema = match &ours.schema {
            Some(name) => named(role, name)?,
            None => Schema::default(),
        };
        let hides_password =
            url.password().is_some() || parameters.iter().any(|(name, _)| name == "password");
        url.query_pairs_mut().clear().extend_pairs(&parameters);
        let options = PgConnectOptions::from_url(&url)
            .map_err(|error| refused(&format!("cannot be used: {}", reason(&error))))?;
        let application = options
            .get_application_name()
            .unwrap_or("outbox")
            .to_owned();
        let through_pgbouncer = ours.through_pgbouncer.unwrap_or(false);
        // A slow statement would be logged with its whole text.
        let mut options = options
            .application_name(&application)
            .disable_statement_logging();
        if through_pgbouncer {
            // PgBouncer refuses this parameter, which sqlx sends by default.
            options = options.extra_float_digits(None);
        }
        Ok(Self {
            role,
            key: format!("{through_pgbouncer} {options:?}").into(),
            pools: Pools::default(),
            options,
            shown: shown(url, &parameters, &schema, &ours),
            through_pgbouncer,
            listens: ours.listens.unwrap_or(!through_pgbouncer),
            hides_password,
            schema,
        })
    }

    /// The database with connections of these pools.
    pub(super) fn within(mut self, pools: &Pools) -> Self {
        self.pools = pools.clone();
        self
    }

    /// Names the pool of its connections. Holds the password.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Whether a store listens for new events, on a separate connection.
    pub(super) fn listens(&self) -> bool {
        self.listens
    }

    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The URL without its password, if it has one.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether the URL has a password.
    pub(crate) fn hides_password(&self) -> bool {
        self.hides_password
    }

    /// Whether each transaction may reach another connection to the server.
    pub(crate) fn is_through_pgbouncer(&self) -> bool {
        self.through_pgbouncer
    }

    /// What the adapters are opened with. The server is asked first, as a pool that cannot connect tries
    /// again until its time is over, and does not say why.
    async fn config(&self) -> Result<PostgresConfig, Failure> {
        drop(self.connect().await?.close().await);
        Ok(self.adapter())
    }

    /// The same, with a pool that connects when it is used.
    pub(super) fn adapter(&self) -> PostgresConfig {
        let pool = self.pools.pool(&self.key, &self.options);
        let config = PostgresConfig::new(pool).schema(self.schema.clone());
        if self.through_pgbouncer {
            config.through_pgbouncer()
        } else {
            config
        }
    }

    /// A connection outside of the pool.
    pub(crate) async fn connect(&self) -> Result<PgConnection, Failure> {
        let connecting = timeout(PATIENCE, PgConnection::connect_with(&self.options));
        match connecting.await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => {
                let text = self.unreachable(&reason(&error));
                Err(match postgres_error("connect")(error).kind() {
                    ErrorKind::Invalid => Failure::Input(text),
                    _ => Failure::Failed(text),
                })
            }
            Err(_) => {
                let text = self.unreachable(&format!("no answer within {PATIENCE:?}"));
                Err(Failure::Failed(text))
            }
        }
    }

    fn unreachable(&self, why: &str) -> String {
        let (role, server) = (self.role.name(), self.server());
        format!("{role}: cannot connect to {server}: {why}")
    }

    fn server(&self) -> String {
        let options = &self.options;
        match options.get_socket() {
            Some(socket) => format!("{} (port {})", socket.display(), options.get_port()),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        }
    }
}

#[async_trait]
impl Backend for Database {
    fn role(&self) -> Role {
        self.role
    }

    fn identity(&self) -> String {
        // As the server does it without a name.
        let database = self
            .options
            .get_database()
            .unwrap_or(self.options.get_username());
        format!(
            "postgres {} {database} {}",
            self.server(),
            self.schema.name()
        )
    }

    fn shown(&self) -> String {
        self.shown.clone()
    }

    fn package(&self) -> &'static str {
        match self.role {
            STORE => "outbox-store-postgres",
            HEAP => "outbox-dlq-postgres",
            SWITCHES => "outbox-cli",
            DESTINATION => "outbox-transport-postgres",
            _ => "outbox-inbox-postgres",
        }
    }

    async fn store(&self, block_keys: bool) -> Result<Store, Failure> {
        let mut store = PostgresStore::open(self.config().await?).await?;
        if !self.listens {
            store = store.without_listening();
        }
        Ok(Store::new(if block_keys {
            store.block_key_on_dead_letter()
        } else {
            store
        }))
    }

    async fn heap(&self) -> Result<Arc<dyn DlqHeap>, Failure> {
        Ok(Arc::new(PostgresDlqHeap::open(self.config().await?).await?))
    }

    async fn inbox(&self) -> Result<(), Failure> {
        let config = self.config().await?;
        if self.role != DESTINATION {
            PostgresInbox::open(config, CONSUMER).await?;
            return Ok(());
        }
        let problems = PostgresTransport::open(config)?.check().await.problems;
        problems.first().map_or(Ok(()), |problem| {
            Err(Failure::Input(ErrorText::from_error(problem).to_string()))
        })
    }

    async fn switches(&self) -> Result<Arc<dyn SwitchTable>, OutboxError> {
        Ok(Arc::new(PostgresSwitches::open(self.adapter()).await?))
    }

    async fn migrate(&self) -> Result<(), Failure> {
        let config = self.config().await?;
        match self.role {
            STORE => drop(PostgresStore::migrate(config).await?),
            HEAP => drop(PostgresDlqHeap::migrate(config).await?),
            SWITCHES => drop(switches::POSTGRES.migrate(config).await?),
            DESTINATION => drop(PostgresTransport::migrate(config).await?),
            _ => drop(PostgresInbox::migrate(config, CONSUMER).await?),
        }
        Ok(())
    }

    async fn applied(&self) -> Result<Option<usize>, Failure> {
        let config = self.config().await?;
        Ok(Some(match self.role {
            STORE => PostgresStore::applied_migrations(config).await?,
            HEAP => PostgresDlqHeap::applied_migrations(config).await?,
            SWITCHES => switches::POSTGRES.applied(config).await?,
            DESTINATION => PostgresTransport::applied_migrations(config).await?,
            _ => PostgresInbox::applied_migrations(config).await?,
        }))
    }

    fn known(&self) -> usize {
        match self.role {
            STORE => outbox_store_postgres::MIGRATIONS.len(),
            HEAP => outbox_dlq_postgres::MIGRATIONS.len(),
            SWITCHES => switches::POSTGRES.migrations.len(),
            DESTINATION => outbox_transport_postgres::MIGRATIONS.len(),
            _ => outbox_inbox_postgres::MIGRATIONS.len(),
        }
    }

    async fn examine(&self, has_heap: bool) -> Result<Vec<Finding>, Failure> {
        Ok(match self.role {
            STORE => examine::postgres_store(self.adapter(), has_heap).await?,
            HEAP => examine::postgres_heap(self.adapter()).await?,
            _ => Vec::new(),
        })
    }

    fn script(&self) -> String {
        match self.role {
            STORE => PostgresStore::script(&self.schema),
            HEAP => PostgresDlqHeap::script(&self.schema),
            SWITCHES => switches::POSTGRES.script(&self.schema),
            DESTINATION => PostgresTransport::script(&self.schema),
            _ => PostgresInbox::script(&self.schema),
        }
    }
}

/// The URL with this schema, if it names none.
pub(crate) fn with_schema(text: &str, schema: &str) -> String {
    match Url::parse(text) {
        Ok(mut url) if url.query_pairs().all(|(name, _)| name != SCHEMA) => {
            url.query_pairs_mut().append_pair(SCHEMA, schema);
            url.into()
        }
        _ => text.to_owned(),
    }
}

/// The parameters that are ours, and those that are sqlx's.
fn take_ours(role: Role, url: &Url) -> Result<(Ours, Vec<(String, String)>), Failure> {
    let mut ours = Ours::default();
    let mut parameters = Vec::new();
    for (name, value) in url.query_pairs() {
        let is_repeated = match &*name {
            SCHEMA => ours.schema.replace(value.into_owned()).is_some(),
            PGBOUNCER => ours
                .through_pgbouncer
                .replace(is_on(role, PGBOUNCER, &value)?)
                .is_some(),
            LISTEN => ours.listens.replace(is_on(role, LISTEN, &value)?).is_some(),
            other if PARAMETERS.contains(&other) || other.starts_with("options[") => {
                parameters.push((name.into_owned(), value.into_owned()));
                continue;
            }
            other => return Err(unknown(role, other)),
        };
        if is_repeated {
            return Err(role.refused(format_args!("has more than one {name}")));
        }
    }
    if ours.through_pgbouncer == Some(true) && ours.listens == Some(true) {
        return Err(role.refused(format_args!(
            "has {LISTEN}=true, but PgBouncer passes no notifications in transaction mode: leave it out"
        )));
    }
    Ok((ours, parameters))
}

fn is_on(role: Role, name: &str, value: &str) -> Result<bool, Failure> {
    value.parse().map_err(|_| {
        let role = role.name();
        Failure::Input(format!("{role} has {name}={value:?}; allowed: true, false"))
    })
}

fn named(role: Role, name: &str) -> Result<Schema, Failure> {
    // It replaces bytes that are not UTF-8.
    if name.contains(char::REPLACEMENT_CHARACTER) {
        return Err(role.refused(format_args!("has a schema {name:?} that is not UTF-8")));
    }
    Ok(Schema::new(name)?)
}

/// Without the value, which may be a password.
fn unknown(role: Role, parameter: &str) -> Failure {
    let role = role.name();
    let allowed = PARAMETERS.join(", ");
    Failure::Input(format!(
        "{role} has the unknown parameter {parameter:?}; allowed: {SCHEMA}, {PGBOUNCER}, {LISTEN}, {allowed}"
    ))
}

fn shown(mut url: Url, parameters: &[(String, String)], schema: &Schema, ours: &Ours) -> String {
    // It fails for a URL without a host, which has no password.
    let _ = url.set_password(None);
    url.query_pairs_mut()
        .clear()
        .extend_pairs(parameters.iter().filter(|(name, _)| name != "password"))
        .append_pair(SCHEMA, schema.name());
    for (name, value) in [(PGBOUNCER, ours.through_pgbouncer), (LISTEN, ours.listens)] {
        if let Some(value) = value {
            url.query_pairs_mut().append_pair(name, &value.to_string());
        }
    }
    url.into()
}

/// What the server said in its own words, else what went wrong on this side.
fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error)
            if error.message().contains("unsupported startup parameter") =>
        {
            format!(
                "{}; add {PGBOUNCER}=true to the URL if PgBouncer is in between",
                error.message()
            )
        }
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::Configuration(error) => error.to_string(),
        other => other.to_string(),
    }
}
