//! Fresh events of a claim: rows of the log.

use crate::claim::{CLAIM, Claiming};
use crate::draft::LogRead;
use crate::row;
use crate::sql::{LANES, number, size};
use outbox_core::OutboxError;
use outbox_driver_postgres::{PgUuid, interval};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row as _, SqlStr};

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
        let (has, mut enough) = (self.draft.lanes.len(), None);
        if asked == 1 && has == 0 && (continues || pace.finds_windows()) {
            enough = self.next_windows(!continues).await?;
        }
        let first = (self.draft.lanes.len() == has).then_some(asked);
        let more = if asked < LANES {
            [SOME, LANES].as_slice()
        } else {
            &[]
        };
        for lanes in first.iter().chain(more) {
            if enough.is_none() {
                let (room, _) = self.room();
                enough = self.read_log(room, *lanes).await?;
            }
        }
        pace.set_lanes(enough.unwrap_or(LANES));
        if let Some(left) = self.few_left().filter(|_| enough.is_none()) {
            self.read_log(left, LANES).await?;
        }
        pace.set_has_run(!self.runs.is_empty());
        Ok(())
    }

    /// Takes the next rows of a window that is being read and, if it ends with them, of another one. If there
    /// is none, or if `opens`, the window of another lane starts first. If the claim is full now, returns how
    /// many lanes would have been enough.
    async fn next_windows(&mut self, opens: bool) -> Result<Option<usize>, OutboxError> {
        let pace = &self.store.pace;
        let (mut opened, mut enough) = (opens && self.open_window().await?, None);
        for has in 0..SOME {
            let ended = self.draft.lanes.values().all(|reach| reach.ends);
            let room_left = self.lanes_left() > 0 && !self.is_over();
            let goes_on = ended && self.draft.lanes.len() == has && room_left;
            if enough.is_some() || !goes_on {
                break;
            }
            let (room, _) = self.room();
            let mut read = self.fetch_next(room).await?;
            if read.lanes.is_empty() && !opened && pace.finds_windows() {
                opened = self.open_window().await?;
                if opened {
                    read = self.fetch_next(room).await?;
                }
            }
            pace.set_finds_windows(!read.lanes.is_empty());
            enough = self.add(read, room).await?;
        }
        Ok(enough)
    }

    /// Starts the window of a lane that has unread events. Returns whether there was one.
    async fn open_window(&self) -> Result<bool, OutboxError> {
        let query = sqlx::query(self.store.statements().open_window.clone());
        let rows = self.store.driver.fetch(CLAIM, query).await?;
        let lanes: Vec<i16> = row::collect(CLAIM, rows, |row| row.try_get(0))?;
        for lane in &lanes {
            self.store.pace.opened(*lane);
        }
        Ok(!lanes.is_empty())
    }

    /// Reads up to `limit` rows of up to `lanes` lanes. If the claim is full now, returns how many
    /// lanes would have been enough.
    async fn read_log(&mut self, limit: usize, lanes: usize) -> Result<Option<usize>, OutboxError> {
        let lanes = lanes.min(self.lanes_left());
        if self.is_over() || lanes == 0 {
            return Ok(Some(lanes.max(1)));
        }
        let read = self.fetch_log(limit, lanes).await?;
        self.add(read, limit).await
    }

    /// Adds what a statement found that was asked for up to `limit` rows.
    async fn add(&mut self, read: LogRead, limit: usize) -> Result<Option<usize>, OutboxError> {
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

    async fn fetch_next(&self, limit: usize) -> Result<LogRead, OutboxError> {
        let (pace, (_, bytes)) = (&self.store.pace, self.room());
        let has = self.draft.lanes.keys().next().copied();
        let query = self
            .query(&self.store.statements().claim_next, limit)
            .bind(size(bytes / limit.max(1)))
            .bind(i32::from(pace.next_lane()))
            .bind(has);
        let mut read = LogRead::default();
        read.rows.reserve(limit);
        let add = |row: &PgRow| read.add_next(row, limit);
        self.store.driver.read(CLAIM, query, add).await?;
        read.lanes.keys().for_each(|lane| pace.continued(*lane));
        Ok(read)
    }

    async fn fetch_log(&self, limit: usize, lanes: usize) -> Result<LogRead, OutboxError> {
        let (_, bytes) = self.room();
        let query = self
            .query(&self.store.statements().claim_events, limit)
            .bind(number(lanes))
            .bind(number(self.draft.lanes.len()))
            .bind(size(bytes))
            .bind(self.draft.given.is_empty())
            .bind(self.draft.waiting_places())
            .bind(self.few_left().is_some());
        let mut read = LogRead::default();
        let add = |row: &PgRow| read.add_log(row);
        self.store.driver.read(CLAIM, query, add).await?;
        Ok(read)
    }

    /// A statement with the token, the limit and the lease.
    fn query(&self, statement: &SqlStr, limit: usize) -> Query<'static, Postgres, PgArguments> {
        sqlx::query(statement.clone())
            .bind(PgUuid(*self.token.as_uuid()))
            .bind(number(limit))
            .bind(interval(self.lease))
    }

    /// Leases fewer rows of a lane, because the claim took fewer.
    async fn trim(&self, lane: i16, took: usize) -> Result<(), OutboxError> {
        let query = sqlx::query(self.store.statements().trim_lane.clone())
            .bind(PgUuid(*self.token.as_uuid()))
            .bind(lane)
            .bind(number(took));
        self.store.driver.execute(CLAIM, query).await?;
        Ok(())
    }
}

impl LogRead {
    /// Adds a row of `claim_events.sql`.
    fn add_log(&mut self, row: &PgRow) -> sqlx::Result<()> {
        let found: i64 = row.try_get(13)?;
        self.found = usize::try_from(found).unwrap_or_default();
        self.lanes.insert(row.try_get(0)?, row.try_get(12)?);
        self.rows.extend(row::log_row(row)?);
        Ok(())
    }

    /// Adds a row of `claim_next.sql`, which was asked for up to `limit`.
    fn add_next(&mut self, row: &PgRow, limit: usize) -> sqlx::Result<()> {
        if self.cut.is_some() {
            return Ok(());
        }
        let lane: i16 = row.try_get(0)?;
        if row.try_get::<Option<bool>, _>(12)? == Some(false) {
            self.cut = Some((lane, self.rows.len()));
            self.lanes.insert(lane, false);
            return Ok(());
        }
        self.rows.extend(row::log_row(row)?);
        self.found = self.rows.len();
        self.lanes.insert(lane, self.found < limit);
        Ok(())
    }
}
