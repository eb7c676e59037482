//! The operator's side: list, replay, purge.

use crate::SqliteStore;
use crate::filter::Filter;
use crate::refusal::delete;
use crate::row::{Key, dead_letter, event_id, event_to_show, lossy};
use crate::steps::{run, unblock};
use async_trait::async_trait;
use outbox_core::{
    DeadLetter, DeadLetterFilter, DeadLetterGroup, DeadLetters, ErrorKind, ErrorText, Event,
    EventId, OutboxError,
};
use outbox_driver_sqlite::{from_micros, micros, sqlite_error};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row};

/// The most bytes of payloads that one replay copies, or one purge frees. A single payload may be larger.
const BYTES: i64 = 64 * 1024 * 1024;

#[async_trait]
impl DeadLetters for SqliteStore {
    async fn list(
        &self,
        filter: &DeadLetterFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, OutboxError> {
        let filter = Filter::new(filter);
        let after = after.map_or(0, |after| i64::try_from(after).unwrap_or(i64::MAX));
        let page = [after, bound(limit)];
        let list = move |connection: &_| {
            let sql = include_str!("sql/list_dead_letters.sql");
            filter.rows(connection, sql, page, dead_letter)
        };
        self.driver.fetch("list", list).await
    }

    async fn find(&self, id: EventId) -> Result<Option<(DeadLetter, Event)>, OutboxError> {
        let find = move |connection: &Connection| {
            let id = id.as_uuid().as_bytes();
            let dead_letter = connection
                .prepare_cached(include_str!("sql/find_dead_letter.sql"))?
                .query_row([id], dead_letter)
                .optional()?;
            let Some(dead_letter) = dead_letter else {
                return Ok(None);
            };
            connection
                .prepare_cached(include_str!("sql/dead_letter_event.sql"))?
                .query_row([id], |row| Ok(Some((dead_letter, event_to_show(row)))))
        };
        self.driver.fetch("find", find).await
    }

    /// A dead letter stays if its id is in the outbox again, or if another event has taken its
    /// idempotency token. If no other dead letter matches, the error is a
    /// [`Conflict`](ErrorKind::Conflict) that names one.
    async fn replay(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<EventId>, OutboxError> {
        let filter = Filter::new(filter);
        let now = micros(self.clock.now());
        let replay = move |connection: &_| replay(connection, &filter, limit, now);
        self.driver.write(REPLAY, replay).await
    }

    async fn purge(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<EventId>, OutboxError> {
        let filter = Filter::new(filter);
        let now = micros(self.clock.now());
        let purge = move |connection: &Connection| {
            let selected = within_bytes(select(connection, &filter, false, 0, limit)?);
            for one in &selected {
                remove(connection, one.position)?;
            }
            unblock_all(connection, &selected, now)?;
            Ok(ids(&selected))
        };
        self.driver.execute("purge", purge).await
    }

    async fn statistics(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<DeadLetterGroup>, OutboxError> {
        let filter = Filter::new(filter);
        let groups = move |connection: &_| {
            let sql = include_str!("sql/dead_letter_groups.sql");
            filter.rows(connection, sql, [bound(limit)], group)
        };
        self.driver.fetch("statistics", groups).await
    }
}

const REPLAY: &str = "replay";

fn replay(
    connection: &Connection,
    filter: &Filter,
    limit: usize,
    now: i64,
) -> Result<Vec<EventId>, OutboxError> {
    let error = sqlite_error(REPLAY);
    let (mut moved, mut after) = (Vec::new(), 0);
    while moved.is_empty() && limit > 0 {
        let page = select(connection, filter, true, after, limit).map_err(&error)?;
        let Some(last) = page.last() else {
            return refuse_any(connection, filter).map(|()| Vec::new());
        };
        after = last.position;
        for selected in within_bytes(page) {
            if put_back(connection, &selected)? {
                moved.push(selected);
            }
        }
    }
    unblock_all(connection, &moved, now).map_err(&error)?;
    Ok(ids(&moved))
}

/// Moves one dead letter to the log. A dead letter that the log refuses stays, so that the others can be
/// replayed.
fn put_back(connection: &Connection, selected: &Selected) -> Result<bool, OutboxError> {
    let copy = include_str!("sql/copy_to_events.sql");
    match run(connection, copy, [selected.position]) {
        Ok(_) => {
            let waits = include_str!("sql/add_replayed.sql");
            run(connection, waits, [selected.position]).map_err(sqlite_error(REPLAY))?;
            remove(connection, selected.position).map_err(sqlite_error(REPLAY))?;
            Ok(true)
        }
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            tracing::warn!(id = %selected.id, %error, "a dead letter cannot be replayed and stays");
            Ok(false)
        }
        Err(error) => Err(sqlite_error(REPLAY)(error)),
    }
}

/// An error that names one of the matching dead letters, if there is one. None of them can be replayed.
fn refuse_any(connection: &Connection, filter: &Filter) -> Result<(), OutboxError> {
    let matching = select(connection, filter, false, 0, 1).map_err(sqlite_error(REPLAY))?;
    let Some(Selected { id, .. }) = matching.first() else {
        return Ok(());
    };
    let text = format!(
        "dead letter {id} cannot be replayed: its id or its idempotency token is in use again, or \
         its columns were changed"
    );
    Err(OutboxError::new(ErrorKind::Conflict, "sqlite", REPLAY).with_source(text))
}

/// A dead letter that is moved or removed.
struct Selected {
    position: i64,
    id: EventId,
    size: i64,
    /// The key that it blocks.
    blocked: Option<Key>,
}

/// The dead letters that match, oldest first, behind the position `after`.
fn select(
    connection: &Connection,
    filter: &Filter,
    only_replayable: bool,
    after: i64,
    limit: usize,
) -> rusqlite::Result<Vec<Selected>> {
    let sql = include_str!("sql/select_dead_letters.sql");
    let values = [after, bound(limit), i64::from(only_replayable)];
    filter.rows(connection, sql, values, |row| {
        Ok(Selected {
            position: row.get(0)?,
            id: event_id(row, 1)?,
            size: row.get(2)?,
            blocked: row.get(3)?,
        })
    })
}

/// As many as have payloads of at most [`BYTES`] together, but at least one.
fn within_bytes(mut selected: Vec<Selected>) -> Vec<Selected> {
    let mut bytes = 0_i64;
    let fitting = selected.iter().take_while(|one| {
        let first = bytes == 0;
        bytes = bytes.saturating_add(one.size.max(1));
        first || bytes <= BYTES
    });
    let fitting = fitting.count();
    selected.truncate(fitting);
    selected
}

fn remove(connection: &Connection, position: i64) -> rusqlite::Result<()> {
    let sql = include_str!("sql/remove_dead_letter.sql");
    delete(connection, "outbox_dead_letters", || {
        // A row that a trigger of the application replaced is gone too; one that a trigger keeps is not.
        if run(connection, sql, [position])? == 0 && exists(connection, position)? {
            return Err(rusqlite::Error::QueryReturnedNoRows);
        }
        Ok(())
    })
}

fn exists(connection: &Connection, position: i64) -> rusqlite::Result<bool> {
    let mut find = connection.prepare_cached(include_str!("sql/has_dead_letter.sql"))?;
    find.exists([position])
}

/// S9: the keys that the dead letters blocked continue.
fn unblock_all(connection: &Connection, gone: &[Selected], now: i64) -> rusqlite::Result<()> {
    gone.iter()
        .filter_map(|one| one.blocked.as_ref())
        .try_for_each(|key| unblock(connection, key, now))
}

fn bound(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn ids(selected: &[Selected]) -> Vec<EventId> {
    selected.iter().map(|one| one.id).collect()
}

fn group(row: &Row<'_>) -> rusqlite::Result<DeadLetterGroup> {
    Ok(DeadLetterGroup::new(
        lossy(row, 0).unwrap_or_default(),
        lossy(row, 1).map(|text| ErrorText::new(&text)),
        u64::try_from(row.get::<_, i64>(2)?).unwrap_or_default(),
        from_micros(row.get(3)?),
        from_micros(row.get(4)?),
    ))
}
