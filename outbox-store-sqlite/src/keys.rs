//! Small steps that claim, settle and quarantine share. Each runs in its caller's transaction.

use crate::row::{Key, count};
use outbox_core::{ErrorText, OutboxError};
use outbox_driver_sqlite::sqlite_error;
use rusqlite::{Connection, OptionalExtension, Params};
use std::collections::HashMap;
use uuid::Uuid;

/// The outcome of the steps: the callers add the operation.
pub(crate) type Result<T> = rusqlite::Result<T>;

/// How far the log was taken up, and whose turn it is.
pub(crate) struct Cursor {
    pub(crate) position: i64,
    pub(crate) turn: i64,
}

/// What an event's dead letter says of its failures.
pub(crate) struct Failures<'a> {
    pub(crate) count: u32,
    pub(crate) error: Option<&'a ErrorText>,
    pub(crate) first_at: i64,
    pub(crate) last_at: i64,
    /// S9: the dead letter holds its key, if the event has one.
    pub(crate) holds: bool,
}

/// Where a key stands in the log.
pub(crate) struct Front {
    /// Its first event that the cursor has passed.
    pub(crate) first: Option<i64>,
    /// S9: the dead letter behind which none of its events may be claimed.
    pub(crate) hold: Option<i64>,
}

/// What a waiting key knows of its first event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Head {
    pub(crate) attempts: u32,
    pub(crate) worker_lost: bool,
}

/// For how long a key waits, and for which of its events. If another event is the first by now, that
/// one is due at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) first: i64,
    pub(crate) due_at: i64,
    pub(crate) head: Head,
}

/// The events of a claim, as they were claimed: the place in the log of each id.
pub(crate) type Claimed = HashMap<Uuid, i64>;

pub(crate) fn run(connection: &Connection, sql: &str, params: impl Params) -> Result<usize> {
    connection.prepare_cached(sql)?.execute(params)
}

/// Where the cursor is. It begins again if somebody deleted its row.
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

/// Takes back the claims whose lease ran out. Whoever looks at claims does this first.
pub(crate) fn expire(connection: &Connection, now: i64) -> Result<()> {
    let any: bool = connection
        .prepare_cached(include_str!("sql/any_expired.sql"))?
        .query_row([now], |row| row.get(0))?;
    if !any {
        return Ok(());
    }
    run(connection, include_str!("sql/expire_keys.sql"), [now])?;
    let expired: Vec<Vec<u8>> = connection
        .prepare_cached(include_str!("sql/expire_claims.sql"))?
        .query_map([now], |row| row.get(0))?
        .collect::<Result<_>>()?;
    for seq in expired
        .iter()
        .flat_map(|events| claimed(events).into_values())
    {
        run(
            connection,
            include_str!("sql/lead_to_event.sql"),
            (seq, now),
        )?;
    }
    Ok(())
}

/// The bytes of a claim's events, as `outbox_claims` keeps them.
pub(crate) fn claimed_bytes(events: impl Iterator<Item = (Uuid, i64)>) -> Vec<u8> {
    events
        .flat_map(|(id, seq)| {
            let mut bytes = [0; 24];
            bytes[..16].copy_from_slice(id.as_bytes());
            bytes[16..].copy_from_slice(&seq.to_be_bytes());
            bytes
        })
        .collect()
}

/// Reads what [`claimed_bytes`] wrote.
pub(crate) fn claimed(bytes: &[u8]) -> Claimed {
    let (events, _) = bytes.as_chunks::<24>();
    events
        .iter()
        .map(|bytes| {
            let (mut id, mut seq) = ([0; 16], [0; 8]);
            id.copy_from_slice(&bytes[..16]);
            seq.copy_from_slice(&bytes[16..]);
            (Uuid::from_bytes(id), i64::from_be_bytes(seq))
        })
        .collect()
}

