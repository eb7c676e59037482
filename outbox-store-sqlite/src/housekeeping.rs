//! Checks and repairs (S13): events that no claim would find, because rows were deleted or changed by
//! hand or because the clock was wrong.

use crate::claims::in_flight;
use crate::steps::{cursor, run};
use rusqlite::{Connection, OptionalExtension, Result};

/// How many events one call checks, so that it is short.
const PAGE: i64 = 50_000;

/// How far a clock may be ahead of another, in microseconds.
const TOLERANCE: i64 = 60_000_000;

/// Whether a claim that finds nothing may be wrong. Reads only.
pub(crate) fn is_stuck(connection: &Connection) -> Result<bool> {
    connection
        .prepare_cached(include_str!("sql/is_stuck.sql"))?
        .query_row([], |row| row.get(0))
}

/// Repairs what [`is_stuck`] finds, and returns whether there was anything.
pub(crate) fn rescue(connection: &Connection, now: i64) -> Result<bool> {
    if !is_stuck(connection)? {
        return Ok(false);
    }
    cursor(connection)?;
    let keys = run(connection, include_str!("sql/free_lost_keys.sql"), [now])?;
    warn(
        keys,
        "keys belonged to claims that do not exist; they are due now",
    );
    add_missing_keys(connection, 0, i64::MAX, now)?;
    Ok(true)
}

/// The last event of the page behind `after`, among those that the cursor has passed. `None` if it is the
/// last page.
pub(crate) fn page_end(connection: &Connection, after: i64) -> Result<Option<i64>> {
    connection
        .prepare_cached(include_str!("sql/last_passed.sql"))?
        .query_row((after, PAGE), |row| row.get(0))
        .optional()
}

/// The events of a page that no claim would find: they are in no claim, and their key has no row. Reads
/// only.
pub(crate) fn lost_events(connection: &Connection, after: i64, end: i64) -> Result<Vec<i64>> {
    let in_flight = in_flight(connection)?.events;
    connection
        .prepare_cached(include_str!("sql/events_without_key.sql"))?
        .query_map((after, end), |row| row.get(0))?
        .filter(|seq| !matches!(seq, Ok(seq) if in_flight.contains_key(seq)))
        .collect()
}

/// Adds the missing keys of a page of events. They are due now.
pub(crate) fn add_missing_keys(
    connection: &Connection,
    after: i64,
    end: i64,
    now: i64,
) -> Result<()> {
    let mut keys = 0;
    for seq in lost_events(connection, after, end)? {
        let sql = include_str!("sql/add_key_of_event.sql");
        keys += run(connection, sql, (seq, now))?;
    }
    warn(
        keys,
        "keys of events that no claim would have found were added; they are due now",
    );
    Ok(())
}

/// Repairs leases and waits that end too late, keys that are blocked by no dead letter, and what
/// [`rescue`] repairs.
pub(crate) fn repair(connection: &Connection, now: i64) -> Result<()> {
    rescue(connection, now)?;
    let leases = include_str!("sql/shorten_leases.sql");
    let leases = run(connection, leases, (now, TOLERANCE))?;
    warn(leases, "leases that ended too late were shortened");
    let waits = include_str!("sql/shorten_waits.sql");
    let waits = run(connection, waits, (now, TOLERANCE))?;
    warn(waits, "waits that ended too late were shortened");
    let keys = run(connection, include_str!("sql/add_blocked_keys.sql"), [now])?;
    warn(
        keys,
        "keys that a dead letter blocks had no row; they are blocked again",
    );
    let keys = run(connection, include_str!("sql/unblock_keys.sql"), [])?;
    warn(
        keys,
        "keys were blocked by dead letters that are gone; they are due now",
    );
    Ok(())
}

/// Removes old idempotency tokens.
pub(crate) fn clean_up_tokens(connection: &Connection, before: i64, limit: i64) -> Result<usize> {
    let sql = include_str!("sql/clean_up_tokens.sql");
    run(connection, sql, (before, limit))
}

fn warn(count: usize, what: &str) {
    if count > 0 {
        tracing::warn!(count, "{what}");
    }
}
