//! Rows to events and back.
//!
//! A claim takes an event exactly as it was written, or not at all. For the operator, an event is shown as
//! far as it can be read.

use outbox_core::{DeadLetter, ErrorText, Event, EventId, Headers};
use outbox_driver_sqlite::from_micros;
use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::time::SystemTime;
use uuid::Uuid;

/// The events with one key are published in order: an ordering key, or the id of an event without one.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Key {
    /// As bytes, because another program may store text that is not UTF-8.
    Ordering(Vec<u8>),
    Event(Uuid),
}

impl ToSql for Key {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Ordering(key) => Ok(ToSqlOutput::Borrowed(ValueRef::Text(key))),
            Self::Event(id) => Ok(ToSqlOutput::from(&id.as_bytes()[..])),
        }
    }
}

impl FromSql for Key {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Blob(_) => <[u8; 16]>::column_result(value)
                .map(Uuid::from_bytes)
                .map(Self::Event),
            _ => value.as_bytes().map(|key| Self::Ordering(key.to_vec())),
        }
    }
}

/// The event of a row of `event.sql`, or why it cannot be read.
pub(crate) fn event(row: &Row<'_>) -> Result<Event, String> {
    read(row, text, headers)
}

/// The event of a row of `dead_letter_event.sql`, as far as it can be read: bytes that are not UTF-8 are
/// replaced, and headers that cannot be parsed are left out.
pub(crate) fn event_to_show(row: &Row<'_>) -> Event {
    let shown = |row: &Row<'_>, index| Ok(lossy(row, index));
    let kept = |json: &str| Ok(headers(json).unwrap_or_default());
    read(row, shown, kept).unwrap_or_else(|reason: String| Event::new(reason, Vec::new()))
}

/// The dead letter of a row of `list_dead_letters.sql` or `find_dead_letter.sql`.
pub(crate) fn dead_letter(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    let shown = |index| lossy(row, index).unwrap_or_default();
    let event = Event::new(shown(2), Vec::new())
        .id(event_id(row, 1)?)
        .content_type(shown(3))
        .created_at(from_micros(row.get(5)?));
    let position = u64::try_from(row.get::<_, i64>(0)?).unwrap_or_default();
    let mut dead_letter = DeadLetter::new(position, &event, from_micros(row.get(11)?));
    dead_letter.ordering_key = lossy(row, 4);
    dead_letter.payload_size = row.get::<_, i64>(6)?.unsigned_abs();
    dead_letter.failure_count = count(row.get(7)?);
    dead_letter.last_error = lossy(row, 8).map(|text| ErrorText::new(&text));
    dead_letter.first_failed_at = from_micros(row.get(9)?);
    dead_letter.last_failed_at = from_micros(row.get(10)?);
    dead_letter.replays = count(row.get(12)?);
    Ok(dead_letter)
}

/// A count of a column, which has more bits.
pub(crate) fn count(value: i64) -> u32 {
    u32::try_from(value.max(0)).unwrap_or(u32::MAX)
}

pub(crate) fn event_id(row: &Row<'_>, index: usize) -> rusqlite::Result<EventId> {
    row.get::<_, [u8; 16]>(index)
        .map(|bytes| EventId::from(Uuid::from_bytes(bytes)))
}

fn read(
    row: &Row<'_>,
    text: impl Fn(&Row<'_>, usize) -> Result<Option<String>, String>,
    headers: impl Fn(&str) -> Result<Headers, String>,
) -> Result<Event, String> {
    let required = |index| text(row, index).map(Option::unwrap_or_default);
    let mut event = Event::new(required(2)?, bytes(row, 3)?)
        .id(event_id(row, 1).map_err(|error| error.to_string())?)
        .content_type(required(4)?)
        .created_at(time(row, 8)?.unwrap_or(SystemTime::UNIX_EPOCH));
    event.headers = headers(&required(5)?)?;
    event.ordering_key = text(row, 6)?;
    event.idempotency_token = text(row, 7)?;
    event.available_at = time(row, 9)?;
    Ok(event)
}

fn bytes(row: &Row<'_>, index: usize) -> Result<Vec<u8>, String> {
    match row.get_ref(index) {
        Ok(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => Ok(bytes.to_vec()),
        Ok(other) => Err(format!("the payload is of type {}", other.data_type())),
        Err(error) => Err(error.to_string()),
    }
}

fn time(row: &Row<'_>, index: usize) -> Result<Option<SystemTime>, String> {
    row.get::<_, Option<i64>>(index)
        .map(|micros| micros.map(from_micros))
        .map_err(|error| error.to_string())
}

fn text(row: &Row<'_>, index: usize) -> Result<Option<String>, String> {
    row.get(index).map_err(|error| error.to_string())
}

pub(crate) fn lossy(row: &Row<'_>, index: usize) -> Option<String> {
    match row.get_ref(index) {
        Ok(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
        _ => None,
    }
}

/// A value that is not a string becomes its JSON text, because programs in other languages also insert
/// numbers.
fn headers(json: &str) -> Result<Headers, String> {
    let raw: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(json).map_err(|error| format!("the headers: {error}"))?;
    raw.into_iter()
        .map(|(name, value)| {
            let value = value.get();
            if value.starts_with('"') {
                let text = serde_json::from_str(value);
                text.map(|text| (name, text))
                    .map_err(|error| format!("a header: {error}"))
            } else {
                Ok((name, value.to_owned()))
            }
        })
        .collect()
}
