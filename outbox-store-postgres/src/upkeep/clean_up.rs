//! The clean-up of consumed rows, old tokens and leases that are too long.

use super::progress::Cleaned;
use crate::PostgresStore;
use crate::sql::{LANES, number, size};
use outbox_core::OutboxError;
use outbox_driver_postgres::{interval, postgres_error};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use std::time::Duration;

const CLEAN_UP: &str = "clean_up";

/// The longest lease that a relay can be configured to take.
const LONGEST_LEASE: Duration = Duration::from_secs(24 * 60 * 60);

/// The most bytes of payloads that one call deletes. A single row may be larger.
const BYTES: usize = 256 * 1024 * 1024;

impl PostgresStore {
    /// Deletes consumed rows of the log, and old tokens if there were none. Each lane continues where
    /// the last call stopped. While an old transaction is open, the server cannot reclaim what was
    /// deleted, so rows that were deleted are not read again.
    pub(crate) async fn remove_consumed(&self, limit: usize) -> Result<usize, OutboxError> {
        self.outlook(CLEAN_UP).await?;
        self.cut_leases().await?;
        let mut cleaned = self.progress.cleaned();
        let query = sqlx::query(self.statements().clean_up_events.clone())
            .bind(number(limit.div_ceil(LANES)))
            .bind(cleaned.map(|lane| lane.seq).to_vec())
            .bind(number(limit))
            .bind(size(BYTES));
        let rows = self.driver.fetch(CLEAN_UP, query).await?;
        let mut removed = 0;
        for row in &rows {
            removed += note(row, &mut cleaned).map_err(postgres_error(CLEAN_UP))?;
        }
        self.progress.set_cleaned(&cleaned);
        if removed > 0 {
            return Ok(removed);
        }
        let query = sqlx::query(self.statements().clean_up_tokens.clone())
            .bind(interval(self.token_retention))
            .bind(number(limit));
        let tokens = self.driver.execute(CLEAN_UP, query).await?;
        let query = sqlx::query(self.statements().clean_up_marks.clone());
        self.driver.execute(CLEAN_UP, query).await?;
        self.renew_events(CLEAN_UP).await;
        Ok(usize::try_from(tokens).unwrap_or_default())
    }

    /// Shortens leases that were taken while the server's clock was far ahead.
    async fn cut_leases(&self) -> Result<(), OutboxError> {
        let lease = self.claims.longest_lease();
        let query = sqlx::query(self.statements().cut_leases.clone())
            .bind(interval(lease.max(LONGEST_LEASE)))
            .bind(interval(lease));
        let read = |row: &PgRow| row.try_get::<i64, _>(0);
        let leases = self.driver.fetch_one(CLEAN_UP, query, read).await?;
        if leases > 0 {
            tracing::warn!(
                leases,
                ?lease,
                "leases ended far in the future, as if the server's clock had been wrong; they are \
                 shortened"
            );
        }
        Ok(())
    }
}

/// Notes how far a lane was cleaned up, and returns how many rows were deleted.
fn note(row: &PgRow, cleaned: &mut [Cleaned; LANES]) -> sqlx::Result<usize> {
    let (lane, count): (i16, i64) = (row.try_get(0)?, row.try_get(1)?);
    let Some(lane) = cleaned.get_mut(usize::from(lane.unsigned_abs())) else {
        return Ok(0);
    };
    match row.try_get(2)? {
        Some(seq) => lane.seq = seq,
        None => lane.start_pass(row.try_get(3)?, row.try_get(4)?),
    }
    Ok(usize::try_from(count).unwrap_or_default())
}
