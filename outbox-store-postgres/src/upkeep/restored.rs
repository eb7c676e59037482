//! Tables that another server wrote: a restored dump, a promoted replica, a truncated log.
//!
//! A snapshot means nothing in another cluster, and a cursor means nothing after the sequence of the
//! log was set back. Both can happen while a handle is open: a name or a proxy leads to another server,
//! or somebody runs `TRUNCATE … RESTART IDENTITY`. So each statement that relies on snapshots reads
//! `outbox_home`, which is empty on a server that was not checked. The handle then checks the tables
//! before it continues.

use crate::PostgresStore;
use crate::sql::{LANES, Statements};
use crate::steps::run;
use outbox_core::OutboxError;
use outbox_driver_postgres::{Driver, postgres_error};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use std::time::Duration;

const OPEN: &str = "open";

/// A check may rewrite all unconsumed rows.
const LONGEST: Duration = Duration::from_secs(600);

/// The answer of `is_foreign.sql`.
struct Found {
    at_home: bool,
    is_foreign: bool,
    lanes: i64,
    cache: i64,
    reads_only: bool,
}

impl PostgresStore {
    /// Checks the tables during `operation`, and forgets where in the log this handle was.
    pub(crate) async fn adopt(&self, operation: &'static str) -> Result<(), OutboxError> {
        adopt(&self.driver, operation, self.statements()).await?;
        self.pace.forget_looks();
        self.progress.forget_cleaned();
        Ok(())
    }
}

/// Checks the tables of a store that is opened. A standby is not changed, but the operator can read it.
pub(crate) async fn adopt_at_start(
    driver: &Driver,
    statements: &Statements,
) -> Result<(), OutboxError> {
    if look(driver, OPEN, statements).await?.reads_only {
        return Ok(());
    }
    adopt(driver, OPEN, statements).await
}

async fn look(
    driver: &Driver,
    operation: &'static str,
    statements: &Statements,
) -> Result<Found, OutboxError> {
    let query = sqlx::query(statements.is_foreign.clone());
    driver.fetch_one(operation, query, found).await
}

/// Checks the tables on this server, and changes them if they come from another.
async fn adopt(
    driver: &Driver,
    operation: &'static str,
    statements: &Statements,
) -> Result<(), OutboxError> {
    let found = look(driver, operation, statements).await?;
    // S2: a session that caches numbers would use them after other sessions' greater numbers were read.
    if found.cache != 1 {
        let problem = format!(
            "CACHE of the sequence outbox_events_seq_seq is {}, but must be 1",
            found.cache
        );
        return Err(OutboxError::invalid("postgres", operation, problem));
    }
    if found.at_home {
        return Ok(());
    }
    driver
        .transaction_within(LONGEST, operation, async |connection: &mut PgConnection| {
            let lock = sqlx::query(statements.lock_log.clone());
            run(connection, operation, lock).await?;
            check(connection, operation, statements).await
        })
        .await
}

/// Checks the tables under the lock of all lanes.
async fn check(
    connection: &mut PgConnection,
    operation: &'static str,
    statements: &Statements,
) -> Result<(), OutboxError> {
    let row = sqlx::query(statements.is_foreign.clone())
        .fetch_one(&mut *connection)
        .await;
    let now = row.and_then(|row| found(&row));
    let now = now.map_err(postgres_error(operation))?;
    if now.at_home {
        // Another handle was faster.
        return Ok(());
    }
    if now.lanes != i64::try_from(LANES).unwrap_or(i64::MAX) {
        let missing =
            "lanes are missing in outbox_lanes; they are added and read from the first event";
        tracing::warn!(found = now.lanes, "{missing}");
        let add = sqlx::query(statements.add_lanes.clone());
        run(connection, operation, add).await?;
    }
    if now.is_foreign {
        rebase(connection, operation, statements).await?;
    }
    let query = sqlx::query(statements.rebase_origin.clone());
    run(connection, operation, query).await.map(drop)
}

/// Lets the log be read from its first row. A transaction number of another cluster can occur again in
/// this one, so a stored snapshot would hide events.
async fn rebase(
    connection: &mut PgConnection,
    operation: &'static str,
    statements: &Statements,
) -> Result<(), OutboxError> {
    tracing::warn!(
        "the tables came from another cluster, or the sequence of outbox_events was set back; the \
         log is read from its first event that was not consumed, and events may be published again"
    );
    for statement in [
        &statements.rebase_events,
        &statements.rebase_lanes,
        &statements.rebase_marks,
        &statements.rebase_sequence,
    ] {
        run(connection, operation, sqlx::query(statement.clone())).await?;
    }
    Ok(())
}

fn found(row: &PgRow) -> sqlx::Result<Found> {
    Ok(Found {
        at_home: row.try_get(0)?,
        is_foreign: row.try_get(1)?,
        lanes: row.try_get(2)?,
        cache: row.try_get(3)?,
        reads_only: row.try_get(4)?,
    })
}
