//! What waits, and until when.

use crate::housekeeping::is_stuck;
use crate::keys::{Result, run};
use outbox_core::Backlog;
use outbox_driver_sqlite::from_micros;
use rusqlite::Connection;

/// Up to so many rows are counted exactly.
const COUNTED: i64 = 100_000;

/// Whether a claim may find something.
fn has_work(connection: &Connection, now: i64) -> Result<bool> {
    connection
        .prepare_cached(include_str!("sql/has_work.sql"))?
        .query_row([now], |row| row.get(0))
}

/// Whether a claim may find something, or must look why there is nothing.
pub(crate) fn may_claim(connection: &Connection, now: i64) -> Result<bool> {
    Ok(has_work(connection, now)? || is_stuck(connection)?)
}

/// Whether there is work, else when time alone will bring some.
pub(crate) enum Outlook {
    Work,
    Until(Option<i64>),
}

pub(crate) fn outlook(connection: &Connection, now: i64) -> Result<Outlook> {
    if has_work(connection, now)? {
        return Ok(Outlook::Work);
    }
    connection
        .prepare_cached(include_str!("sql/next_due.sql"))?
        .query_row([], |row| row.get(0))
        .map(Outlook::Until)
}

pub(crate) fn backlog(connection: &Connection, now: i64) -> Result<Backlog> {
    connection
        .prepare_cached(include_str!("sql/backlog.sql"))?
        .query_row([now, COUNTED], |row| {
            let number = |index| -> Result<u64> {
                Ok(u64::try_from(row.get::<_, i64>(index)?).unwrap_or_default())
            };
            let counted: i64 = row.get(0)?;
            let beyond: i64 = row.get(1)?;
            let behind: i64 = row.get(2)?;
            let pending = if counted <= COUNTED {
                counted
            } else {
                behind.saturating_add(beyond.max(0)).max(counted)
            };
            let mut backlog = Backlog::default();
            backlog.pending = u64::try_from(pending).unwrap_or_default();
            backlog.oldest_pending = row.get::<_, Option<i64>>(3)?.map(from_micros);
            backlog.in_flight = number(4)?;
            backlog.waiting = number(5)?;
            backlog.dead_letters = number(6)?;
            Ok(backlog)
        })
}

/// Frees old idempotency tokens.
pub(crate) fn clean_up(connection: &Connection, before: i64, limit: i64) -> Result<usize> {
    run(
        connection,
        include_str!("sql/clean_up_tokens.sql"),
        (before, limit),
    )
}
