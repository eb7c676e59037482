//! One claim: what is due again, and fresh events.

use crate::draft::{Draft, LogRead, Run};
use crate::memory::{LANES, Seen};
use crate::{PostgresStore, row};
use outbox_core::{Claim, ClaimLimit, ClaimToken, ErrorKind, OutboxError};
use outbox_driver_postgres::{PgUuid, interval, postgres_error};
use sqlx::postgres::PgRow;
use sqlx::{Row as _, SqlStr};
use std::time::Duration;
use tokio::time::Instant;

const CLAIM: &str = "claim";

/// A claim that has found nothing to give for so long returns empty, so that its caller can stop.
/// A claim with events starts no further statement.
const LONGEST: Duration = Duration::from_secs(1);

/// S12: a claim of so many events leaves at least half of the lanes that are free to other workers.
const FEW: usize = 32;

/// A claim under way.
struct Claiming<'o> {
    outbox: &'o PostgresStore,
    token: ClaimToken,
    limit: ClaimLimit,
    lease: Duration,
    since: Instant,
    draft: Draft,
    /// What it found of the log.
    runs: Vec<Run>,
}

impl PostgresStore {
    /// Takes events within `limit` for `lease`. Empty if there is none, and also if only events that
    /// must wait were found for a while: then [`wait_for_work`](Self::wait_for_work) returns at once.
    pub(crate) async fn take(
        &self,
        limit: ClaimLimit,
        lease: Duration,
    ) -> Result<Claim, OutboxError> {
        let since = Instant::now();
        self.memory.takes_lease(lease);
        self.repair_keys().await?;
        if self.memory.found_waiting() {
            self.park_page().await?;
        }
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
                since,
                draft: Draft::default(),
                runs: Vec::new(),
            };
            let filled = claiming.fill().await;
            match filled {
                Err(error) if claiming.draft.given.is_empty() => return Err(error),
                Err(error) => tracing::debug!(%error, "a claim took a part only"),
                Ok(()) => {}
            }
            if let Some(claim) = claiming.finish().await? {
                return Ok(claim);
            }
            while since.elapsed() < LONGEST && self.park_page().await? {}
            if since.elapsed() >= LONGEST {
                self.memory.claimed(None);
                return Ok(Claim::empty());
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
    /// either takes what the other leaves. The odd place and the odd bytes change hands with the turn.
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
            let ClaimLimit { events, bytes, .. } = self.limit;
            let (events, bytes) = match (outlook.events, even) {
                (false, _) => (events, bytes),
                (true, true) => (events.div_ceil(2), bytes),
                (true, false) => (events / 2, bytes / 2),
            };
            let may_exceed = even || !outlook.events;
            self.retries(events, bytes, may_exceed, false).await?;
        }
        self.events().await?;
        if outlook.retries && !self.is_over() {
            let (events, bytes) = self.room();
            let rest = self.few_left();
            self.retries(rest.unwrap_or(events), bytes, true, rest.is_some())
                .await?;
        }
        if outlook.suspects && self.draft.given.is_empty() {
            self.suspect().await?;
        }
        Ok(())
    }

    /// How many events a claim of few may still take that has half of the lanes already. None: it has
    /// fewer lanes, or enough events.
    fn few_left(&self) -> Option<usize> {
        let (events, _) = self.room();
        let left = FEW.saturating_sub(self.draft.given.len()).min(events);
        (left > 0 && self.draft.lanes.len() >= LANES / 2).then_some(left)
    }

    /// The events and bytes that are left.
    fn room(&self) -> (usize, usize) {
        let ClaimLimit { events, bytes, .. } = self.limit;
        let events = events.saturating_sub(self.draft.given.len());
        (events, bytes.saturating_sub(self.draft.bytes()))
    }

    /// Whether the claim is full, or has something and took long.
    fn is_over(&self) -> bool {
        let (events, bytes) = self.room();
        let late = bytes == 0 || self.since.elapsed() > LONGEST;
        events == 0 || late && !self.draft.given.is_empty()
    }

    /// S7: one event alone.
    async fn suspect(&mut self) -> Result<bool, OutboxError> {
        let query = sqlx::query(self.outbox.statements.claim_suspect.clone())
            .bind(PgUuid(*self.token.as_uuid()))
            .bind(interval(self.lease))
            .bind(number(self.draft.lanes.len()));
        let rows = self.outbox.driver.fetch(CLAIM, query).await?;
        let rows = row::collect(CLAIM, rows, row::waiting_row)?;
        self.draft.add_waiting(rows, self.outbox.holds_keys);
        Ok(!self.draft.held.is_empty())
    }

    /// What is due again, up to `limit` events of `bytes`. `may_exceed`: the first may be larger.
    /// `all`: it may be of more than half of the lanes that are free.
    async fn retries(
        &mut self,
        limit: usize,
        bytes: usize,
        may_exceed: bool,
        all: bool,
    ) -> Result<(), OutboxError> {
        if limit == 0 {
            return Ok(());
        }
        let query = sqlx::query(self.outbox.statements.claim_retries.clone())
            .bind(PgUuid(*self.token.as_uuid()))
            .bind(number(limit))
            .bind(interval(self.lease))
            .bind(number(LANES))
            .bind(number(self.draft.lanes.len()))
            .bind(size(bytes))
            .bind(may_exceed && self.draft.given.is_empty())
            .bind(all);
        let rows = self.outbox.driver.fetch(CLAIM, query).await?;
        let rows = row::collect(CLAIM, rows, row::waiting_row)?;
        self.draft.add_waiting(rows, self.outbox.holds_keys);
        Ok(())
    }

    /// A backlog fills the claim from one lane, which costs least; else all lanes are asked. So they
    /// are now and then if the one lane has a run of few keys, as the others may have other keys.
    async fn events(&mut self) -> Result<(), OutboxError> {
        let memory = &self.outbox.memory;
        let goes_on = memory.may_go_on();
        let asked = if goes_on || !memory.has_run() {
            memory.lanes()
        } else {
            LANES
        };
        let (room, _) = self.room();
        let enough = self.read_log(room, asked, goes_on).await?;
        memory.set_lanes(enough.unwrap_or(LANES));
        if enough.is_none() && asked < LANES {
            let (room, _) = self.room();
            self.read_log(room, LANES, false).await?;
        }
        if let Some(left) = self.few_left().filter(|_| enough.is_none()) {
            self.read_log(left, LANES, false).await?;
        }
        memory.set_run(!self.runs.is_empty());
        Ok(())
    }

    /// Reads up to `limit` rows of the log, of up to `lanes` lanes. Returns how many would have been
    /// enough for that many, if they were found.
    async fn read_log(
        &mut self,
        limit: usize,
        lanes: usize,
        goes_on: bool,
    ) -> Result<Option<usize>, OutboxError> {
        if self.is_over() {
            return Ok(Some(lanes));
        }
        let read = self.fetch_log(limit, lanes, goes_on).await?;
        // More was found than fits: the events or the bytes are used up.
        let filled = read.rows.len() >= limit || read.found > read.rows.len();
        let enough = (read.lanes.len() * limit).div_ceil(read.found.max(1));
        let cut = read.cut;
        self.runs.extend(read.runs());
        self.draft.add_log(read, self.outbox.holds_keys);
        if let Some((lane, took)) = cut {
            self.trim(lane, took).await?;
        }
        Ok(filled.then_some(enough))
    }

    async fn fetch_log(
        &self,
        limit: usize,
        lanes: usize,
        goes_on: bool,
    ) -> Result<LogRead, OutboxError> {
        let statements = &self.outbox.statements;
        let (_, bytes) = self.room();
        let claim = |statement: &SqlStr| {
            sqlx::query(statement.clone())
                .bind(PgUuid(*self.token.as_uuid()))
                .bind(number(limit))
                .bind(interval(self.lease))
        };
        let has = self.draft.lanes.len();
        if lanes == 1 && has == 0 && goes_on {
            let query = claim(&statements.claim_next).bind(size(bytes / limit.max(1)));
            let rows = self.outbox.driver.fetch(CLAIM, query).await?;
            if !rows.is_empty() {
                return next_read(rows, limit);
            }
        }
        let query = claim(&statements.claim_events)
            .bind(number(lanes))
            .bind(number(has))
            .bind(size(bytes))
            .bind(self.draft.given.is_empty())
            .bind(self.draft.waiting_places())
            .bind(self.few_left().is_some());
        log_read(self.outbox.driver.fetch(CLAIM, query).await?)
    }

    /// The claim took fewer rows of a lane than it leased.
    async fn trim(&self, lane: i16, took: usize) -> Result<(), OutboxError> {
        let query = sqlx::query(self.outbox.statements.trim_lane.clone())
            .bind(PgUuid(*self.token.as_uuid()))
            .bind(lane)
            .bind(number(took));
        self.outbox.driver.execute(CLAIM, query).await?;
        Ok(())
    }

    /// Hands the claim over. None if nothing came of it that a worker could use: once more.
    async fn finish(self) -> Result<Option<Claim>, OutboxError> {
        let Self {
            outbox,
            token,
            mut draft,
            runs,
            limit,
            ..
        } = self;
        let waiting = draft.waiting_from_log();
        outbox.memory.set_found_waiting(waiting > limit.events / 2);
        let given = draft.take_given();
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
        outbox.set_aside(token, runs).await;
        let is_busy = outbox.memory.claimed(None);
        outbox.memory.remember(token, draft);
        if is_busy {
            outbox.bell.wake(outbox).await;
        }
        Ok(Some(Claim::new(token, given)))
    }
}

