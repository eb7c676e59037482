//! Rows to events. A claim takes an event exactly as it was written, or not at all. The operator's list
//! shows as much of a row as can be read.

use crate::draft::{Place, Row, Suspicion};
use crate::headers::headers;
use outbox_core::{DeadLetter, ErrorText, Event, EventId, Headers, OutboxError};
use outbox_driver_postgres::{PgTime, PgUuid, postgres_error};
use sqlx::postgres::PgRow;
use sqlx::{Row as _, ValueRef as _};
use std::sync::LazyLock;
use std::time::SystemTime;

/// An event without data. A clone of it costs no random id.
static BLANK: LazyLock<Event> = LazyLock::new(|| Event::new("", Vec::new()).content_type(""));

/// A row of the log: `lane`, `seq`, the event's columns, `waits`. None if the lane has no row.
pub(crate) fn log_row(row: &PgRow) -> sqlx::Result<Option<(i64, Row)>> {
    let Some(seq) = row.try_get::<Option<i64>, _>(1)? else {
        return Ok(None);
    };
    let row = Row {
        lane: row.try_get(0)?,
        place: Place::Log(seq),
        id: id(row, 2)?,
        key: row.try_get(7)?,
        event: (!row.try_get::<bool, _>(11)?).then(|| event(row, 2)),
        attempts: 0,
        suspicion: Suspicion::default(),
    };
    Ok(Some((seq, row)))
}

/// A row of the retries: `lane`, `place`, `attempts`, `worker_lost`, the event's columns. `suspect`: it was in a
/// lost claim.
pub(crate) fn waiting_row(row: &PgRow, suspect: bool) -> sqlx::Result<Row> {
    Ok(Row {
        lane: row.try_get(0)?,
        place: Place::Waiting(row.try_get(1)?),
        id: id(row, 4)?,
        key: row.try_get(9)?,
        event: Some(event(row, 4)),
        attempts: count(row.try_get(2)?),
        suspicion: Suspicion {
            suspect,
            worker_lost: row.try_get(3)?,
        },
    })
}

/// A dead letter without its event: `position`, `id`, `event_type`, `content_type`, `ordering_key`, the
/// bytes of the payload, `created_at`, then its failures.
pub(crate) fn dead_letter(row: &PgRow) -> sqlx::Result<DeadLetter> {
    let position = u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or_default();
    let mut event = Event::new(row.try_get::<String, _>(2)?, Vec::new())
        .id(id(row, 1)?)
        .content_type(row.try_get::<String, _>(3)?);
    event.ordering_key = row.try_get(4)?;
    let created_at = time(row, 6).ok().flatten();
    event.created_at = created_at.unwrap_or(SystemTime::UNIX_EPOCH);
    let mut dead_letter = DeadLetter::new(position, &event, row.try_get::<PgTime, _>(11)?.0);
    dead_letter.payload_size = u64::try_from(row.try_get::<i64, _>(5)?).unwrap_or_default();
    dead_letter.failure_count = count(row.try_get(7)?);
    dead_letter.last_error = row
        .try_get::<Option<String>, _>(8)?
        .map(|text| ErrorText::new(&text));
    dead_letter.first_failed_at = row.try_get::<PgTime, _>(9)?.0;
    dead_letter.last_failed_at = row.try_get::<PgTime, _>(10)?.0;
    dead_letter.replays = count(i64::from(row.try_get::<i32, _>(12)?));
    Ok(dead_letter)
}

/// A dead letter, then the event's columns.
pub(crate) fn whole_dead_letter(row: &PgRow) -> sqlx::Result<(DeadLetter, Event)> {
    let event = match read(row, 13, |json| Ok(headers(json).unwrap_or_default())) {
        Ok(event) => event,
        Err(reason) => Event::new(reason.as_str(), Vec::new()).id(id(row, 13)?),
    };
    Ok((dead_letter(row)?, event))
}

/// Reads each row, and drops it before the next is read.
pub(crate) fn collect<T, C: FromIterator<T>>(
    operation: &'static str,
    rows: Vec<PgRow>,
    read: impl Fn(&PgRow) -> sqlx::Result<T>,
) -> Result<C, OutboxError> {
    rows.into_iter()
        .map(|row| read(&row))
        .collect::<sqlx::Result<C>>()
        .map_err(postgres_error(operation))
}

pub(crate) fn id(row: &PgRow, at: usize) -> sqlx::Result<EventId> {
    row.try_get::<PgUuid, _>(at).map(|id| EventId::from(id.0))
}

/// A count as the API has it. The column is wider.
pub(crate) fn count(value: i64) -> u32 {
    u32::try_from(value.max(0)).unwrap_or(u32::MAX)
}

/// The event whose first column, `id`, is at `at`, or why it cannot be read.
fn event(row: &PgRow, at: usize) -> Result<Event, ErrorText> {
    read(row, at, headers)
}

fn read(
    row: &PgRow,
    at: usize,
    headers: impl Fn(&str) -> Result<Headers, String>,
) -> Result<Event, ErrorText> {
    let failed = |error: sqlx::Error| ErrorText::new(&format!("cannot be read: {error}"));
    let payload: &[u8] = row.try_get(at + 2).map_err(failed)?;
    let mut event = BLANK.clone();
    event.id = id(row, at).map_err(failed)?;
    event.event_type = row.try_get(at + 1).map_err(failed)?;
    event.payload = payload.to_vec().into();
    event.content_type = row.try_get(at + 3).map_err(failed)?;
    let json = row.try_get_raw(at + 4).map_err(failed)?;
    if !json.is_null() {
        event.headers = json
            .as_str()
            .map_err(|error| error.to_string())
            .and_then(headers)
            .map_err(|reason| ErrorText::new(&format!("cannot be read: {reason}")))?;
    }
    event.ordering_key = row.try_get(at + 5).map_err(failed)?;
    event.idempotency_token = row.try_get(at + 6).map_err(failed)?;
    event.created_at = time(row, at + 7)?.unwrap_or(SystemTime::UNIX_EPOCH);
    event.available_at = time(row, at + 8)?;
    Ok(event)
}

fn time(row: &PgRow, at: usize) -> Result<Option<SystemTime>, ErrorText> {
    row.try_get::<Option<PgTime>, _>(at)
        .map(|time| time.map(|time| time.0))
        .map_err(|error| ErrorText::new(&format!("cannot be read: {error}")))
}
