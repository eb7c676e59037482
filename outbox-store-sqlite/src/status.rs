//! What waits, and until when.

use crate::housekeeping::is_stuck;
use outbox_core::Backlog;
use outbox_driver_sqlite::from_micros;
use rusqlite::{Connection, Result};
use std::time::Duration;

/// Whether a claim may find something, or must check why there is nothing.
pub(crate) fn may_claim(connection: &Connection, now: i64) -> Result<bool> {
    Ok(has_work(connection, now)? || is_stuck(connection)?)
}

/// When a claim may find work.
pub(crate) enum NextWork {
    Now,
    /// At that time, or when an event is appended.
    At(Option<i64>),
}

pub(crate) fn next_work(connection: &Connection, now: i64) -> Result<NextWork> {
    if has_work(connection, now)? {
        return Ok(NextWork::Now);
    }
    connection
        .prepare_cached(include_str!("sql/next_due.sql"))?
        .query_row([], |row| row.get(0))
        .map(NextWork::At)
}

fn has_work(connection: &Connection, now: i64) -> Result<bool> {
    connection
        .prepare_cached(include_str!("sql/has_work.sql"))?
        .query_row([now], |row| row.get(0))
}

pub(crate) fn backlog(connection: &Connection, now: i64) -> Result<Backlog> {
    connection
        .prepare_cached(include_str!("sql/backlog.sql"))?
        .query_row([now], |row| {
            let number = |index| row.get::<_, i64>(index).map(i64::unsigned_abs);
            // A producer's clock may be ahead.
            let age = |index| {
                let micros: Option<i64> = row.get(index)?;
                let age =
                    micros.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0)));
                Ok::<_, rusqlite::Error>(age)
            };
            let mut backlog = Backlog::default();
            backlog.pending = number(0)?;
            backlog.oldest_pending = row.get::<_, Option<i64>>(1)?.map(from_micros);
            backlog.in_flight = number(2)?;
            backlog.waiting = number(3)?;
            backlog.dead_letters = number(4)?;
            backlog.oldest_due = age(5)?;
            backlog.oldest_dead_letter = age(6)?;
            Ok(backlog)
        })
}
