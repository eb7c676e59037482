//! Events that keep failing, into the quarantine, in one write transaction.

use crate::keys::{
    Failures, HELD, Head, Result, cursor, expire, front, move_to_letters, park_or_free,
};
use crate::row::Key;
use outbox_core::{DlqEntry, QuarantineOutcome};
use outbox_driver_sqlite::micros;
use rusqlite::{Connection, OptionalExtension};

/// An event and the state of its key.
struct Found {
    seq: i64,
    replays: i64,
    key: Key,
    claimed: bool,
    last_seq: i64,
    attempts: i64,
    due_at: i64,
}

/// Moves what may be moved; answers for each entry, in order.
pub(crate) fn quarantine(
    connection: &Connection,
    entries: &[DlqEntry],
    now: i64,
    holds: bool,
) -> Result<Vec<QuarantineOutcome>> {
    expire(connection, now)?;
    let position = cursor(connection)?.position;
    entries
        .iter()
        .map(|entry| quarantine_one(connection, entry, position, now, holds))
        .collect()
}

fn quarantine_one(
    connection: &Connection,
    entry: &DlqEntry,
    position: i64,
    now: i64,
    holds: bool,
) -> Result<QuarantineOutcome> {
    let Some(found) = find(connection, entry)? else {
        return Ok(QuarantineOutcome::Missing);
    };
    let in_flight = found.claimed && found.seq <= found.last_seq;
    // A letter holds from its place in the log; an event beyond the cursor has none yet.
    if in_flight || (holds && found.seq > position) {
        return Ok(QuarantineOutcome::Busy);
    }
    let first = front(connection, &found.key, position)?.first;
    let is_head = !found.claimed && first == Some(found.seq);
    // D3: a replayed event begins anew. Without a failed attempt of this life the entry tells of
    // the earlier one.
    if found.replays > 0 && !(is_head && found.attempts > 0) {
        return Ok(QuarantineOutcome::Missing);
    }
    let failures = Failures {
        count: entry.failure_count,
        error: entry.last_error.as_ref(),
        first_at: micros(entry.first_failed_at),
        last_at: micros(entry.last_failed_at),
        holds,
    };
    move_to_letters(connection, found.seq, &failures, now)?;
    if is_head || (!found.claimed && found.due_at == HELD) {
        // S9: the next event of the key is due at once, with no attempts of its own.
        park_or_free(connection, &found.key, position, now, Head::default())?;
    }
    Ok(QuarantineOutcome::Moved)
}

fn find(connection: &Connection, entry: &DlqEntry) -> Result<Option<Found>> {
    connection
        .prepare_cached(include_str!("sql/find_event.sql"))?
        .query_row([entry.id.as_uuid().as_bytes()], |row| {
            Ok(Found {
                seq: row.get(0)?,
                replays: row.get(1)?,
                key: row.get(2)?,
                claimed: row.get(3)?,
                last_seq: row.get(4)?,
                attempts: row.get(5)?,
                due_at: row.get(6)?,
            })
        })
        .optional()
}
