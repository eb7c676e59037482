//! An event as a row.

use outbox_core::wire::{Binding, Message, WireForm};
use outbox_core::{Event, PublishError, PublishErrorKind};
use outbox_driver_postgres::{PgTime, PgUuid};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{Postgres, SqlStr};
use std::collections::BTreeMap;

/// The largest payload. PostgreSQL holds 1 GB, but `psql` and `pg_dump` read two digits for each byte.
pub(crate) const LARGEST: usize = 500_000_000;

/// The headers of a raw event whose values have separate columns.
pub(crate) const COLUMNS: [&str; 4] = [
    "outbox-id",
    "outbox-type",
    "outbox-created-at",
    "outbox-key",
];

/// A message whose content type starts with this is read as a CloudEvent, unless its headers make it raw.
pub(crate) const CLOUD_EVENTS: &str = "application/cloudevents";

/// An event that can be inserted.
#[derive(Debug)]
pub(crate) struct Row<'e> {
    event: &'e Event,
    message: Message<'e>,
    headers: String,
}

impl<'e> Row<'e> {
    /// # Errors
    ///
    /// [`Permanent`](PublishErrorKind::Permanent) if no row can have the event.
    pub(crate) fn of(form: &'e WireForm, event: &'e Event) -> Result<Self, PublishError> {
        check_size("payload", event.payload.len())?;
        let message = form.write(Binding::Fields, event)?;
        check_size("message", message.body.len())?;
        check_text("event type", &event.event_type)?;
        check_text(
            "ordering key",
            event.ordering_key.as_deref().unwrap_or_default(),
        )?;
        check_text("content type", &message.content_type)?;
        for (name, value) in &message.headers {
            check_text("header name", name)?;
            check_text("header value", value)?;
        }
        let headers = headers(&message)?;
        Ok(Self {
            event,
            message,
            headers,
        })
    }

    /// About as many bytes as the row has.
    pub(crate) fn size(&self) -> usize {
        self.message.body.len() + self.headers.len()
    }

    pub(crate) fn key(&self) -> Option<&'e str> {
        self.event.ordering_key.as_deref()
    }
}

/// One statement for all rows, in their order.
pub(crate) fn insert<'q>(statement: SqlStr, rows: &[&Row<'_>]) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(statement)
        .bind(each(rows, |row| PgUuid(*row.event.id.as_uuid())))
        .bind(each(rows, |row| PgTime(row.event.created_at)))
        .bind(each(rows, |row| row.event.event_type.as_str()))
        .bind(each(rows, |row| &*row.message.content_type))
        .bind(each(rows, |row| row.event.ordering_key.as_deref()))
        .bind(each(rows, |row| row.headers.as_str()))
        .bind(each(rows, |row| &row.message.body[..]))
}

fn each<'r, T>(rows: &[&'r Row<'_>], column: impl Fn(&'r Row<'_>) -> T) -> Vec<T> {
    rows.iter().map(|row| column(row)).collect()
}

/// The headers as a JSON object. The headers of a raw event leave out what has a column, except where only
/// they show that it is raw.
fn headers(message: &Message<'_>) -> Result<String, PublishError> {
    let is_ambiguous = message
        .content_type
        .get(..CLOUD_EVENTS.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(CLOUD_EVENTS));
    let is_raw = message.headers.iter().any(|(name, _)| name == COLUMNS[0]);
    let is_left_out = |name: &str| is_raw && !is_ambiguous && COLUMNS.contains(&name);
    let kept = message
        .headers
        .iter()
        .filter(|(name, _)| !is_left_out(name));
    let kept: BTreeMap<&str, &str> = kept.map(|(name, value)| (&**name, &**value)).collect();
    serde_json::to_string(&kept).map_err(|error| permanent(error.to_string()))
}

fn check_size(what: &str, bytes: usize) -> Result<(), PublishError> {
    if bytes <= LARGEST {
        return Ok(());
    }
    Err(permanent(format!(
        "{what} is {bytes} bytes long, but must be at most {LARGEST}"
    )))
}

fn check_text(what: &str, text: &str) -> Result<(), PublishError> {
    if !text.contains('\0') {
        return Ok(());
    }
    let shown: String = text.chars().take(100).collect();
    Err(permanent(format!(
        "{what} is {shown:?}, but must be text without a NUL character"
    )))
}

fn permanent(problem: String) -> PublishError {
    PublishError::new(PublishErrorKind::Permanent).with_source(problem)
}
