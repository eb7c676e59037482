//! The statement that appends one event, and its values.

use crate::{APPEND, BACKEND, micros};
use outbox_core::{ErrorKind, Event, OutboxError, TraceContext};

/// The statement that appends one event. Its parameters `?1` to `?9` are the fields of a [`Row`], in their
/// order; it returns no rows.
pub const INSERT: &str = include_str!("sql/append_event.sql");

/// An event as the values of [`INSERT`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Row<'e> {
    /// A blob of 16 bytes.
    pub id: &'e [u8],
    /// A text.
    pub event_type: &'e str,
    /// A blob.
    pub payload: &'e [u8],
    /// A text.
    pub content_type: &'e str,
    /// A text: a JSON object of strings.
    pub headers: String,
    /// A text, or NULL.
    pub ordering_key: Option<&'e str>,
    /// A text, or NULL.
    pub idempotency_token: Option<&'e str>,
    /// An integer: see [`micros`].
    pub created_at: i64,
    /// An integer, or NULL.
    pub available_at: Option<i64>,
}

/// A row for each event. Run [`INSERT`] with each of them between a savepoint and its release, in the
/// transaction of the business rows; roll back to the savepoint if one of them fails.
///
/// ```
/// # use outbox_append_sqlite::rows;
/// # use outbox_core::Event;
/// let events = [Event::new("order.placed", "7")];
/// let rows = rows(&events)?;
/// assert_eq!(rows[0].payload, b"7");
/// # Ok::<(), outbox_core::OutboxError>(())
/// ```
///
/// # Errors
///
/// [`Invalid`](ErrorKind::Invalid) if a field of an event is outside the limits of [`Event::validate`].
pub fn rows(events: &[Event]) -> Result<Vec<Row<'_>>, OutboxError> {
    let context = TraceContext::current();
    events.iter().map(|event| row(event, &context)).collect()
}

fn row<'e>(event: &'e Event, context: &TraceContext) -> Result<Row<'e>, OutboxError> {
    event.validate()?;
    let headers = serde_json::to_string(&*context.headers_of(event)).map_err(|error| {
        OutboxError::new(ErrorKind::Invalid, BACKEND, APPEND).with_source(error)
    })?;
    Ok(Row {
        id: event.id.as_uuid().as_bytes(),
        event_type: &event.event_type,
        payload: &event.payload,
        content_type: &event.content_type,
        headers,
        ordering_key: event.ordering_key.as_deref(),
        idempotency_token: event.idempotency_token.as_deref(),
        created_at: micros(event.created_at),
        available_at: event.available_at.map(micros),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_borrowed_and_headers_are_json() {
        let event = Event::new("placed", "1").header("n", "\"1\"");
        let rows = rows(std::slice::from_ref(&event)).unwrap();
        assert_eq!(rows[0].payload.as_ptr(), event.payload.as_ptr());
        assert_eq!(rows[0].headers, r#"{"n":"\"1\""}"#);
    }

    #[test]
    fn one_event_outside_of_the_limits_refuses_all() {
        let events = [Event::new("placed", "1"), Event::new("", "2")];
        let error = rows(&events).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}
