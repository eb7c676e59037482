//! A log that was restored into another cluster.

use crate::memory::LANES;
use crate::settle::{lock_lanes, run};
use crate::sql::Statements;
use outbox_core::OutboxError;
use outbox_driver_postgres::{Driver, postgres_error};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use std::time::Duration;

const OPEN: &str = "open";

/// Each row that waits is written anew.
const LONGEST: Duration = Duration::from_secs(600);

/// Reads a restored log from its first row. A transaction number of the old cluster can come again
/// in this one, so a stored snapshot would tell nonsense: events would be skipped.
pub(crate) async fn adopt(driver: &Driver, statements: &Statements) -> Result<(), OutboxError> {
    let query = sqlx::query(statements.is_foreign.clone());
    let read = |row: &PgRow| Ok((row.try_get(0)?, row.try_get(1)?));
    let (is_foreign, numbers): (bool, i64) = driver.fetch_one(OPEN, query, read).await?;
    // S2: what a session keeps for later would come after greater ones that were read.
    if numbers != 1 {
        let what = "CACHE of the sequence outbox_events_seq_seq";
        return Err(OutboxError::invalid("postgres", OPEN, what, numbers, "1"));
    }
    if !is_foreign {
        return Ok(());
    }
    driver
        .transaction_within(LONGEST, OPEN, async |connection: &mut PgConnection| {
            let lanes: Vec<i16> = (0_i16..).take(LANES).collect();
            lock_lanes(connection, OPEN, statements, &lanes).await?;
            // Another process may have been faster.
            let is_foreign: bool = sqlx::query_scalar(statements.is_foreign.clone())
                .fetch_one(&mut *connection)
                .await
                .map_err(postgres_error(OPEN))?;
            if !is_foreign {
                return Ok(());
            }
            tracing::warn!("the tables were restored from another cluster; the log is read anew");
            for statement in [
                &statements.rebase_events,
                &statements.rebase_lanes,
                &statements.rebase_marks,
                &statements.rebase_origin,
                &statements.rebase_sequence,
            ] {
                run(connection, OPEN, sqlx::query(statement.clone())).await?;
            }
            Ok(())
        })
        .await
}
