//! Who works on the outbox, and what waits: [`RelayRegistry`].

use crate::sql::size;
use crate::{PostgresStore, row};
use async_trait::async_trait;
use outbox_core::{
    BlockedKey, ClaimToken, ErrorText, EventId, OpenClaim, OutboxError, Overview, RelayId,
    RelayPause, RelayProgram, RelayRecord, RelayRegistry, RelayReport, WaitingEvent,
};
use outbox_driver_postgres::{PgTime, PgUuid, interval, postgres_error};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use std::collections::HashSet;
use std::time::SystemTime;

const REPORT: &str = "report";
const OVERVIEW: &str = "overview";

#[async_trait]
impl RelayRegistry for PostgresStore {
    async fn report(&self, report: &RelayReport) -> Result<(), OutboxError> {
        let error = report.last_error.as_ref();
        let query = sqlx::query(self.statements().report.clone())
            .bind(PgUuid(*report.id.as_uuid()))
            .bind(self.mark.as_bytes().to_vec())
            .bind(report.program.host())
            .bind(i64::from(report.program.process()))
            .bind(report.program.version())
            .bind(report.last_pass.map(interval))
            .bind(error.map(|(text, _)| text.as_str()))
            .bind(error.map(|(_, ago)| interval(*ago)))
            .bind(RelayPause::to_json(&report.pauses))
            .bind(interval(RelayReport::SILENCE))
            .bind(size(RelayReport::MAX_RELAYS - 1))
            .bind(report.program.destination());
        self.driver.execute(REPORT, query).await.map(drop)
    }

    async fn withdraw(&self, id: RelayId) -> Result<(), OutboxError> {
        let query = sqlx::query(self.statements().withdraw.clone()).bind(PgUuid(*id.as_uuid()));
        self.driver.execute("withdraw", query).await.map(drop)
    }

    /// Of the log it looks at up to `limit` unclaimed events of each of the 16 lanes.
    async fn overview(&self, limit: usize) -> Result<Overview, OutboxError> {
        let statements = self.statements();
        let query = |sql: &sqlx::SqlStr| sqlx::query(sql.clone()).bind(size(limit));
        let rows = self
            .driver
            .fetch(OVERVIEW, query(&statements.relays))
            .await?;
        let now = match rows.first().map(|row| row.try_get::<PgTime, _>(0)) {
            Some(now) => now.map_err(postgres_error(OVERVIEW))?.0,
            None => SystemTime::UNIX_EPOCH,
        };
        let mut overview = Overview::new(now);
        let relays: Vec<Option<RelayRecord>> = row::collect(OVERVIEW, rows, relay)?;
        overview.relays = relays.into_iter().flatten().collect();
        let rows = self
            .driver
            .fetch(OVERVIEW, query(&statements.open_claims))
            .await?;
        overview.claims = row::collect(OVERVIEW, rows, claim)?;
        let rows = self
            .driver
            .fetch(OVERVIEW, query(&statements.waiting))
            .await?;
        overview.waiting = longest_waiting(row::collect(OVERVIEW, rows, waiting)?, limit);
        let rows = self
            .driver
            .fetch(OVERVIEW, query(&statements.blocked_keys))
            .await?;
        overview.blocked = row::collect(OVERVIEW, rows, blocked)?;
        Ok(overview)
    }
}

/// The first event of each key, the oldest first. `events` has those of the retries before those of the log.
fn longest_waiting(events: Vec<WaitingEvent>, limit: usize) -> Vec<WaitingEvent> {
    let mut keys: HashSet<String> = HashSet::new();
    let mut first: Vec<WaitingEvent> = events
        .into_iter()
        .filter(|event| {
            let key = event.ordering_key.as_ref();
            key.is_none_or(|key| keys.insert(key.clone()))
        })
        .collect();
    first.sort_by_key(|event| (event.created_at, event.id));
    first.truncate(limit);
    first
}

fn relay(row: &PgRow) -> sqlx::Result<Option<RelayRecord>> {
    let Some(id) = row.try_get::<Option<PgUuid>, _>(1)? else {
        return Ok(None);
    };
    let process = u32::try_from(row.try_get::<i64, _>(4)?).unwrap_or_default();
    let mut program = RelayProgram::new(row.try_get(3)?, process, row.try_get(5)?);
    if let Some(destination) = row.try_get(12)? {
        program = program.publishing_to(destination);
    }
    let report = RelayReport::new(id.0.into(), program);
    let mark = <[u8; 6]>::try_from(row.try_get::<&[u8], _>(2)?).unwrap_or_default();
    let mut record = RelayRecord::new(&report, mark.into(), time(row, 6)?, time(row, 7)?);
    record.last_pass = row.try_get::<Option<PgTime>, _>(8)?.map(|time| time.0);
    let error = row.try_get::<Option<&str>, _>(9)?.map(ErrorText::new);
    record.last_error = error.zip(row.try_get::<Option<PgTime>, _>(10)?.map(|time| time.0));
    record.pauses = RelayPause::from_json(row.try_get(11)?);
    Ok(Some(record))
}

fn claim(row: &PgRow) -> sqlx::Result<OpenClaim> {
    let token = ClaimToken::from(row.try_get::<PgUuid, _>(0)?.0);
    let events = u64::try_from(row.try_get::<i64, _>(2)?).unwrap_or_default();
    let mut claim = OpenClaim::new(token, events, time(row, 1)?);
    let lanes = row.try_get::<Vec<i16>, _>(3)?;
    claim.lanes = lanes.into_iter().map(i16::unsigned_abs).collect();
    Ok(claim)
}

fn waiting(row: &PgRow) -> sqlx::Result<WaitingEvent> {
    let event_type = row.try_get(2)?;
    let mut event = WaitingEvent::new(row::id(row, 1)?, event_type, time(row, 4)?, time(row, 5)?);
    event.ordering_key = row.try_get(3)?;
    event.attempts = row::count(row.try_get(6)?);
    event.last_error = row.try_get::<Option<&str>, _>(7)?.map(ErrorText::new);
    event.held_for = row.try_get::<Option<&str>, _>(8)?.map(Into::into);
    Ok(event)
}

fn blocked(row: &PgRow) -> sqlx::Result<BlockedKey> {
    let id: EventId = row::id(row, 1)?;
    let mut key = BlockedKey::new(row.try_get(0)?, id, time(row, 2)?);
    key.last_error = row.try_get::<Option<&str>, _>(3)?.map(ErrorText::new);
    Ok(key)
}

fn time(row: &PgRow, at: usize) -> sqlx::Result<SystemTime> {
    row.try_get::<PgTime, _>(at).map(|time| time.0)
}
