//! The server that the snapshots belong to.
//!
//! A snapshot means nothing in another cluster, and a cursor means nothing once the sequence of the
//! log was set back. A handle may meet either at any time: behind a name or a proxy that leads to another
//! server, after a dump was restored, after a `TRUNCATE … RESTART IDENTITY`. So each statement that
//! relies on them reads `outbox_home`, which is empty on a server that was not checked, and the
//! handle checks the tables before it continues.

use crate::PostgresStore;
use crate::memory::LANES;
use crate::settle::run;
use crate::sql::Statements;
use outbox_core::OutboxError;
use outbox_driver_postgres::{Driver, postgres_error};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use std::time::Duration;

const OPEN: &str = "open";

/// All rows that wait are rewritten.
const LONGEST: Duration = Duration::from_secs(600);

/// What the tables are found to be.
struct Found {
    at_home: bool,
    is_foreign: bool,
    lanes: i64,
    numbers: i64,
    reads_only: bool,
}

impl PostgresStore {
    /// Checks the tables after they became others, and forgets where in the log this handle was.
    pub(crate) async fn adopt(&self) -> Result<(), OutboxError> {
        adopt(&self.driver, &self.statements).await?;
        self.memory.forget_places();
        Ok(())
    }
}

/// As [`adopt`], but a server that only reads is left as it is: it can show what it has.
pub(crate) async fn adopt_at_start(
    driver: &Driver,
    statements: &Statements,
) -> Result<(), OutboxError> {
    if look(driver, statements).await?.reads_only {
        return Ok(());
    }
    adopt(driver, statements).await
}

async fn look(driver: &Driver, statements: &Statements) -> Result<Found, OutboxError> {
    let query = sqlx::query(statements.is_foreign.clone());
    driver.fetch_one(OPEN, query, found).await
}

/// Checks the tables on this server, and makes them fit for it if they are not.
async fn adopt(driver: &Driver, statements: &Statements) -> Result<(), OutboxError> {
    let found = look(driver, statements).await?;
    // S2: what a session keeps for later would come after greater ones that were read.
    if found.numbers != 1 {
        let problem = format!(
            "CACHE of the sequence outbox_events_seq_seq is {}, but must be 1",
            found.numbers
        );
        return Err(OutboxError::invalid("postgres", OPEN, problem));
    }
    if found.at_home {
        return Ok(());
    }
    driver
        .transaction_within(LONGEST, OPEN, async |connection: &mut PgConnection| {
            run(connection, OPEN, sqlx::query(statements.lock_log.clone())).await?;
            check(connection, statements).await
        })
        .await
}

/// Under the lock of all lanes.
async fn check(connection: &mut PgConnection, statements: &Statements) -> Result<(), OutboxError> {
    let row = sqlx::query(statements.is_foreign.clone())
        .fetch_one(&mut *connection)
        .await;
    let now = row.and_then(|row| found(&row));
    let now = now.map_err(postgres_error(OPEN))?;
    if now.at_home {
        // Another handle was faster.
        return Ok(());
    }
    if now.lanes != i64::try_from(LANES).unwrap_or(i64::MAX) {
        let missing =
            "lanes are missing in outbox_lanes; they are added and read from the first event";
        tracing::warn!(found = now.lanes, "{missing}");
        run(connection, OPEN, sqlx::query(statements.add_lanes.clone())).await?;
    }
    if now.is_foreign {
        rebase(connection, statements).await?;
    }
    let query = sqlx::query(statements.rebase_origin.clone());
    run(connection, OPEN, query).await.map(drop)
}

/// Reads the log from its first row. A transaction number of another cluster can come again in this
/// one, so events would be skipped if a stored snapshot were believed.
async fn rebase(connection: &mut PgConnection, statements: &Statements) -> Result<(), OutboxError> {
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
        run(connection, OPEN, sqlx::query(statement.clone())).await?;
    }
    Ok(())
}

fn found(row: &PgRow) -> sqlx::Result<Found> {
    Ok(Found {
        at_home: row.try_get(0)?,
        is_foreign: row.try_get(1)?,
        lanes: row.try_get(2)?,
        numbers: row.try_get(3)?,
        reads_only: row.try_get(4)?,
    })
}
