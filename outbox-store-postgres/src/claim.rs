//! One claim: what is due again, and fresh events.

use crate::draft::{Draft, LogRead};
use crate::memory::{LANES, Seen};
use crate::{PostgresOutbox, row};
use outbox_core::{Claim, ClaimToken, ErrorKind, OutboxError};
use outbox_driver_postgres::{PgUuid, interval, postgres_error};
use sqlx::postgres::PgRow;
use sqlx::{Row as _, SqlStr};
use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

const CLAIM: &str = "claim";

/// A claim under way.
struct Claiming<'o> {
    outbox: &'o PostgresOutbox,
    token: ClaimToken,
    limit: usize,
    lease: Duration,
    draft: Draft,
}

impl PostgresOutbox {
    /// Takes up to `limit` events for `lease`.
    pub(crate) async fn take(&self, limit: usize, lease: Duration) -> Result<Claim, OutboxError> {
        loop {
            if self.memory.must_look() {
                let seen = self.look().await?;
                if !seen.0.has_work() {
                    self.memory.claimed(Some(seen));
                    return Ok(Claim::empty());
                }
            }
            let mut claiming = Claiming {
                outbox: self,
                token: ClaimToken::new(),
                limit,
                lease,
                draft: Draft::default(),
            };
            let filled = claiming.fill().await;
            match filled {
                Err(error) if claiming.draft.given.is_empty() => return Err(error),
                Err(error) => tracing::debug!(error = error.report(), "a claim took a part only"),
                Ok(()) => {}
            }
            if let Some(claim) = claiming.finish().await? {
                return Ok(claim);
            }
        }
    }

    async fn look(&self) -> Result<Seen, OutboxError> {
        let mark = self.bell.mark();
        let outlook = self.outlook().await?;
        self.memory.saw(outlook);
        Ok((outlook, mark))
    }
}

