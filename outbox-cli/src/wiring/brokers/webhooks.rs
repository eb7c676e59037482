//! HTTP endpoints from a table of the user's.

use super::http::{OURS_OF_ALL, configured, switches};
use super::{Address, Broker};
use crate::failure::Failure;
use crate::settings::Period;
use crate::wiring::postgres::Database;
use crate::wiring::role::{ENDPOINTS, has_scheme};
use crate::wiring::sqlite::{self, SqliteFile};
use async_trait::async_trait;
use outbox_core::wire::Template;
use outbox_core::{ErrorKind, OutboxError, Transport};
use outbox_driver_postgres::postgres_error;
use outbox_driver_postgres::sqlx::{self, AssertSqlSafe, Connection as _, Row};
use outbox_driver_sqlite::rusqlite::{self, Connection, OpenFlags};
use outbox_driver_sqlite::sqlite_error;
use outbox_transport_http::{Endpoint, Endpoints, HttpConfig, HttpTransport};
use percent_encoding::percent_decode_str;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};
use tokio::time::timeout;

const QUERY: &str = "query";
const DATABASE: &str = "database";
const REFRESH: &str = "refresh";
const READ: &str = "endpoints";

/// How long the database may take.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) const SCHEMES: &[&str] = &["webhooks"];

pub(super) const WEBHOOKS: Broker = Broker {
    kind: None,
    schemes: SCHEMES,
    ours: &[
        QUERY,
        DATABASE,
        REFRESH,
        OURS_OF_ALL[0],
        OURS_OF_ALL[1],
        OURS_OF_ALL[2],
        OURS_OF_ALL[3],
    ],
    template: None,
    places: &[QUERY, DATABASE],
    ours_behind: '#',
    theirs: &[],
    open,
};

fn open(address: &Address) -> Result<Arc<dyn Transport>, Failure> {
    let (_, id) = address.url().split_once(':').unwrap_or_default();
    let id = percent_decode_str(id).decode_utf8_lossy();
    let id: Template = id.parse().map_err(|error: OutboxError| {
        let example = "webhooks:{header:customer}#query=SELECT id, url, secret FROM endpoints";
        Failure::Input(format!(
            "destination has no template of an id, such as {example}: {error}"
        ))
    })?;
    let table = Table {
        query: query(address)?,
        place: place(address)?,
    };
    let mut config = configured(HttpConfig::from_endpoints(Arc::new(table), id), address)?;
    if let Some(interval) = address.parameter::<Period>(REFRESH)? {
        config = config.refresh(interval.into());
    }
    if let Some(switches) = switches(address)? {
        config = config.switches(switches);
    }
    Ok(Arc::new(HttpTransport::open(config)?))
}

/// The text of the query, or that of a file.
fn query(address: &Address) -> Result<String, Failure> {
    let refused = |why: &str| {
        Failure::Input(format!(
            "destination has no query of the endpoints: {why}; it must be \
             query=SELECT id, url, secret FROM … or query=file:PATH"
        ))
    };
    let text = address
        .value(QUERY)
        .ok_or_else(|| refused("it is missing"))?;
    match text.strip_prefix("file:") {
        None => Ok(text.to_owned()),
        Some(path) => {
            fs::read_to_string(path).map_err(|error| refused(&format!("{path:?}: {error}")))
        }
    }
}

/// The database of the table: that of the store, unless a variable names another one.
fn place(address: &Address) -> Result<Place, Failure> {
    let url = match address.value(DATABASE) {
        None => address.store().map(str::to_owned).ok_or_else(|| {
            Failure::Input(format!(
                "destination has no {DATABASE}, but must have one without a store: {DATABASE}=env:NAME"
            ))
        })?,
        Some(text) => {
            let name = text.strip_prefix("env:").ok_or_else(|| {
                Failure::Input(format!("destination has a {DATABASE} that must be env:NAME"))
            })?;
            env::var(name).map_err(|error| {
                Failure::Input(format!("destination has {DATABASE}=env:{name}: {error}"))
            })?
        }
    };
    if Database::is_url(&url) {
        return Ok(Place::Postgres(Database::parse(ENDPOINTS, &url)?.into()));
    }
    if has_scheme(&url, sqlite::SCHEMES) {
        return Ok(Place::Sqlite(
            SqliteFile::parse(ENDPOINTS, &url)?.into_path(),
        ));
    }
    Err(ENDPOINTS.unknown(&url))
}

enum Place {
    Sqlite(PathBuf),
    Postgres(Box<Database>),
}

/// Asks the query each time on a separate connection, which may only read.
struct Table {
    place: Place,
    query: String,
}

#[async_trait]
impl Endpoints for Table {
    async fn endpoints(&self) -> Result<Vec<Endpoint>, OutboxError> {
        let read = async {
            match &self.place {
                Place::Sqlite(path) => of_sqlite(path.clone(), self.query.clone()).await,
                Place::Postgres(database) => of_postgres(database, &self.query).await,
            }
        };
        timeout(PATIENCE, read).await.unwrap_or_else(|_| {
            let silent = format!("no answer within {PATIENCE:?}");
            Err(OutboxError::new(ErrorKind::Unavailable, "webhooks", READ).with_source(silent))
        })
    }
}

async fn of_sqlite(path: PathBuf, query: String) -> Result<Vec<Endpoint>, OutboxError> {
    let read = move || {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(PATIENCE)?;
        let mut statement = connection.prepare(&query)?;
        let rows = statement.query_map([], |row| {
            let secret: Option<String> = row.get(2)?;
            let (id, url): (String, String) = (row.get(0)?, row.get(1)?);
            Ok(Endpoint::new(id, url, secret.unwrap_or_default()))
        })?;
        rows.collect::<rusqlite::Result<Vec<Endpoint>>>()
    };
    let read = tokio::task::spawn_blocking(read).await;
    let read = read.map_err(|error| {
        OutboxError::new(ErrorKind::Unavailable, "webhooks", READ).with_source(error)
    })?;
    read.map_err(sqlite_error(READ))
}

async fn of_postgres(database: &Database, query: &str) -> Result<Vec<Endpoint>, OutboxError> {
    let mut connection = database.connect().await.map_err(|failure| {
        let error = OutboxError::new(ErrorKind::Unavailable, "webhooks", READ);
        error.with_source(failure.to_string())
    })?;
    let read = async {
        let only = "SET default_transaction_read_only = on";
        sqlx::raw_sql(only).execute(&mut connection).await?;
        let asked = sqlx::query(AssertSqlSafe(query.to_owned())).persistent(false);
        let rows = asked.fetch_all(&mut connection).await?;
        let row = |row: &sqlx::postgres::PgRow| {
            let secret: Option<String> = row.try_get(2)?;
            let (id, url): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            Ok(Endpoint::new(id, url, secret.unwrap_or_default()))
        };
        rows.iter()
            .map(row)
            .collect::<sqlx::Result<Vec<Endpoint>>>()
    };
    let read = read.await.map_err(postgres_error(READ));
    // The rows are there, also if the connection fails now.
    drop(connection.close().await);
    read
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.place {
            Place::Sqlite(_) => "a query on SQLite",
            Place::Postgres(_) => "a query on PostgreSQL",
        })
    }
}
