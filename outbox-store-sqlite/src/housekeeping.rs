//! Whether "no work" can be true, and repairs where it cannot (S13): somebody deleted or changed
//! rows, or the clock was wrong for a moment.

use crate::keys::{Result, cursor, run};
use rusqlite::{Connection, OptionalExtension};

/// How many events one call looks at, so that it stays short.
const PAGE: i64 = 50_000;

/// How far a clock may be ahead of another, in microseconds.
const TOLERANCE: i64 = 60_000_000;

/// Whether a claim that finds nothing must look closer. Reads only.
pub(crate) fn is_stuck(connection: &Connection) -> Result<bool> {
    connection
        .prepare_cached(include_str!("sql/is_stuck.sql"))?
        .query_row([], |row| row.get(0))
}

/// Repairs what [`is_stuck`] finds; whether there was anything.
pub(crate) fn rescue(connection: &Connection, now: i64) -> Result<bool> {
    if !is_stuck(connection)? {
        return Ok(false);
    }
    cursor(connection)?;
    let keys = run(connection, include_str!("sql/free_lost_keys.sql"), [now])?;
    warn(
        keys,
        "keys belonged to claims that do not exist; they are due again",
    );
    lead_to_events(connection, 0, i64::MAX, now)?;
    Ok(true)
}

/// A page of events that the cursor has passed: those behind `after`, up to the returned one, or
/// beyond the last one if that is `None`.
pub(crate) fn page_end(connection: &Connection, after: i64) -> Result<Option<i64>> {
    connection
        .prepare_cached(include_str!("sql/last_passed.sql"))?
        .query_row((after, PAGE), |row| row.get(0))
        .optional()
}

/// Whether any event of a page belongs to no key. Reads only.
pub(crate) fn any_unled(connection: &Connection, after: i64, end: i64) -> Result<bool> {
    connection
        .prepare_cached(include_str!("sql/any_unled.sql"))?
        .query_row((after, end), |row| row.get(0))
}

/// Makes the events of a page that belong to no key due.
pub(crate) fn lead_to_events(
    connection: &Connection,
    after: i64,
    end: i64,
    now: i64,
) -> Result<()> {
    let sql = include_str!("sql/lead_to_unled.sql");
    let keys = run(connection, sql, (after, end, now))?;
    warn(
        keys,
        "keys of events that no claim would have found are due now",
    );
    Ok(())
}

/// Repairs leases and waits that are longer than they were made, keys that wait for a dead letter
/// that is gone, and what [`rescue`] repairs.
pub(crate) fn repair(connection: &Connection, now: i64) -> Result<()> {
    rescue(connection, now)?;
    let leases = include_str!("sql/shorten_leases.sql");
    let leases = run(connection, leases, (now, TOLERANCE))?;
    warn(
        leases,
        "leases ended later than their length from now; they are shortened",
    );
    let waits = include_str!("sql/shorten_waits.sql");
    let waits = run(connection, waits, (now, TOLERANCE))?;
    warn(
        waits,
        "keys waited for longer than they were asked to; their waits are shortened",
    );
    let keys = run(connection, include_str!("sql/lead_to_holding.sql"), [now])?;
    warn(
        keys,
        "keys that a dead letter holds had no row; they wait for it again",
    );
    let keys = run(connection, include_str!("sql/free_held_keys.sql"), [])?;
    warn(
        keys,
        "keys waited for dead letters that are gone; they go on",
    );
    Ok(())
}

fn warn(count: usize, what: &str) {
    if count > 0 {
        tracing::warn!(count, "{what}");
    }
}
