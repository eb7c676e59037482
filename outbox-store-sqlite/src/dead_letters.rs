//! The operator's side: list, replay, purge.

use crate::SqliteStore;
use crate::keys::{Result as Step, during, look_again, run};
use crate::row::{Key, dead_letter, event_id, event_to_show, lossy};
use async_trait::async_trait;
use outbox_core::{
    DeadLetter, DeadLetterFilter, DeadLetterGroup, DeadLetters, ErrorKind, ErrorText, Event,
    EventId, OutboxError,
};
use outbox_driver_sqlite::{from_micros, micros};
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params_from_iter};

/// What describes a dead letter, in the order that `row::dead_letter` reads. No payload is read.
const LETTER: &str = "SELECT position, id, event_type, content_type, ordering_key, created_at, \
    payload_size, failure_count, last_error, first_failed_at, last_failed_at, quarantined_at, \
    replays FROM outbox_dead_letters";

/// The event of a dead letter, in the order that `row::event_to_show` reads.
const EVENT: &str = "SELECT position, id, event_type, payload, content_type, headers, \
    ordering_key, idempotency_token, created_at, available_at FROM outbox_dead_letters";

/// The most bytes of payloads that one replay copies, or one purge frees; a single payload may be
/// larger.
const BYTES: i64 = 64 * 1024 * 1024;

/// Holds for a dead letter that cannot be replayed: its id is in the outbox again, or its token was
/// freed and taken by another event.
const BLOCKED: &str = "(EXISTS (SELECT 1 FROM outbox_events e WHERE e.id = outbox_dead_letters.id) \
    OR EXISTS (SELECT 1 FROM outbox_tokens t WHERE t.token = idempotency_token \
    AND t.event_id <> outbox_dead_letters.id))";

/// Conditions of a `WHERE`, with their values. Only fixed text goes into the statement.
struct Conditions {
    sql: String,
    values: Vec<Value>,
}

impl Conditions {
    fn new(filter: &DeadLetterFilter) -> Self {
        let mut conditions = Self {
            sql: " WHERE 1".to_owned(),
            values: Vec::new(),
        };
        if let Some(ids) = &filter.ids {
            // All ids as one value, cut into pieces of 16: a statement takes 32,766 values at most.
            let bytes = ids.iter().flat_map(|id| *id.as_uuid().as_bytes()).collect();
            conditions.push(
                "id IN (WITH RECURSIVE i(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM i \
                 WHERE (n + 2) * 16 <= length(?)) SELECT substr(?, n * 16 + 1, 16) FROM i)",
                Value::Blob(bytes),
            );
        }
        if let Some(event_type) = &filter.event_type {
            conditions.push("event_type = ?", Value::Text(event_type.clone()));
        }
        if let Some(key) = &filter.ordering_key {
            conditions.push("ordering_key = ?", Value::Text(key.clone()));
        }
        if let Some(text) = &filter.error_contains {
            conditions.push("instr(last_error, ?) > 0", Value::Text(text.clone()));
        }
        if let Some(time) = filter.before {
            conditions.push("quarantined_at < ?", Value::Integer(micros(time)));
        }
        conditions
    }

    /// Adds a condition; each `?` in it is the one value.
    fn push(&mut self, condition: &str, value: Value) {
        self.values.push(value);
        let number = format!("?{}", self.values.len());
        self.sql.push_str(" AND ");
        self.sql.push_str(&condition.replace('?', &number));
    }

