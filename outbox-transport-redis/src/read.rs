//! An entry to an event.

use crate::config::BACKEND;
use crate::entry::BODY;
use outbox_core::wire::{self, Binding};
use outbox_core::{Event, OutboxError};

/// Reads the event of an entry from its fields, in whichever form it was published.
///
/// ```
/// # use std::collections::HashMap;
/// # let id = "01900000-0000-7000-8000-000000000007";
/// // As XREADGROUP returns them.
/// let fields = HashMap::from([
///     ("outbox-id".to_owned(), id.as_bytes().to_vec()),
///     ("outbox-type".to_owned(), b"order.placed".to_vec()),
///     ("outbox-created-at".to_owned(), b"2026-01-31T12:00:00Z".to_vec()),
///     ("content-type".to_owned(), b"application/json".to_vec()),
///     ("data".to_owned(), br#"{"order":7}"#.to_vec()),
/// ]);
/// let event = outbox_transport_redis::read(fields)?;
/// assert_eq!(event.event_type, "order.placed");
/// assert_eq!(&*event.payload, br#"{"order":7}"#);
/// # Ok::<(), outbox_core::OutboxError>(())
/// ```
///
/// # Errors
///
/// Those of [`wire::read`], and [`Invalid`](outbox_core::ErrorKind::Invalid) if a field other than the
/// body is not UTF-8.
pub fn read(fields: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<Event, OutboxError> {
    let (mut body, mut headers) = (Vec::new(), Vec::new());
    for (name, value) in fields {
        if name == BODY {
            body = value;
            continue;
        }
        let text = String::from_utf8(value).map_err(|error| {
            let problem = format!("field {name:?} is not UTF-8 ({error}), but must be text");
            OutboxError::invalid(BACKEND, "read", problem)
        })?;
        headers.push((name, text));
    }
    let headers = headers.iter().map(|(name, value)| (&**name, &**value));
    wire::read(Binding::Fields, None, headers, body.into())
}
