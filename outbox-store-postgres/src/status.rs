//! The backlog.

use crate::PostgresStore;
use outbox_core::{Backlog, OutboxError};
use outbox_driver_postgres::PgTime;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use std::time::Duration;

/// How many rows of the log are counted.
const COUNTED: i64 = 100_000;

impl PostgresStore {
    pub(crate) async fn read_backlog(&self) -> Result<Backlog, OutboxError> {
        let query = sqlx::query(self.statements().backlog.clone()).bind(COUNTED + 1);
        self.driver.fetch_one("backlog", query, backlog).await
    }
}

fn backlog(row: &PgRow) -> sqlx::Result<Backlog> {
    let count = |at| {
        row.try_get(at)
            .map(|count: i64| u64::try_from(count).unwrap_or(0))
    };
    // A producer's clock may be ahead.
    let age = |at| {
        let micros: Option<i64> = row.try_get(at)?;
        let age = micros.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0)));
        Ok::<_, sqlx::Error>(age)
    };
    let mut backlog = Backlog::default();
    backlog.pending = count(0)?;
    backlog.pending_is_capped = row.try_get(5)?;
    backlog.oldest_pending = row.try_get::<Option<PgTime>, _>(1)?.map(|time| time.0);
    backlog.in_flight = count(2)?;
    backlog.waiting = count(3)?;
    backlog.dead_letters = count(4)?;
    backlog.oldest_due = age(6)?;
    backlog.oldest_dead_letter = age(7)?;
    Ok(backlog)
}
