//! A schema of a PostgreSQL database.

use super::{Finding, Severity, skew};
use humantime::format_duration;
use outbox_core::OutboxError;
use outbox_driver_postgres::sqlx::postgres::PgRow;
use outbox_driver_postgres::sqlx::{self, Row};
use outbox_driver_postgres::{Driver, PostgresConfig, postgres_error};
use std::time::{Duration, SystemTime};

const OPERATION: &str = "examine";

/// What a relay needs of each table: see `docs/postgres-schema.md` of the store.
const OF_A_STORE: &[(&str, &str)] = &[
    ("outbox_events", "SELECT INSERT UPDATE DELETE"),
    ("outbox_log", "SELECT DELETE"),
    ("outbox_retries", "SELECT INSERT UPDATE DELETE"),
    ("outbox_dead_letters", "SELECT INSERT UPDATE DELETE"),
    ("outbox_tokens", "SELECT UPDATE DELETE"),
    ("outbox_lanes", "SELECT INSERT UPDATE"),
    ("outbox_newest", "SELECT"),
    ("outbox_unread", "SELECT"),
    ("outbox_marks", "SELECT INSERT DELETE"),
    ("outbox_alarm", "UPDATE"),
    ("outbox_events_seq_seq", "UPDATE"),
    ("outbox_origin", "SELECT INSERT UPDATE"),
    ("outbox_home", "SELECT"),
    ("outbox_relays", "SELECT INSERT UPDATE DELETE"),
];
const FUNCTIONS: &[&str] = &["outbox_renew_lanes()", "outbox_renew_events()"];
const OF_A_HEAP: &[(&str, &str)] = &[("outbox_dlq_heap", "SELECT INSERT UPDATE DELETE")];

/// What a database says of itself.
struct Server {
    /// How much its clock is ahead of this machine's, in seconds.
    ahead: f64,
    is_standby: bool,
    is_read_only: bool,
    user: String,
    sees_all_sessions: bool,
}

/// `has_heap`: the heap is in the schema too.
pub(crate) async fn examine_store(
    config: impl Into<PostgresConfig>,
    has_heap: bool,
) -> Result<Vec<Finding>, OutboxError> {
    let driver = Driver::new(config);
    let server = server(&driver).await?;
    let mut found = of_server(&server);
    found.extend(rights(&driver, &server, OF_A_STORE, FUNCTIONS).await?);
    found.extend(locks(&driver).await?);
    found.extend(old_transactions(&driver, &server).await?);
    if has_heap {
        found.extend(orphans(&driver).await?);
    }
    Ok(found)
}

pub(crate) async fn examine_heap(
    config: impl Into<PostgresConfig>,
) -> Result<Vec<Finding>, OutboxError> {
    let driver = Driver::new(config);
    let server = server(&driver).await?;
    rights(&driver, &server, OF_A_HEAP, &[]).await
}

async fn server(driver: &Driver) -> Result<Server, OutboxError> {
    let asked = SystemTime::now();
    let query = sqlx::query(driver.sql(include_str!("server.sql")));
    driver
        .fetch_one(OPERATION, query, |row| {
            Ok(Server {
                ahead: row.try_get::<f64, _>(0)? - middle(asked),
                is_standby: row.try_get(1)?,
                is_read_only: row.try_get(2)?,
                user: row.try_get(3)?,
                sees_all_sessions: row.try_get(4)?,
            })
        })
        .await
}

/// Between then and now, in seconds since 1970: the answer was made about at that time.
fn middle(asked: SystemTime) -> f64 {
    let since = |time: SystemTime| {
        let passed = time.duration_since(SystemTime::UNIX_EPOCH);
        passed.unwrap_or_default().as_secs_f64()
    };
    f64::midpoint(since(asked), since(SystemTime::now()))
}

fn of_server(server: &Server) -> Vec<Finding> {
    let standby = server.is_standby.then(|| {
        Finding::error(
            "standby",
            "the server is a standby, which takes no writes",
            "set the URL to the primary, such as by a name that follows it",
        )
    });
    let read_only = (server.is_read_only && !server.is_standby).then(|| {
        Finding::error(
            "read-only",
            "default_transaction_read_only is on, so the relay can write nothing",
            "set it to off for the relay's user: ALTER ROLE … SET default_transaction_read_only = off",
        )
    });
    let clock = skew("PostgreSQL", server.ahead);
    standby.into_iter().chain(read_only).chain(clock).collect()
}