/// The rows of `claim_events.sql`.
fn log_read(rows: Vec<PgRow>) -> Result<LogRead, OutboxError> {
    let error = postgres_error(CLAIM);
    let mut read = LogRead::default();
    for row in rows {
        let lane = row.try_get(0).map_err(&error)?;
        read.lanes.insert(lane, row.try_get(12).map_err(&error)?);
        let found: i64 = row.try_get(13).map_err(&error)?;
        read.found = usize::try_from(found).unwrap_or_default();
        read.rows.extend(row::log_row(&row).map_err(&error)?);
    }
    Ok(read)
}

/// The rows of `claim_next.sql`, of which up to `limit` were asked for.
fn next_read(rows: Vec<PgRow>, limit: usize) -> Result<LogRead, OutboxError> {
    let error = postgres_error(CLAIM);
    let mut read = LogRead::default();
    for row in rows {
        let lane: i16 = row.try_get(0).map_err(&error)?;
        if row.try_get::<Option<bool>, _>(12).map_err(&error)? == Some(false) {
            read.cut = Some((lane, read.rows.len()));
            read.lanes.insert(lane, false);
            break;
        }
        read.rows.extend(row::log_row(&row).map_err(&error)?);
        read.lanes.insert(lane, read.rows.len() < limit);
    }
    read.found = read.rows.len();
    Ok(read)
}

/// A count as the statements take it.
pub(crate) fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Bytes as the statements take them.
pub(crate) fn size(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