/// The events of all open claims by their place in the log, and when the lease of each ends.
pub(crate) fn in_flight(connection: &Connection) -> Result<HashMap<i64, i64>> {
    let mut statement = connection.prepare_cached(include_str!("sql/open_claims.sql"))?;
    let mut rows = statement.query([])?;
    let mut events = HashMap::new();
    while let Some(row) = rows.next()? {
        let until: i64 = row.get(0)?;
        let claim = claimed(row.get_ref(1)?.as_blob()?);
        events.extend(claim.into_values().map(|seq| (seq, until)));
    }
    Ok(events)
}

/// Moves one event into the quarantine as it is, without reading it.
pub(crate) fn move_to_dead_letters(
    connection: &Connection,
    seq: i64,
    failures: &Failures<'_>,
    now: i64,
) -> Result<()> {
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
            failures.holds,
        ),
    )?;
    run(connection, include_str!("sql/remove_event.sql"), [seq])?;
    Ok(())
}

pub(crate) fn front(connection: &Connection, key: &Key, position: i64) -> Result<Front> {
    let sql = match key {
        Key::Ordered(_) => include_str!("sql/key_head.sql"),
        Key::Lone(_) => include_str!("sql/lone_head.sql"),
    };
    connection
        .prepare_cached(sql)?
        .query_row((key, position), |row| {
            Ok(Front {
                first: row.get(0)?,
                hold: row.get(1)?,
            })
        })
}

/// Lets a key wait as its first event asks, or for as long as a dead letter holds it, or forgets it
/// if the cursor has passed no event of it that is still here: the next one is then found as a fresh
/// one.
pub(crate) fn park_or_free(
    connection: &Connection,
    key: &Key,
    position: i64,
    now: i64,
    wait: Option<Wait>,
) -> Result<()> {
    let front = front(connection, key, position)?;
    let Some(first) = front.first.or(front.hold) else {
        run(connection, include_str!("sql/free_key.sql"), [key])?;
        return Ok(());
    };
    let held = front.hold.is_some_and(|hold| hold <= first);
    let wait = wait.filter(|wait| wait.first == first).unwrap_or(Wait {
        first,
        due_at: now,
        head: Head::default(),
    });
    park(connection, key, &wait, held, now)
}

/// What a key's row says of it.
pub(crate) enum State {
    Claimed,
    Waits(Wait),
}

pub(crate) fn state(connection: &Connection, key: &Key) -> Result<Option<State>> {
    connection
        .prepare_cached(include_str!("sql/key_state.sql"))?
        .query_row([key], |row| {
            if row.get(0)? {
                return Ok(State::Claimed);
            }
            Ok(State::Waits(Wait {
                first: row.get(1)?,
                due_at: row.get(2)?,
                head: Head {
                    attempts: count(row.get(3)?),
                    worker_lost: row.get(4)?,
                },
            }))
        })
        .optional()
}

/// Lets a held key go on if no other dead letter holds it. One that is claimed is left as it is:
/// whoever parks it next finds what has changed.
pub(crate) fn look_again(connection: &Connection, key: &Key, now: i64) -> Result<()> {
    let wait = match state(connection, key)? {
        Some(State::Claimed) => return Ok(()),
        Some(State::Waits(wait)) => Some(wait),
        None => None,
    };
    let position = cursor(connection)?.position;
    park_or_free(connection, key, position, now, wait)
}

/// Lets a key wait; `held`: for a dead letter.
pub(crate) fn park(
    connection: &Connection,
    key: &Key,
    wait: &Wait,
    held: bool,
    now: i64,
) -> Result<()> {
    let delay = wait.due_at.saturating_sub(now).max(0);
    let Head {
        attempts,
        worker_lost,
    } = wait.head;
    run(
        connection,
        include_str!("sql/park_key.sql"),
        (
            key,
            wait.due_at,
            delay,
            held,
            wait.first,
            attempts,
            worker_lost,
        ),
    )?;
    Ok(())
}

/// Adds the operation to the errors of the steps.
pub(crate) fn during<T>(
    operation: &'static str,
    result: Result<T>,
) -> std::result::Result<T, OutboxError> {
    result.map_err(sqlite_error(operation))
}
