//! The statement that appends events, and its values.

use crate::{BACKEND, Schema};
use outbox_core::{ErrorKind, Event, Headers, OutboxError, TraceContext};
use std::borrow::Cow;
use std::time::SystemTime;
use uuid::Uuid;

/// The statement that appends some events, and the values of its parameters `$1` to `$9`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Insert<'e> {
    /// The SQL. There are two texts in a schema: one for a single event, and one for several. In the
    /// default schema both are static.
    pub sql: Cow<'static, str>,
    /// The values, in the order of the parameters.
    pub binds: [Bind<'e>; 9],
}

/// A value of a parameter, by its type in SQL.
///
/// A new variant would be one that no driver sends yet, so a `match` of a layer has no arm for others.
#[derive(Clone, Debug, PartialEq)]
pub enum Bind<'e> {
    /// A `uuid`.
    Uuid(Uuid),
    /// A `text`, or NULL.
    Text(Option<Cow<'e, str>>),
    /// A `bytea`.
    Bytes(&'e [u8]),
    /// A `timestamptz`, or NULL: see [`micros`](crate::micros).
    Time(Option<SystemTime>),
    /// A `uuid[]`.
    Uuids(Vec<Uuid>),
    /// A `text[]`.
    Texts(Vec<Option<Cow<'e, str>>>),
    /// A `bytea[]`.
    ByteArrays(Vec<&'e [u8]>),
    /// A `timestamptz[]`.
    Times(Vec<Option<SystemTime>>),
}

const ONE: &str = include_str!("sql/append_one.sql");
const SEVERAL: &str = include_str!("sql/append.sql");

/// The texts of [`insert`] for a single event and for several, to prepare them before there is an event.
///
/// ```
/// # use outbox_append_postgres::{Schema, statements};
/// for sql in statements(&Schema::default()) {
///     assert!(sql.contains("INSERT INTO outbox.outbox_events"));
/// }
/// ```
#[must_use]
pub fn statements(schema: &Schema) -> [Cow<'static, str>; 2] {
    [ONE, SEVERAL].map(|sql| schema.write(sql))
}

/// The statement that appends `events` to the outbox in `schema`, all or none, or `None` if there are no
/// events. Run it once, in the transaction of the business rows. The types of its parameters are those of
/// the [`Bind`]s; it returns no rows.
///
/// ```
/// # use outbox_append_postgres::{Bind, Schema, insert};
/// # use outbox_core::Event;
/// let events = [Event::new("order.placed", "7")];
/// let insert = insert(&Schema::default(), &events)?.expect("an event");
/// assert!(insert.sql.contains("INSERT INTO outbox.outbox_events"));
/// assert_eq!(insert.binds[2], Bind::Bytes(b"7"));
/// # Ok::<(), outbox_core::OutboxError>(())
/// ```
///
/// # Errors
///
/// [`Invalid`](ErrorKind::Invalid) if a field is outside the limits of [`Event::validate`].
pub fn insert<'e>(schema: &Schema, events: &'e [Event]) -> Result<Option<Insert<'e>>, OutboxError> {
    events.iter().try_for_each(Event::validate)?;
    let context = TraceContext::current();
    let mut headers = events
        .iter()
        .map(|event| headers_to_json(&context.headers_of(event)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(match events {
        [] => None,
        [event] => Some(Insert {
            sql: schema.write(ONE),
            binds: binds_of_one(event, headers.pop().flatten()),
        }),
        events => Some(Insert {
            sql: schema.write(SEVERAL),
            binds: binds_of_many(events, headers),
        }),
    })
}

fn binds_of_one<'e>(event: &'e Event, headers: Option<Cow<'e, str>>) -> [Bind<'e>; 9] {
    [
        Bind::Uuid(*event.id.as_uuid()),
        Bind::Text(Some(Cow::Borrowed(&event.event_type))),
        Bind::Bytes(&event.payload),
        Bind::Text(Some(Cow::Borrowed(&event.content_type))),
        Bind::Text(headers),
        Bind::Text(event.ordering_key.as_deref().map(Cow::Borrowed)),
        Bind::Text(event.idempotency_token.as_deref().map(Cow::Borrowed)),
        Bind::Time(Some(event.created_at)),
        Bind::Time(event.available_at),
    ]
}

fn binds_of_many<'e>(events: &'e [Event], headers: Vec<Option<Cow<'e, str>>>) -> [Bind<'e>; 9] {
    [
        Bind::Uuids(each(events, |event| *event.id.as_uuid())),
        Bind::Texts(each(events, |event| {
            Some(Cow::Borrowed(&*event.event_type))
        })),
        Bind::ByteArrays(each(events, |event| &event.payload[..])),
        Bind::Texts(each(events, |event| {
            Some(Cow::Borrowed(&*event.content_type))
        })),
        Bind::Texts(headers),
        Bind::Texts(each(events, |event| {
            event.ordering_key.as_deref().map(Cow::Borrowed)
        })),
        Bind::Texts(each(events, |event| {
            event.idempotency_token.as_deref().map(Cow::Borrowed)
        })),
        Bind::Times(each(events, |event| Some(event.created_at))),
        Bind::Times(each(events, |event| event.available_at)),
    ]
}

fn each<'e, T>(events: &'e [Event], column: impl Fn(&'e Event) -> T) -> Vec<T> {
    events.iter().map(column).collect()
}

/// The headers as a JSON object of strings. Without headers the column is NULL.
fn headers_to_json(headers: &Headers) -> Result<Option<Cow<'static, str>>, OutboxError> {
    if headers.is_empty() {
        return Ok(None);
    }
    let json = serde_json::to_string(headers).map_err(|error| {
        OutboxError::new(ErrorKind::Invalid, BACKEND, "append").with_source(error)
    })?;
    Ok(Some(Cow::Owned(json)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(count: usize) -> Vec<Event> {
        let event = |n: usize| Event::new("placed", n.to_string()).header("n", "\"1\"");
        (0..count).map(event).collect()
    }

    #[test]
    fn no_events_need_no_statement() {
        assert_eq!(insert(&Schema::default(), &[]).unwrap(), None);
    }

    #[test]
    fn the_text_of_the_default_schema_is_static() {
        for count in [1, 2, 3] {
            let events = events(count);
            let insert = insert(&Schema::default(), &events).unwrap().unwrap();
            assert!(matches!(insert.sql, Cow::Borrowed(_)), "{count} events");
        }
    }

    #[test]
    fn another_schema_is_written_into_the_text() {
        let schema = Schema::new("a \"b\"").unwrap();
        for count in [1, 2] {
            let events = events(count);
            let sql = insert(&schema, &events).unwrap().unwrap().sql;
            assert!(sql.contains("INTO \"a \"\"b\"\"\".outbox_events"), "{sql}");
        }
    }

    #[test]
    fn payloads_are_borrowed_and_headers_are_json() {
        let events = events(2);
        let binds = insert(&Schema::default(), &events).unwrap().unwrap().binds;
        let Bind::ByteArrays(payloads) = &binds[2] else {
            panic!("{:?}", binds[2]);
        };
        assert_eq!(payloads[1].as_ptr(), events[1].payload.as_ptr());
        let json = Some(Cow::Borrowed(r#"{"n":"\"1\""}"#));
        assert_eq!(binds[4], Bind::Texts(vec![json; 2]));
    }

    #[test]
    fn an_event_outside_of_the_limits_is_invalid() {
        let mut events = events(2);
        events[1].event_type.clear();
        let error = insert(&Schema::default(), &events).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}
