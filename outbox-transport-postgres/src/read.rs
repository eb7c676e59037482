//! A row to an event.

use crate::row::{CLOUD_EVENTS, COLUMNS};
use outbox_core::wire::{self, Binding};
use outbox_core::{Event, OutboxError};
use outbox_driver_postgres::{PgTime, PgUuid, postgres_error};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgRow, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Postgres, Row, Type};
use std::collections::BTreeMap;

const READ: &str = "read";

/// Any time: the event has that of the column, which is exact.
const SOME_TIME: &str = "2000-01-01T00:00:00Z";

/// Reads the event of a row of `outbox_arrived`, in whichever mode it was written.
///
/// The row needs the columns `id`, `created_at`, `event_type`, `content_type`, `ordering_key`, `headers`
/// and `payload`, as from `SELECT *` or `RETURNING *` in a prepared statement.
///
/// # Errors
///
/// [`Corrupt`](outbox_core::ErrorKind::Corrupt) if a column is missing, and the errors of [`wire::read`] if the row is
/// no event, because another program wrote it.
pub fn read(row: &PgRow) -> Result<Event, OutboxError> {
    let error = postgres_error(READ);
    let PgUuid(id) = row.try_get("id").map_err(&error)?;
    let PgTime(created_at) = row.try_get("created_at").map_err(&error)?;
    let event_type: &str = row.try_get("event_type").map_err(&error)?;
    let content_type: &str = row.try_get("content_type").map_err(&error)?;
    let key: Option<&str> = row.try_get("ordering_key").map_err(&error)?;
    let Headers(found) = row.try_get("headers").map_err(&error)?;
    let payload: Vec<u8> = row.try_get("payload").map_err(&error)?;
    let payload = payload.into();
    let headers = found.iter().map(|(name, value)| (&**name, &**value));
    if !is_raw(&found, content_type) {
        return wire::read(Binding::Fields, Some(content_type), headers, payload);
    }
    let id = id.to_string();
    let columns = [
        (COLUMNS[0], &*id),
        (COLUMNS[1], event_type),
        (COLUMNS[2], SOME_TIME),
    ];
    let key = key.map(|key| (COLUMNS[3], key));
    let headers = headers.chain(columns).chain(key);
    let event = wire::read(Binding::Fields, Some(content_type), headers, payload)?;
    Ok(event.created_at(created_at))
}

/// Whether the columns have what the headers leave out.
fn is_raw(headers: &BTreeMap<String, String>, content_type: &str) -> bool {
    let start = content_type.get(..CLOUD_EVENTS.len());
    let is_event = start.is_some_and(|start| start.eq_ignore_ascii_case(CLOUD_EVENTS));
    !is_event && !headers.contains_key("ce-specversion")
}

/// The column `headers`.
struct Headers(BTreeMap<String, String>);

/// `jsonb`, as PostgreSQL's `pg_type.dat` has it.
const JSONB: Oid = Oid(3802);

impl Type<Postgres> for Headers {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(JSONB)
    }
}

impl<'r> Decode<'r, Postgres> for Headers {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let json = match (value.format(), value.as_bytes()?) {
            (PgValueFormat::Binary, [1, json @ ..]) | (PgValueFormat::Text, json) => json,
            (PgValueFormat::Binary, _) => return Err("jsonb of an unknown version".into()),
        };
        Ok(Self(serde_json::from_slice(json)?))
    }
}