impl Claiming<'_> {
    /// S6: what is due again has half of the claim to itself, fresh events the other half, and
    /// either takes what the other leaves. The odd place changes hands with the turn.
    async fn fill(&mut self) -> Result<(), OutboxError> {
        let mut outlook = self.outbox.memory.outlook();
        if outlook.lost {
            while self.outbox.take_back_lost_claim().await? {}
            outlook.suspects = true;
            outlook.retries = true;
        }
        let even = self.outbox.memory.next_turn();
        if outlook.suspects && even && self.suspect().await? {
            return Ok(());
        }
        if outlook.retries {
            let share = if even {
                self.limit.div_ceil(2)
            } else {
                self.limit / 2
            };
            self.retries(share).await?;
        }
        self.events().await?;
        if outlook.retries {
            self.retries(self.limit - self.draft.given.len()).await?;
        }
        if outlook.suspects && self.draft.given.is_empty() {
            self.suspect().await?;
        }
        Ok(())
    }

    /// S7: one event alone.
    async fn suspect(&mut self) -> Result<bool, OutboxError> {
        let query = sqlx::query(self.outbox.statements.claim_suspect.clone())
            .bind(PgUuid(*self.token.as_uuid()))
            .bind(interval(self.lease))
            .bind(number(self.draft.lanes.len()));
        let rows = self.outbox.driver.fetch(CLAIM, query).await?;
        let rows = row::collect(CLAIM, &rows, row::waiting_row)?;
        self.draft.add_waiting(rows, self.outbox.holds_keys);
        Ok(!self.draft.held.is_empty())
    }

    async fn retries(&mut self, limit: usize) -> Result<(), OutboxError> {
        if limit == 0 {
            return Ok(());
        }
        let query = sqlx::query(self.outbox.statements.claim_retries.clone())
            .bind(PgUuid(*self.token.as_uuid()))
            .bind(number(limit))
            .bind(interval(self.lease))
            .bind(number(LANES))
            .bind(number(self.draft.lanes.len()));
        let rows = self.outbox.driver.fetch(CLAIM, query).await?;
        let rows = row::collect(CLAIM, &rows, row::waiting_row)?;
        self.draft.add_waiting(rows, self.outbox.holds_keys);
        Ok(())
    }

    /// A backlog fills the claim from one lane, which costs least; else all lanes are asked.
    async fn events(&mut self) -> Result<(), OutboxError> {
        let memory = &self.outbox.memory;
        let asked = memory.lanes();
        let enough = self.read_log(asked).await?;
        memory.set_lanes(enough.unwrap_or(LANES));
        if enough.is_none() && asked < LANES {
            self.read_log(LANES).await?;
        }
        Ok(())
    }

    /// Reads the log of up to `lanes` lanes. Returns how many would have been enough to fill the
    /// claim, if it is full now.
    async fn read_log(&mut self, lanes: usize) -> Result<Option<usize>, OutboxError> {
        let limit = self.limit - self.draft.given.len().min(self.limit);
        if limit == 0 {
            return Ok(Some(lanes));
        }
        let read = self.fetch_log(limit, lanes).await?;
        let filled = read.rows.len() >= limit;
        let enough = (read.lanes.len() * limit).div_ceil(read.rows.len().max(1));
        let blocked = self.blocked(&read).await?;
        let holds = self.outbox.holds_keys;
        let less = self.draft.add_log(read, limit, blocked, holds);
        if !less.is_empty() {
            self.trim(&less).await?;
        }
        Ok(filled.then_some(enough))
    }

    async fn fetch_log(&self, limit: usize, lanes: usize) -> Result<LogRead, OutboxError> {
        let statements = &self.outbox.statements;
        let claim = |statement: &SqlStr| {
            sqlx::query(statement.clone())
                .bind(PgUuid(*self.token.as_uuid()))
                .bind(number(limit))
                .bind(interval(self.lease))
        };
        let has = self.draft.lanes.len();
        if lanes == 1 && has == 0 && self.outbox.memory.may_go_on() {
            let query = claim(&statements.claim_next);
            let rows = self.outbox.driver.fetch(CLAIM, query).await?;
            if !rows.is_empty() {
                return log_read(&rows);
            }
        }
        let query = claim(&statements.claim_events)
            .bind(number(lanes))
            .bind(number(has));
        log_read(&self.outbox.driver.fetch(CLAIM, query).await?)
    }

    /// S5, S9: the keys whose events must wait behind others.
    async fn blocked(&self, read: &LogRead) -> Result<HashSet<String>, OutboxError> {
        let keys: BTreeSet<&str> = read
            .rows
            .iter()
            .filter_map(|(_, row)| row.key.as_deref())
            .collect();
        if keys.is_empty() || !read.waiting {
            return Ok(HashSet::new());
        }
        let query = sqlx::query(self.outbox.statements.blocked_keys.clone())
            .bind(keys.into_iter().collect::<Vec<_>>())
            .bind(self.draft.waiting_places());
        let rows = self.outbox.driver.fetch(CLAIM, query).await?;
        row::collect(CLAIM, &rows, |row| row.try_get(0))
    }

    async fn trim(&self, less: &[(i16, usize)]) -> Result<(), OutboxError> {
        let query = sqlx::query(self.outbox.statements.trim_lanes.clone())
            .bind(PgUuid(*self.token.as_uuid()))
            .bind(less.iter().map(|(lane, _)| *lane).collect::<Vec<_>>())
            .bind(
                less.iter()
                    .map(|(_, took)| number(*took))
                    .collect::<Vec<_>>(),
            );
        self.outbox.driver.execute(CLAIM, query).await?;
        Ok(())
    }

    /// Hands the claim over. None if nothing came of it that a worker could use: once more.
    async fn finish(self) -> Result<Option<Claim>, OutboxError> {
        let Self {
            outbox,
            token,
            mut draft,
            ..
        } = self;
        let given = std::mem::take(&mut draft.given);
        if given.is_empty() {
            // Windows that ended, and events that wait behind others, are settled here. If the lease
            // is over already, another claim has them.
            if !draft.lanes.is_empty() {
                match outbox.settle_draft(token, &draft, &[]).await {
                    Err(error) if error.kind() != ErrorKind::LeaseLost => return Err(error),
                    _ => {}
                }
            }
            let seen = outbox.look().await?;
            if seen.0.has_work() {
                return Ok(None);
            }
            outbox.memory.claimed(Some(seen));
            return Ok(Some(Claim::empty()));
        }
        let is_busy = outbox.memory.claimed(None);
        outbox.memory.remember(token, draft);
        if is_busy {
            outbox.bell.wake(outbox).await;
        }
        Ok(Some(Claim::new(token, given)))
    }
}

fn log_read(rows: &[PgRow]) -> Result<LogRead, OutboxError> {
    let error = postgres_error(CLAIM);
    let mut lanes = BTreeSet::new();
    let mut read = LogRead::default();
    for row in rows {
        lanes.insert(row.try_get::<i16, _>(0).map_err(&error)?);
        read.waiting = row.try_get(12).map_err(&error)?;
        read.rows.extend(row::log_row(row).map_err(&error)?);
    }
    read.lanes = lanes.into_iter().collect();
    Ok(read)
}

/// A count as the statements take it.
pub(crate) fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