    fn rows<T>(
        &self,
        connection: &Connection,
        select: &str,
        end: &str,
        read: impl FnMut(&Row<'_>) -> Step<T>,
    ) -> Step<Vec<T>> {
        let sql = format!("{select}{}{end}", self.sql);
        connection
            .prepare(&sql)?
            .query_map(params_from_iter(&self.values), read)?
            .collect()
    }
}

#[async_trait]
impl DeadLetters for SqliteStore {
    async fn list(
        &self,
        filter: &DeadLetterFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, OutboxError> {
        const LIST: &str = "list";
        let mut conditions = Conditions::new(filter);
        if let Some(after) = after {
            let after = i64::try_from(after).unwrap_or(i64::MAX);
            conditions.push("position > ?", Value::Integer(after));
        }
        let end = in_order(limit);
        let read = move |connection: &_| {
            during(LIST, conditions.rows(connection, LETTER, &end, dead_letter))
        };
        self.driver.read(LIST, read).await
    }

    async fn find(&self, id: EventId) -> Result<Option<(DeadLetter, Event)>, OutboxError> {
        const FIND: &str = "find";
        let read = move |connection: &Connection| {
            let id = id.as_uuid().as_bytes();
            let dead_letter = connection
                .prepare_cached(&format!("{LETTER} WHERE id = ?1"))?
                .query_row([id], dead_letter)
                .optional()?;
            let Some(dead_letter) = dead_letter else {
                return Ok(None);
            };
            connection
                .prepare_cached(&format!("{EVENT} WHERE id = ?1"))?
                .query_row([id], |row| Ok(event_to_show(row)))
                .map(|event| Some((dead_letter, event)))
        };
        self.driver
            .read(FIND, move |connection| during(FIND, read(connection)))
            .await
    }

    /// A dead letter whose id is in the outbox again, or whose idempotency token was taken by another
    /// event since, stays. If no other dead letter matches, that is a
    /// [`Conflict`](ErrorKind::Conflict) which names one.
    async fn replay(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<EventId>, OutboxError> {
        let conditions = Conditions::new(filter);
        let now = micros(self.clock.now());
        self.driver
            .write("replay", move |connection| {
                replay(connection, &conditions, limit, now)
            })
            .await
    }

    async fn purge(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<EventId>, OutboxError> {
        const PURGE: &str = "purge";
        let conditions = Conditions::new(filter);
        let now = micros(self.clock.now());
        let purge = move |connection: &Connection| {
            let found = within_bytes(places(connection, &conditions, "", 0, limit)?);
            for place in &found {
                remove(connection, place.position)?;
            }
            let_go(connection, &found, now)?;
            Ok(ids(&found))
        };
        self.driver
            .write(PURGE, move |connection| during(PURGE, purge(connection)))
            .await
    }

    async fn statistics(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<DeadLetterGroup>, OutboxError> {
        const STATISTICS: &str = "statistics";
        let conditions = Conditions::new(filter);
        let select = "SELECT event_type, last_error, count(*), min(quarantined_at), \
                      max(quarantined_at) FROM outbox_dead_letters";
        let end = format!(
            " GROUP BY event_type, last_error ORDER BY count(*) DESC, event_type, last_error \
             LIMIT {}",
            i64::try_from(limit).unwrap_or(i64::MAX)
        );
        let read = move |connection: &_| conditions.rows(connection, select, &end, group);
        self.driver
            .read(STATISTICS, move |connection| {
                during(STATISTICS, read(connection))
            })
            .await
    }
}

fn replay(
    connection: &Connection,
    conditions: &Conditions,
    limit: usize,
    now: i64,
) -> Result<Vec<EventId>, OutboxError> {
    const REPLAY: &str = "replay";
    let free = format!(" AND NOT {BLOCKED}");
    let (mut moved, mut after) = (Vec::new(), 0);
    while moved.is_empty() && limit > 0 {
        let page = during(REPLAY, places(connection, conditions, &free, after, limit))?;
        let Some(last) = page.last() else {
            return blocked(connection, conditions, REPLAY);
        };
        after = last.position;
        for place in within_bytes(page) {
            if put_back(connection, &place)? {
                moved.push(place);
            }
        }
    }
    during(REPLAY, let_go(connection, &moved, now))?;
    Ok(ids(&moved))
}

/// Moves one dead letter to the log. One that the log refuses stays, as its neighbours can be
/// replayed all the same.
fn put_back(connection: &Connection, place: &Place) -> Result<bool, OutboxError> {
    const REPLAY: &str = "replay";
    let copy = include_str!("sql/copy_to_events.sql");
    match run(connection, copy, [place.position]) {
        Ok(_) => during(REPLAY, remove(connection, place.position)).map(|_| true),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            tracing::warn!(id = %place.id, %error, "a dead letter cannot be replayed and stays");
            Ok(false)
        }
        Err(error) => during(REPLAY, Err(error)),
    }
}

/// Nothing can be replayed: an error that names a dead letter that matches, if there is one.
fn blocked(
    connection: &Connection,
    conditions: &Conditions,
    operation: &'static str,
) -> Result<Vec<EventId>, OutboxError> {
    let blocked = during(operation, places(connection, conditions, "", 0, 1))?;
    let Some(Place { id, .. }) = blocked.first() else {
        return Ok(Vec::new());
    };
    let text = format!(
        "the log refuses dead letter {id}: its id or its idempotency token is in use again, or its \
         columns were changed"
    );
    Err(OutboxError::new(ErrorKind::Conflict, "sqlite", operation).with_source(text))
}

/// As many as have payloads of at most [`BYTES`] together, but at least one.
fn within_bytes(mut places: Vec<Place>) -> Vec<Place> {
    let mut bytes = 0_i64;
    let fitting = places.iter().take_while(|place| {
        let first = bytes == 0;
        bytes = bytes.saturating_add(place.size.max(1));
        first || bytes <= BYTES
    });
    let fitting = fitting.count();
    places.truncate(fitting);
    places
}

fn remove(connection: &Connection, position: i64) -> Step<usize> {
    run(
        connection,
        include_str!("sql/remove_dead_letter.sql"),
        [position],
    )
}

/// S9: the keys that the dead letters held, which are gone now, go on.
fn let_go(connection: &Connection, gone: &[Place], now: i64) -> Step<()> {
    gone.iter()
        .filter_map(|place| place.held.as_ref())
        .try_for_each(|key| look_again(connection, key, now))
}

/// A dead letter to be moved or removed.
struct Place {
    position: i64,
    id: EventId,
    size: i64,
    /// The key that it holds.
    held: Option<Key>,
}

/// The dead letters that match and `also`, oldest first, behind the position `after`.
fn places(
    connection: &Connection,
    conditions: &Conditions,
    also: &str,
    after: i64,
    limit: usize,
) -> Step<Vec<Place>> {
    let end = format!("{also} AND position > {after}{}", in_order(limit));
    let select = "SELECT position, id, payload_size, CASE WHEN holds = 1 THEN ordering_key END \
                  FROM outbox_dead_letters";
    conditions.rows(connection, select, &end, |row| {
        Ok(Place {
            position: row.get(0)?,
            id: event_id(row, 1)?,
            size: row.get(2)?,
            held: row.get(3)?,
        })
    })
}

fn in_order(limit: usize) -> String {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    format!(" ORDER BY position LIMIT {limit}")
}

fn ids(places: &[Place]) -> Vec<EventId> {
    places.iter().map(|place| place.id).collect()
}

fn group(row: &Row<'_>) -> Step<DeadLetterGroup> {
    Ok(DeadLetterGroup::new(
        lossy(row, 0).unwrap_or_default(),
        lossy(row, 1).map(|text| ErrorText::new(&text)),
        u64::try_from(row.get::<_, i64>(2)?).unwrap_or_default(),
        from_micros(row.get(3)?),
        from_micros(row.get(4)?),
    ))
}
