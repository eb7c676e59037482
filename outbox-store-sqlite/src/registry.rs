//! Who works on the outbox, and what waits: [`RelayRegistry`].

use crate::SqliteStore;
use crate::row::{count, event_id, lossy};
use crate::steps::run;
use async_trait::async_trait;
use outbox_core::{
    BlockedKey, ClaimMark, ClaimToken, ErrorText, OpenClaim, OutboxError, Overview, RelayId,
    RelayPause, RelayProgram, RelayRecord, RelayRegistry, RelayReport, WaitingEvent,
};
use outbox_driver_sqlite::{from_micros, interval, micros, sqlite_error};
use rusqlite::{Connection, Result, Row};
use std::time::SystemTime;
use uuid::Uuid;

#[async_trait]
impl RelayRegistry for SqliteStore {
    async fn report(&self, report: &RelayReport) -> Result<(), OutboxError> {
        let (now, mark, report) = (self.clock.now(), self.mark, report.clone());
        let write = move |connection: &_| {
            write_report(connection, &report, mark, now).map_err(sqlite_error("report"))
        };
        self.driver.write_quietly("report", write).await
    }

    async fn withdraw(&self, id: RelayId) -> Result<(), OutboxError> {
        let withdraw = move |connection: &_| {
            let sql = include_str!("sql/withdraw.sql");
            let removed = run(connection, sql, [id.as_uuid().as_bytes()]);
            removed.map(drop).map_err(sqlite_error("withdraw"))
        };
        self.driver.write_unsynced("withdraw", withdraw).await
    }

    /// It looks at up to 1,000 of the oldest events, of the fresh events, of the held events and of the keys
    /// that wait.
    async fn overview(&self, limit: usize) -> Result<Overview, OutboxError> {
        let now = self.clock.now();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let look = move |connection: &_| overview(connection, limit, now);
        self.driver.fetch("overview", look).await
    }
}

/// R1, R3: in the transaction of the caller.
fn write_report(
    connection: &Connection,
    report: &RelayReport,
    mark: ClaimMark,
    now: SystemTime,
) -> Result<()> {
    let record = RelayRecord::new(report, mark, now, now);
    let (error, failed) = record.last_error.unzip();
    run(
        connection,
        include_str!("sql/report.sql"),
        (
            record.id.as_uuid().as_bytes(),
            micros(now),
            mark.as_bytes(),
            record.program.host(),
            record.program.process(),
            record.program.version(),
            record.last_pass.map(micros),
            error.as_deref(),
            failed.map(micros),
            RelayPause::to_json(&record.pauses),
            record.program.destination(),
        ),
    )?;
    let silent = micros(now).saturating_sub(interval(RelayReport::SILENCE));
    let sql = include_str!("sql/remove_silent_relays.sql");
    let most = i64::try_from(RelayReport::MAX_RELAYS).unwrap_or(i64::MAX);
    run(connection, sql, (silent, most)).map(drop)
}

fn overview(connection: &Connection, limit: i64, now: SystemTime) -> Result<Overview> {
    let mut overview = Overview::new(now);
    overview.relays = all(connection, include_str!("sql/relays.sql"), limit, relay)?;
    overview.claims = all(
        connection,
        include_str!("sql/list_claims.sql"),
        limit,
        claim,
    )?;
    let sql = include_str!("sql/waiting_events.sql");
    overview.waiting = all(connection, sql, limit, waiting)?;
    let sql = include_str!("sql/blocked_keys.sql");
    overview.blocked = all(connection, sql, limit, blocked)?;
    Ok(overview)
}

fn all<T>(
    connection: &Connection,
    sql: &str,
    limit: i64,
    read: impl Fn(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([limit], |row| read(row))?;
    rows.collect()
}

fn relay(row: &Row<'_>) -> Result<RelayRecord> {
    let text = |index| lossy(row, index).unwrap_or_default();
    let process = u32::try_from(row.get::<_, i64>(3)?).unwrap_or_default();
    let mut program = RelayProgram::new(&text(2), process, &text(4));
    if let Some(destination) = lossy(row, 11) {
        program = program.publishing_to(&destination);
    }
    let id = Uuid::from_bytes(row.get(0)?).into();
    let mark = row.get::<_, [u8; 6]>(1)?.into();
    let report = RelayReport::new(id, program);
    let time = |index| {
        row.get::<_, Option<i64>>(index)
            .map(|at| at.map(from_micros))
    };
    let now = from_micros(row.get(6)?);
    let mut record = RelayRecord::new(&report, mark, from_micros(row.get(5)?), now);
    record.last_pass = time(7)?;
    record.last_error = error(row, 8).zip(time(9)?);
    record.pauses = RelayPause::from_json(&text(10));
    Ok(record)
}

fn claim(row: &Row<'_>) -> Result<OpenClaim> {
    let token = ClaimToken::from(Uuid::from_bytes(row.get(0)?));
    let events = row.get::<_, i64>(1)?.unsigned_abs();
    Ok(OpenClaim::new(token, events, from_micros(row.get(2)?)))
}

fn waiting(row: &Row<'_>) -> Result<WaitingEvent> {
    let event_type = lossy(row, 2).unwrap_or_default();
    let time = |index| row.get(index).map(from_micros);
    let mut event = WaitingEvent::new(event_id(row, 1)?, event_type, time(4)?, time(5)?);
    event.ordering_key = lossy(row, 3);
    event.attempts = count(row.get(6)?);
    event.last_error = error(row, 7);
    event.held_for = lossy(row, 8).map(Into::into);
    Ok(event)
}

fn blocked(row: &Row<'_>) -> Result<BlockedKey> {
    let key = lossy(row, 0).unwrap_or_default();
    let since = row.get(2).map(from_micros)?;
    let mut blocked = BlockedKey::new(key, event_id(row, 1)?, since);
    blocked.last_error = error(row, 3);
    Ok(blocked)
}

fn error(row: &Row<'_>, index: usize) -> Option<ErrorText> {
    lossy(row, index).map(|text| ErrorText::new(&text))
}
