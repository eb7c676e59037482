//! Rows to entries, and the looks that spare a write.

use outbox_core::{DlqEntry, ErrorText, EventId, OutboxError};
use outbox_driver_sqlite::rusqlite::{self, Connection, Row};
use outbox_driver_sqlite::{from_micros, sqlite_error};
use uuid::Uuid;

pub(crate) fn blob(id: &EventId) -> &[u8; 16] {
    id.as_uuid().as_bytes()
}

pub(crate) fn none_exceeded(connection: &Connection, threshold: u32) -> Result<bool, OutboxError> {
    let found: bool = connection
        .prepare_cached(include_str!("sql/any_exceeded.sql"))
        .and_then(|mut look| look.query_row([threshold], |row| row.get(0)))
        .map_err(sqlite_error("look"))?;
    Ok(!found)
}

/// How many rows cannot be given up at the threshold, and the turn of the first.
pub(crate) fn corrupt(
    connection: &Connection,
    threshold: u32,
    operation: &'static str,
) -> Result<(u64, Option<i64>), OutboxError> {
    connection
        .prepare_cached(include_str!("sql/corrupt.sql"))
        .and_then(|mut look| {
            look.query_row([threshold], |row| {
                Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?))
            })
        })
        .map_err(sqlite_error(operation))
}

/// Runs a statement whose rows are entries.
pub(crate) fn entries(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    operation: &'static str,
) -> Result<Vec<DlqEntry>, OutboxError> {
    let error = sqlite_error(operation);
    let mut statement = connection.prepare_cached(sql).map_err(&error)?;
    let rows = statement.query_map(parameters, entry).map_err(&error)?;
    rows.collect::<Result<_, _>>().map_err(&error)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<DlqEntry> {
    let id = Uuid::from_bytes(row.get(0)?);
    // Another program may have stored text that is not UTF-8; it must not hold the others up.
    let error = row
        .get_ref(2)?
        .as_bytes_or_null()?
        .map(String::from_utf8_lossy);
    let first: i64 = row.get(3)?;
    let last = first.max(row.get(4)?);
    let id = EventId::from(id);
    let entry = DlqEntry::new(id, row.get(1)?, from_micros(first), from_micros(last));
    Ok(entry.with_error(error.as_deref().map(ErrorText::new)))
}
