//! Small steps that claim, settle and quarantine share. Each runs in its caller's transaction.

use crate::row::Key;
use outbox_core::{ErrorText, OutboxError};
use outbox_driver_sqlite::sqlite_error;
use rusqlite::{Connection, Params};

/// The outcome of the steps: the callers add the operation.
pub(crate) type Result<T> = rusqlite::Result<T>;

/// How far the log was taken up, and whose turn it is.
pub(crate) struct Cursor {
    pub(crate) position: i64,
    pub(crate) turn: i64,
}

/// What an event's letter tells of its failures.
pub(crate) struct Failures<'a> {
    pub(crate) count: u32,
    pub(crate) error: Option<&'a ErrorText>,
    pub(crate) first_at: i64,
    pub(crate) last_at: i64,
    /// S9: the letter holds its key, if the event has one.
    pub(crate) holds: bool,
}

/// When a key is due that a letter holds: never.
pub(crate) const HELD: i64 = i64::MAX;

/// Where a key stands in the log.
pub(crate) struct Front {
    /// Its first event that the cursor has passed.
    pub(crate) first: Option<i64>,
    /// S9: the letter behind which none of its events may be claimed.
    pub(crate) hold: Option<i64>,
}

/// What a waiting key knows of its first event.
#[derive(Clone, Copy, Default)]
pub(crate) struct Head {
    pub(crate) attempts: u32,
    pub(crate) worker_lost: bool,
}

pub(crate) fn run(connection: &Connection, sql: &str, params: impl Params) -> Result<usize> {
    connection.prepare_cached(sql)?.execute(params)
}

pub(crate) fn cursor(connection: &Connection) -> Result<Cursor> {
    connection
        .prepare_cached(include_str!("sql/cursor.sql"))?
        .query_row([], |row| {
            Ok(Cursor {
                position: row.get(0)?,
                turn: row.get(1)?,
            })
        })
}

/// Takes back the claims whose lease ran out. Whoever looks at claims does this first.
pub(crate) fn expire(connection: &Connection, now: i64) -> Result<()> {
    run(connection, include_str!("sql/expire_keys.sql"), [now])?;
    run(connection, include_str!("sql/expire_claims.sql"), [now])?;
    Ok(())
}

/// Moves one event into the quarantine as it stands, without reading it.
pub(crate) fn move_to_letters(
    connection: &Connection,
    seq: i64,
    failures: &Failures<'_>,
    now: i64,
) -> Result<()> {
    run(
        connection,
        include_str!("sql/copy_to_letters.sql"),
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

/// Lets a key wait until `due_at`, or for as long as a letter holds it, or forgets it if the cursor
/// has passed no event of it that is still here: the next one is then found as a fresh one.
pub(crate) fn park_or_free(
    connection: &Connection,
    key: &Key,
    position: i64,
    due_at: i64,
    head: Head,
) -> Result<()> {
    match front(connection, key, position)? {
        Front {
            first: Some(first),
            hold,
        } if hold.is_none_or(|hold| first < hold) => park(connection, key, first, due_at, head),
        Front {
            first,
            hold: Some(hold),
        } => {
            let first = first.unwrap_or(hold);
            park(connection, key, first, HELD, Head::default())
        }
        _ => run(connection, include_str!("sql/free_key.sql"), [key]).map(drop),
    }
}

/// Lets a held key go on if no other letter holds it. One that is claimed or waits for a time is
/// left as it is: whoever parks it next finds what has changed.
pub(crate) fn look_again(connection: &Connection, key: &Key, now: i64) -> Result<()> {
    let waits: bool = connection
        .prepare_cached(include_str!("sql/key_waits.sql"))?
        .query_row((key, HELD), |row| row.get(0))?;
    if waits {
        return Ok(());
    }
    let position = cursor(connection)?.position;
    park_or_free(connection, key, position, now, Head::default())
}

/// Lets a key wait until `due_at`; `first` is its first event.
pub(crate) fn park(
    connection: &Connection,
    key: &Key,
    first: i64,
    due_at: i64,
    head: Head,
) -> Result<()> {
    run(
        connection,
        include_str!("sql/park_key.sql"),
        (key, due_at, first, head.attempts, head.worker_lost),
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