async fn rights(
    driver: &Driver,
    server: &Server,
    tables: &[(&str, &str)],
    functions: &[&str],
) -> Result<Vec<Finding>, OutboxError> {
    let (mut names, mut privileges) = (Vec::new(), Vec::new());
    for (table, needed) in tables {
        for privilege in needed.split(' ') {
            names.push(*table);
            privileges.push(privilege);
        }
    }
    let query = sqlx::query(driver.sql(include_str!("missing_rights.sql")));
    let query = query
        .bind(names)
        .bind(privileges)
        .bind(functions.to_vec())
        .bind(driver.schema().quoted());
    let missing = texts(&driver.fetch(OPERATION, query).await?)?;
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let (user, missing) = (&server.user, missing.join(", "));
    Ok(vec![Finding::error(
        "rights",
        format!("the user {user:?} lacks rights that a relay needs: {missing}"),
        "grant them as the owner of the schema: outbox-store-postgres/docs/postgres-schema.md has all \
         grants of a relay",
    )])
}

/// Sessions that hold locks for which relays or producers wait.
async fn locks(driver: &Driver) -> Result<Vec<Finding>, OutboxError> {
    let blocking = sqlx::query(include_str!("locks.sql")).bind(driver.schema().name());
    let blocking = ages(&driver.fetch(OPERATION, blocking).await?)?;
    let found = blocking.into_iter().map(|(session, age)| {
        Finding::error(
            "locks",
            format!("the session {session} holds a lock on the tables for which others have waited {age}: events are not appended or not published meanwhile"),
            "end its transaction, or the session by pg_terminate_backend; set \
             idle_in_transaction_session_timeout for its user",
        )
    });
    Ok(found.collect())
}

async fn old_transactions(driver: &Driver, server: &Server) -> Result<Vec<Finding>, OutboxError> {
    let open = sqlx::query(driver.sql(include_str!("old_transactions.sql")));
    let open = ages(&driver.fetch(OPERATION, open).await?)?;
    let prepared = sqlx::query(driver.sql(include_str!("prepared_transactions.sql")));
    let prepared = ages(&driver.fetch(OPERATION, prepared).await?)?;
    let open = open.into_iter().map(|(session, age)| {
        Finding::warning(
            "transactions",
            format!("the transaction of session {session} has been open for {age}: the server keeps all deleted rows since then"),
            "end the transaction, or the session by pg_terminate_backend; set \
             idle_in_transaction_session_timeout for its user",
        )
    });
    let prepared = prepared.into_iter().map(|(name, age)| {
        Finding::warning(
            "transactions",
            format!("the prepared transaction {name:?} has been open for {age}: its events are not published, and the server keeps all deleted rows since then"),
            "COMMIT PREPARED or ROLLBACK PREPARED, as its coordinator decided",
        )
    });
    let unseen = (!server.sees_all_sessions).then(|| {
        let user = &server.user;
        Finding::new(
            Severity::Note,
            "transactions",
            format!("the user {user:?} does not see the transactions of other users, so old ones were not looked for"),
            format!("GRANT pg_read_all_stats TO {user:?}, or run outbox doctor as another user"),
        )
    });
    Ok(open.chain(prepared).chain(unseen).collect())
}

async fn orphans(driver: &Driver) -> Result<Option<Finding>, OutboxError> {
    let query = sqlx::query(driver.sql(include_str!("orphans.sql")));
    let count: i64 = driver
        .fetch_one(OPERATION, query, |row| row.try_get(0))
        .await?;
    Ok(super::orphans(u64::try_from(count).unwrap_or_default()))
}

fn texts(rows: &[PgRow]) -> Result<Vec<String>, OutboxError> {
    let texts: sqlx::Result<_> = rows.iter().map(|row| row.try_get(0)).collect();
    texts.map_err(postgres_error(OPERATION))
}

/// A name, and an age that a person reads.
fn ages(rows: &[PgRow]) -> Result<Vec<(String, String)>, OutboxError> {
    let read = |row: &PgRow| {
        let seconds: f64 = row.try_get(1)?;
        let age = Duration::try_from_secs_f64(seconds.trunc()).unwrap_or_default();
        Ok((row.try_get(0)?, format_duration(age).to_string()))
    };
    let ages: sqlx::Result<_> = rows.iter().map(read).collect();
    ages.map_err(postgres_error(OPERATION))
}
