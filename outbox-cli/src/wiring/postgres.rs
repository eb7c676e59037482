//! A schema of a PostgreSQL database.

use super::place::Role;
use crate::failure::Failure;
use outbox_core::ErrorKind;
use outbox_driver_postgres::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use outbox_driver_postgres::sqlx::{self, ConnectOptions, Connection, PgConnection, PgPool};
use outbox_driver_postgres::{DriverOptions, Schema, postgres_error};
use std::time::Duration;
use tokio::time::timeout;
use url::Url;

/// The parameter that is ours; PostgreSQL has none of this name.
const SCHEMA: &str = "schema";

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

/// Connections of a store or a heap, beside the one that listens.
const CONNECTIONS: u32 = 4;

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub(crate) struct Database {
    role: Role,
    options: PgConnectOptions,
    schema: Schema,
    shown: String,
    hides_password: bool,
}

impl Database {
    /// Reads a URL whose scheme is known.
    pub(super) fn parse(role: Role, text: &str) -> Result<Self, Failure> {
        let refused = |why: &str| role.refused(format_args!("{why}"));
        role.whole_login(text)?;
        let mut url =
            Url::parse(text).map_err(|error| refused(&format!("is not a URL: {error}")))?;
        let (schema, parameters) = take_schema(role, &url)?;
        let hides_password =
            url.password().is_some() || parameters.iter().any(|(name, _)| name == "password");
        url.query_pairs_mut().clear().extend_pairs(&parameters);
        let options = PgConnectOptions::from_url(&url)
            .map_err(|error| refused(&format!("cannot be used: {}", reason(&error))))?;
        let application = options
            .get_application_name()
            .unwrap_or("outbox")
            .to_owned();
        Ok(Self {
            role,
            options: options.application_name(&application),
            shown: shown(url, &parameters, &schema),
            hides_password,
            schema,
        })
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

    /// What the adapters are told.
    pub(super) fn options(&self) -> DriverOptions {
        DriverOptions::default().schema(self.schema.clone())
    }

    /// A small pool. The server is asked first, as a pool that cannot connect tries again until
    /// its time is over, and does not say why.
    pub(super) async fn pool(&self) -> Result<PgPool, Failure> {
        drop(self.connect().await?.close().await);
        Ok(PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE)
            .test_before_acquire(false)
            .connect_lazy_with(self.options.clone()))
    }

    /// A connection of its own.
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
        let options = &self.options;
        let server = match options.get_socket() {
            Some(socket) => format!("{} (port {})", socket.display(), options.get_port()),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        format!("{}: cannot connect to {server}: {why}", self.role.name())
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

/// The schema, and the parameters that are sqlx's.
fn take_schema(role: Role, url: &Url) -> Result<(Schema, Vec<(String, String)>), Failure> {
    let mut schema = None;
    let mut parameters = Vec::new();
    for (name, value) in url.query_pairs() {
        if name == SCHEMA {
            if schema.replace(value.into_owned()).is_some() {
                return Err(role.refused(format_args!("names more than one schema")));
            }
        } else if PARAMETERS.contains(&&*name) || name.starts_with("options[") {
            parameters.push((name.into_owned(), value.into_owned()));
        } else {
            return Err(unknown(role, &name));
        }
    }
    let schema = schema.map_or_else(|| Ok(Schema::default()), |name| named(role, name))?;
    Ok((schema, parameters))
}

fn named(role: Role, name: String) -> Result<Schema, Failure> {
    // What stands in place of bytes that are not UTF-8.
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
        "{role} has the unknown parameter {parameter:?}; allowed: {SCHEMA}, {allowed}"
    ))
}

fn shown(mut url: Url, parameters: &[(String, String)], schema: &Schema) -> String {
    // It fails for a URL without a host, which has no password.
    let _ = url.set_password(None);
    url.query_pairs_mut()
        .clear()
        .extend_pairs(parameters.iter().filter(|(name, _)| name != "password"))
        .append_pair(SCHEMA, schema.name());
    url.into()
}

/// What the server said in its own words, else what went wrong on this side.
fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::Configuration(error) => error.to_string(),
        other => other.to_string(),
    }
}
