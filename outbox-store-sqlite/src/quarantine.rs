//! Quarantines events that keep failing, in one write transaction.

use crate::claims::in_flight;
use crate::row::Key;
use crate::steps::{
    Failures, cursor, expire, key_events, move_to_dead_letters, unblock, wait_or_remove,
};
use outbox_core::{DlqEntry, QuarantineOutcome};
use outbox_driver_sqlite::micros;
use rusqlite::{Connection, OptionalExtension, Result};
use std::collections::HashMap;

/// The most bytes that one call copies. A single event may be larger.
const BYTES: i64 = 64 * 1024 * 1024;

/// An event and the state of its key.
struct Candidate {
    seq: i64,
    replays: i64,
    size: i64,
    key: Key,
    claimed: bool,
    last_seq: i64,
    attempts: i64,
    blocked: bool,
}

/// One call.
struct Quarantine<'c> {
    connection: &'c Connection,
    position: i64,
    in_flight: HashMap<i64, i64>,
    now: i64,
    blocks: bool,
    /// The bytes that were copied so far.
    copied: i64,
}

/// Moves the events that may be moved, and answers for each entry, in order.
pub(crate) fn quarantine(
    connection: &Connection,
    entries: &[DlqEntry],
    now: i64,
    blocks: bool,
) -> Result<Vec<QuarantineOutcome>> {
    expire(connection, now)?;
    let mut call = Quarantine {
        connection,
        position: cursor(connection)?.position,
        in_flight: in_flight(connection)?.events,
        now,
        blocks,
        copied: 0,
    };
    entries.iter().map(|entry| call.quarantine(entry)).collect()
}

impl Quarantine<'_> {
    fn quarantine(&mut self, entry: &DlqEntry) -> Result<QuarantineOutcome> {
        let Some(event) = find(self.connection, entry)? else {
            return Ok(QuarantineOutcome::Missing);
        };
        let claimed = event.claimed && event.seq <= event.last_seq;
        // A dead letter blocks its key from its row number on. An event beyond the cursor is not in the
        // order of its key yet.
        let unread = self.blocks && event.seq > self.position;
        if claimed || unread || self.in_flight.contains_key(&event.seq) {
            return Ok(QuarantineOutcome::Busy);
        }
        let first = key_events(self.connection, &event.key, self.position)?.first;
        let is_head = !event.claimed && first == Some(event.seq);
        // D3: a replayed event starts with no attempts. If it had none since its replay, the entry counts
        // failures before the replay.
        if event.replays > 0 && !(is_head && event.attempts > 0) {
            return Ok(QuarantineOutcome::Missing);
        }
        if self.copied > 0 && self.copied.saturating_add(event.size) > BYTES {
            return Ok(QuarantineOutcome::Busy);
        }
        self.copied = self.copied.saturating_add(event.size.max(1));
        self.move_event(entry, &event, is_head)?;
        Ok(QuarantineOutcome::Moved)
    }

    fn move_event(&self, entry: &DlqEntry, event: &Candidate, is_head: bool) -> Result<()> {
        let failures = Failures {
            count: entry.failure_count,
            error: entry.last_error.as_ref(),
            first_at: micros(entry.first_failed_at),
            last_at: micros(entry.last_failed_at),
            blocks: self.blocks,
        };
        move_to_dead_letters(self.connection, event.seq, &failures, self.now)?;
        if is_head {
            // S9: the next event of the key is due now and has no attempts.
            wait_or_remove(self.connection, &event.key, self.position, self.now, None)
        } else if !event.claimed && event.blocked {
            unblock(self.connection, &event.key, self.now)
        } else {
            Ok(())
        }
    }
}

fn find(connection: &Connection, entry: &DlqEntry) -> Result<Option<Candidate>> {
    connection
        .prepare_cached(include_str!("sql/find_event.sql"))?
        .query_row([entry.id.as_uuid().as_bytes()], |row| {
            Ok(Candidate {
                seq: row.get(0)?,
                replays: row.get(1)?,
                size: row.get(2)?,
                key: row.get(3)?,
                claimed: row.get(4)?,
                last_seq: row.get(5)?,
                attempts: row.get(6)?,
                blocked: row.get(7)?,
            })
        })
        .optional()
}
