//! Fresh events of a claim: rows of the log.

use crate::claim::{CLAIM, Claiming};
use crate::draft::LogRead;
use crate::row;
use crate::sql::{LANES, number, size};
use outbox_core::OutboxError;
use outbox_driver_postgres::{PgUuid, interval, postgres_error};
use sqlx::postgres::PgRow;
use sqlx::{Row as _, SqlStr};

/// How many lanes are asked after one that did not fill the claim. Each lane is read as if it were the only one,
/// so many lanes with a backlog cost many times what the claim takes.
const SOME: usize = 2;

impl Claiming<'_> {
    /// Takes fresh events. During a backlog one lane fills the claim, which costs least, or a few; otherwise all
    /// lanes are asked. If the one lane has a run of few keys, all lanes are asked regularly, because
    /// they may have other keys.
    pub(crate) async fn fresh(&mut self) -> Result<(), OutboxError> {
        let pace = &self.store.pace;
        let continues = pace.may_continue();
        let asked = if continues || !pace.has_run() {
            pace.lanes()
        } else {
            LANES
        };
        let (room, _) = self.room();
        let mut enough = self.read_log(room, asked, continues).await?;
        let more = if asked < LANES {
            [SOME, LANES].as_slice()
        } else {
            &[]
        };
        for lanes in more {
            if enough.is_none() {
                let (room, _) = self.room();
                enough = self.read_log(room, *lanes, false).await?;
            }
        }
        pace.set_lanes(enough.unwrap_or(LANES));
        if let Some(left) = self.few_left().filter(|_| enough.is_none()) {
            self.read_log(left, LANES, false).await?;
        }
        pace.set_has_run(!self.runs.is_empty());
        Ok(())
    }

    /// Reads up to `limit` rows of up to `lanes` lanes. If the claim is full now, returns how many
    /// lanes would have been enough.
    async fn read_log(
        &mut self,
        limit: usize,
        lanes: usize,
        continues: bool,
    ) -> Result<Option<usize>, OutboxError> {
        let lanes = lanes.min(self.lanes_left());
        if self.is_over() || lanes == 0 {
            return Ok(Some(lanes.max(1)));
        }
        let read = self.fetch_log(limit, lanes, continues).await?;
        // If more was found than fits, the events or the bytes are used up.
        let filled = read.rows.len() >= limit || read.found > read.rows.len();
        let enough = (read.lanes.len() * limit).div_ceil(read.found.max(1));
        let cut = read.cut;
        self.runs.extend(read.runs());
        self.draft.add_log(read, self.store.blocks_keys);
        if let Some((lane, took)) = cut {
            self.trim(lane, took).await?;
        }
        Ok(filled.then_some(enough))
    }

    async fn fetch_log(
        &self,
        limit: usize,
        lanes: usize,
        continues: bool,
    ) -> Result<LogRead, OutboxError> {
        let statements = &self.store.statements;
        let (_, bytes) = self.room();
        let claim = |statement: &SqlStr| {
            sqlx::query(statement.clone())
                .bind(PgUuid(*self.token.as_uuid()))
                .bind(number(limit))
                .bind(interval(self.lease))
        };
        let has = self.draft.lanes.len();
        if lanes == 1 && has == 0 && continues {
            let pace = &self.store.pace;
            let query = claim(&statements.claim_next)
                .bind(size(bytes / limit.max(1)))
                .bind(i32::from(pace.next_lane()));
            let rows = self.store.driver.fetch(CLAIM, query).await?;
            if !rows.is_empty() {
                let read = next_read(rows, limit)?;
                read.lanes.keys().for_each(|lane| pace.continued(*lane));
                return Ok(read);
            }
        }
        let query = claim(&statements.claim_events)
            .bind(number(lanes))
            .bind(number(has))
            .bind(size(bytes))
            .bind(self.draft.given.is_empty())
            .bind(self.draft.waiting_places())
            .bind(self.few_left().is_some());
        log_read(self.store.driver.fetch(CLAIM, query).await?)
    }

    /// Leases fewer rows of a lane, because the claim took fewer.
    async fn trim(&self, lane: i16, took: usize) -> Result<(), OutboxError> {
        let query = sqlx::query(self.store.statements.trim_lane.clone())
            .bind(PgUuid(*self.token.as_uuid()))
            .bind(lane)
            .bind(number(took));
        self.store.driver.execute(CLAIM, query).await?;
        Ok(())
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

/// The rows of `claim_next.sql`, which was asked for up to `limit`.
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
