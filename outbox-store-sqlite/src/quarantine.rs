//! Events that keep failing, into the quarantine, in one write transaction.

use crate::keys::{
    Failures, Result, cursor, expire, front, in_flight, look_again, move_to_dead_letters,
    park_or_free,
};
use crate::row::Key;
use outbox_core::{DlqEntry, QuarantineOutcome};
use outbox_driver_sqlite::micros;
use rusqlite::{Connection, OptionalExtension};
use std::collections::HashMap;

/// The most bytes that one call copies; a single event may be larger.
const BYTES: i64 = 64 * 1024 * 1024;

/// An event and the state of its key.
struct Found {
    seq: i64,
    replays: i64,
    size: i64,
    key: Key,
    claimed: bool,
    last_seq: i64,
    attempts: i64,
    held: bool,
}

/// One call.
struct Call<'c> {
    connection: &'c Connection,
    position: i64,
    in_flight: HashMap<i64, i64>,
    now: i64,
    holds: bool,
    /// Bytes that were copied so far.
    copied: i64,
}

/// Moves what may be moved; answers for each entry, in order.
pub(crate) fn quarantine(
    connection: &Connection,
    entries: &[DlqEntry],
    now: i64,
    holds: bool,
) -> Result<Vec<QuarantineOutcome>> {
    expire(connection, now)?;
    let mut call = Call {
        connection,
        position: cursor(connection)?.position,
        in_flight: in_flight(connection)?,
        now,
        holds,
        copied: 0,
    };
    entries.iter().map(|entry| call.quarantine(entry)).collect()
}

impl Call<'_> {
    fn quarantine(&mut self, entry: &DlqEntry) -> Result<QuarantineOutcome> {
        let Some(found) = find(self.connection, entry)? else {
            return Ok(QuarantineOutcome::Missing);
        };
        let claimed = found.claimed && found.seq <= found.last_seq;
        // A dead letter holds from its place in the log; an event beyond the cursor has none yet.
        let no_place = self.holds && found.seq > self.position;
        if claimed || no_place || self.in_flight.contains_key(&found.seq) {
            return Ok(QuarantineOutcome::Busy);
        }
        let first = front(self.connection, &found.key, self.position)?.first;
        let is_head = !found.claimed && first == Some(found.seq);
        // D3: a replayed event begins with no attempts. Without a failed attempt since the replay,
        // the entry is about the time before it.
        if found.replays > 0 && !(is_head && found.attempts > 0) {
            return Ok(QuarantineOutcome::Missing);
        }
        if self.copied > 0 && self.copied.saturating_add(found.size) > BYTES {
            return Ok(QuarantineOutcome::Busy);
        }
        self.copied = self.copied.saturating_add(found.size.max(1));
        self.move_event(entry, &found, is_head)?;
        Ok(QuarantineOutcome::Moved)
    }

    fn move_event(&self, entry: &DlqEntry, found: &Found, is_head: bool) -> Result<()> {
        let failures = Failures {
            count: entry.failure_count,
            error: entry.last_error.as_ref(),
            first_at: micros(entry.first_failed_at),
            last_at: micros(entry.last_failed_at),
            holds: self.holds,
        };
        move_to_dead_letters(self.connection, found.seq, &failures, self.now)?;
        if is_head {
            // S9: the next event of the key is due at once, with no attempts of its own.
            park_or_free(self.connection, &found.key, self.position, self.now, None)
        } else if !found.claimed && found.held {
            look_again(self.connection, &found.key, self.now)
        } else {
            Ok(())
        }
    }
}

fn find(connection: &Connection, entry: &DlqEntry) -> Result<Option<Found>> {
    connection
        .prepare_cached(include_str!("sql/find_event.sql"))?
        .query_row([entry.id.as_uuid().as_bytes()], |row| {
            Ok(Found {
                seq: row.get(0)?,
                replays: row.get(1)?,
                size: row.get(2)?,
                key: row.get(3)?,
                claimed: row.get(4)?,
                last_seq: row.get(5)?,
                attempts: row.get(6)?,
                held: row.get(7)?,
            })
        })
        .optional()
}
