//! Steps that claim, settle and quarantine share. Each runs in the transaction of its caller, which adds
//! the operation to its errors.

use crate::claims::{self, OpenClaim};
use crate::refusal::delete;
use crate::row::{Key, count, event_id};
use outbox_core::{ClaimToken, ErrorText, EventId};
use rusqlite::{Connection, OptionalExtension, Params, Result};
use std::sync::Arc;

/// The row number up to which the log was read, and whether due keys or fresh events come first.
pub(crate) struct Cursor {
    pub(crate) position: i64,
    pub(crate) turn: i64,
}

/// The failures of an event, for its dead letter.
pub(crate) struct Failures<'a> {
    pub(crate) count: u32,
    pub(crate) error: Option<&'a ErrorText>,
    pub(crate) first_at: i64,
    pub(crate) last_at: i64,
    /// S9: the dead letter blocks the ordering key of the event.
    pub(crate) blocks: bool,
}

/// The row numbers of a key in the log.
pub(crate) struct KeyEvents {
    /// Its first event that waits.
    pub(crate) first: Option<i64>,
    /// S9: its first dead letter that blocks it. No event behind that may be claimed.
    pub(crate) blocked_from: Option<i64>,
}

/// The history of the first event of a key.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct History {
    pub(crate) attempts: u32,
    pub(crate) worker_lost: bool,
}

/// Until when a key waits, and for which of its events. If another event is the first, the key is
/// due at once.
#[derive(Clone, Debug)]
pub(crate) struct Wait {
    pub(crate) first: i64,
    pub(crate) due_at: i64,
    pub(crate) history: History,
    /// S23: a resumption of this destination ends the wait.
    pub(crate) destination: Option<Arc<str>>,
    /// The error of the attempt that failed.
    pub(crate) error: Option<ErrorText>,
}

impl Wait {
    /// Until that time, for an event that never failed.
    pub(crate) fn until(first: i64, due_at: i64) -> Self {
        Self {
            first,
            due_at,
            history: History::default(),
            destination: None,
            error: None,
        }
    }
}

pub(crate) fn run(connection: &Connection, sql: &str, params: impl Params) -> Result<usize> {
    connection.prepare_cached(sql)?.execute(params)
}

