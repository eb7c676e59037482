//! The backlog, and the clean-up of consumed rows.

use crate::PostgresStore;
use crate::claim::{number, size};
use crate::memory::{Cleaned, LANES, Outlook};
use outbox_core::{Backlog, OutboxError};
use outbox_driver_postgres::{PgTime, interval, postgres_error};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use std::time::Duration;

const LOOK: &str = "look for work";
const CLEAN_UP: &str = "clean_up";

/// The longest lease that a relay can be configured to take.
const LONGEST_LEASE: Duration = Duration::from_secs(24 * 60 * 60);

/// Rows of the log that are counted in each lane.
const COUNTED: i64 = 100_000;

/// Bytes of payloads that one call deletes at most, if they are of several rows.
const CLEANED: usize = 256 * 1024 * 1024;

impl PostgresStore {
    /// What a claim may find now. Tables that became others are checked first.
    pub(crate) async fn outlook(&self) -> Result<Outlook, OutboxError> {
        let mut is_home = true;
        let outlook = self.glance(&mut is_home).await;
        if is_home {
            return outlook;
        }
        self.adopt().await?;
        self.glance(&mut is_home).await
    }

    /// As [`outlook`](Self::outlook), unless this is not the server that was checked, or the tables
    /// are others: that is an error, and its connection is not used again.
    async fn glance(&self, is_home: &mut bool) -> Result<Outlook, OutboxError> {
        let query = sqlx::query(self.statements.outlook.clone());
        let read = |row: &PgRow| -> sqlx::Result<Outlook> {
            *is_home = row.try_get(6)?;
            if !*is_home {
                let text = "the server or its tables are not those that were checked last";
                return Err(sqlx::Error::Protocol(text.to_owned()));
            }
            let next_in: Option<i64> = row.try_get(4)?;
            Ok(Outlook {
                events: row.try_get(0)?,
                retries: row.try_get(1)?,
                suspects: row.try_get(2)?,
                lost: row.try_get(3)?,
                next_in: next_in.map(|micros| {
                    Duration::from_micros(u64::try_from(micros).unwrap_or_default().max(1))
                }),
                oldest_open: row.try_get(5)?,
            })
        };
        self.driver.fetch_one(LOOK, query, read).await
    }

    pub(crate) async fn waiting(&self) -> Result<Backlog, OutboxError> {
        const BACKLOG: &str = "backlog";
        let query = sqlx::query(self.statements.backlog.clone()).bind(COUNTED);
        let read = |row: &PgRow| -> sqlx::Result<Backlog> {
            let count = |at| {
                row.try_get(at)
                    .map(|count: i64| u64::try_from(count).unwrap_or(0))
            };
            let mut backlog = Backlog::default();
            backlog.pending = count(0)?;
            backlog.oldest_pending = row.try_get::<Option<PgTime>, _>(1)?.map(|time| time.0);
            backlog.in_flight = count(2)?;
            backlog.waiting = count(3)?;
            backlog.dead_letters = count(4)?;
            Ok(backlog)
        };
        self.driver.fetch_one(BACKLOG, query, read).await
    }

    /// Deletes consumed rows of the log, then old tokens. Each lane continues where it stopped, so
    /// that rows which were deleted already, and cannot be reclaimed while an old transaction is
    /// open, are not passed again and again.
    pub(crate) async fn remove_consumed(&self, limit: usize) -> Result<usize, OutboxError> {
        self.outlook().await?;
        self.cut_leases().await?;
        let mut cleaned = self.memory.cleaned();
        let query = sqlx::query(self.statements.clean_up_events.clone())
            .bind(number(limit.div_ceil(LANES)))
            .bind(cleaned.map(|lane| lane.seq).to_vec())
            .bind(number(limit))
            .bind(size(CLEANED));
        let rows = self.driver.fetch(CLEAN_UP, query).await?;
        let mut removed = 0;
        for row in &rows {
            removed += note(row, &mut cleaned).map_err(postgres_error(CLEAN_UP))?;
        }
        self.memory.set_cleaned(&cleaned);
        if removed > 0 {
            return Ok(removed);
        }
        let query = sqlx::query(self.statements.clean_up_tokens.clone())
            .bind(interval(self.token_retention))
            .bind(number(limit));
        let tokens = self.driver.execute(CLEAN_UP, query).await?;
        let query = sqlx::query(self.statements.clean_up_marks.clone());
        self.driver.execute(CLEAN_UP, query).await?;
        self.renew_events().await;
        Ok(usize::try_from(tokens).unwrap_or_default())
    }

    /// Ends leases in time that were taken while the server's clock was far ahead.
    async fn cut_leases(&self) -> Result<(), OutboxError> {
        let lease = self.memory.longest_lease();
        let query = sqlx::query(self.statements.cut_leases.clone())
            .bind(interval(lease.max(LONGEST_LEASE)))
            .bind(interval(lease));
        let lanes = self.driver.execute(CLEAN_UP, query).await?;
        if lanes > 0 {
            tracing::warn!(
                lanes,
                ?lease,
                "leases ended far in the future, as after the server's clock was wrong; they are \
                 shortened"
            );
        }
        Ok(())
    }
}

/// Notes how far a lane was cleaned up, and returns how many rows went.
fn note(row: &PgRow, cleaned: &mut [Cleaned; LANES]) -> sqlx::Result<usize> {
    let (lane, count): (i16, i64) = (row.try_get(0)?, row.try_get(1)?);
    let Some(lane) = cleaned.get_mut(usize::from(lane.unsigned_abs())) else {
        return Ok(0);
    };
    match row.try_get(2)? {
        Some(seq) => lane.seq = seq,
        None => lane.begin_anew(row.try_get(3)?, row.try_get(4)?),
    }
    Ok(usize::try_from(count).unwrap_or_default())
}