/// Reads the cursor. If its row was deleted by hand, the cursor starts again at 0.
pub(crate) fn cursor(connection: &Connection) -> Result<Cursor> {
    let read = || {
        connection
            .prepare_cached(include_str!("sql/cursor.sql"))?
            .query_row([], |row| {
                Ok(Cursor {
                    position: row.get(0)?,
                    turn: row.get(1)?,
                })
            })
            .optional()
    };
    if let Some(cursor) = read()? {
        return Ok(cursor);
    }
    tracing::warn!("the row of outbox_cursor is missing; the log is read again from its start");
    run(connection, include_str!("sql/set_cursor.sql"), [])?;
    read()?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

/// S7: ends the claims whose lease has ended. Everything that reads claims does this first.
pub(crate) fn expire(connection: &Connection, now: i64) -> Result<()> {
    let any: bool = connection
        .prepare_cached(include_str!("sql/any_expired.sql"))?
        .query_row([now], |row| row.get(0))?;
    if !any {
        return Ok(());
    }
    let expired = claims::expired(connection, now)?;
    for (token, claim) in &expired {
        give_rows(connection, *token, claim, now)?;
    }
    run(connection, include_str!("sql/expire_keys.sql"), [now])?;
    run(connection, include_str!("sql/expire_claims.sql"), [now])?;
    for (_, claim) in expired {
        let events = claim.events.len();
        tracing::info!(events, "took over a claim whose lease had ended");
        for seq in claim.events.into_values() {
            let_wait(connection, seq, now)?;
            run(connection, include_str!("sql/suspect_event.sql"), [seq])?;
        }
    }
    Ok(())
}

/// Lets an event wait that is in no claim, with the key that it has now. If that key has no row, it is due
/// now.
pub(crate) fn let_wait(connection: &Connection, seq: i64, now: i64) -> Result<()> {
    run(
        connection,
        include_str!("sql/add_key_of_event.sql"),
        (seq, now),
    )?;
    run(connection, include_str!("sql/add_waiting_event.sql"), [seq])?;
    Ok(())
}

/// Lets an event of the key wait with it.
pub(crate) fn add_waiting(connection: &Connection, key: &Key, seq: i64) -> Result<()> {
    run(connection, include_str!("sql/add_waiting.sql"), (key, seq)).map(drop)
}

/// Gives a row to each key of a claim that has none.
fn give_rows(
    connection: &Connection,
    token: ClaimToken,
    claim: &OpenClaim,
    now: i64,
) -> Result<()> {
    for (key, &last_seq) in &claim.keys {
        claims::claim_key(connection, token, key, last_seq, now, History::default())?;
    }
    for (id, seq) in &claim.events {
        let sql = include_str!("sql/claim_unkeyed.sql");
        let values = (id.as_bytes(), seq, token.as_uuid().as_bytes(), now);
        run(connection, sql, values)?;
    }
    Ok(())
}

/// Moves one event into the quarantine without reading it, and returns its id.
pub(crate) fn move_to_dead_letters(
    connection: &Connection,
    seq: i64,
    failures: &Failures<'_>,
    now: i64,
) -> Result<EventId> {
    run(
        connection,
        include_str!("sql/copy_to_dead_letters.sql"),
        (
            seq,
            failures.count,
            failures.error.map(ErrorText::as_str),
            failures.first_at,
            failures.last_at,
            now,
            failures.blocks,
        ),
    )?;
    remove_event(connection, seq)
}

/// Deletes an event and returns its id.
pub(crate) fn remove_event(connection: &Connection, seq: i64) -> Result<EventId> {
    delete(connection, "outbox_events", || {
        connection
            .prepare_cached(include_str!("sql/remove_event.sql"))?
            .query_row([seq], |row| event_id(row, 0))
    })
}

pub(crate) fn key_events(connection: &Connection, key: &Key, position: i64) -> Result<KeyEvents> {
    connection
        .prepare_cached(include_str!("sql/key_head.sql"))?
        .query_row((key, position), |row| {
            Ok(KeyEvents {
                first: row.get(0)?,
                blocked_from: row.get(1)?,
            })
        })
}

/// Lets a key wait for its first event, or until a dead letter that blocks it is gone. Removes the row of
/// the key if the cursor has passed none of its events: a later claim finds the next one as a fresh event.
pub(crate) fn wait_or_remove(
    connection: &Connection,
    key: &Key,
    position: i64,
    now: i64,
    wait: Option<Wait>,
) -> Result<()> {
    let events = key_events(connection, key, position)?;
    let waiting = events.first.unwrap_or(i64::MAX);
    run(
        connection,
        include_str!("sql/remove_waiting.sql"),
        (key, waiting),
    )?;
    let Some(first) = events.first.or(events.blocked_from) else {
        run(connection, include_str!("sql/free_key.sql"), [key])?;
        return Ok(());
    };
    let blocked = events.blocked_from.is_some_and(|from| from <= first);
    let wait = wait.filter(|wait| wait.first == first);
    let wait = wait.unwrap_or_else(|| Wait::until(first, now));
    set_waiting(connection, key, &wait, blocked, now)
}

/// The row of a key.
pub(crate) enum KeyState {
    Claimed,
    Waits(Wait),
}

pub(crate) fn key_state(connection: &Connection, key: &Key) -> Result<Option<KeyState>> {
    connection
        .prepare_cached(include_str!("sql/key_state.sql"))?
        .query_row([key], |row| {
            if row.get(0)? {
                return Ok(KeyState::Claimed);
            }
            Ok(KeyState::Waits(Wait {
                first: row.get(1)?,
                due_at: row.get(2)?,
                history: History {
                    attempts: count(row.get(3)?),
                    worker_lost: row.get(4)?,
                },
                destination: row.get(5)?,
                error: None,
            }))
        })
        .optional()
}

/// Unblocks a key that no other dead letter blocks. A claimed key is not changed: its settlement checks
/// what blocks it.
pub(crate) fn unblock(connection: &Connection, key: &Key, now: i64) -> Result<()> {
    let wait = match key_state(connection, key)? {
        Some(KeyState::Claimed) => return Ok(()),
        Some(KeyState::Waits(wait)) => Some(wait),
        None => None,
    };
    let position = cursor(connection)?.position;
    wait_or_remove(connection, key, position, now, wait)
}

/// Lets a key wait; if `blocked`, until a dead letter is gone.
pub(crate) fn set_waiting(
    connection: &Connection,
    key: &Key,
    wait: &Wait,
    blocked: bool,
    now: i64,
) -> Result<()> {
    let delay = wait.due_at.saturating_sub(now).max(0);
    let History {
        attempts,
        worker_lost,
    } = wait.history;
    run(
        connection,
        include_str!("sql/key_waits.sql"),
        (
            key,
            wait.due_at,
            delay,
            blocked,
            wait.first,
            attempts,
            worker_lost,
            wait.destination.as_deref(),
            wait.error.as_deref(),
        ),
    )?;
    Ok(())
}
