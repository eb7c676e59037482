//! A record to an event.

use crate::config::BACKEND;
use outbox_core::wire::{self, Binding};
use outbox_core::{Event, OutboxError};
use rdkafka::Message;
use rdkafka::message::Headers;

/// Reads the event of a record, in whichever form it was published. The payload is copied.
///
/// ```
/// # use outbox_core::{EventId, OutboxError};
/// # use outbox_transport_kafka::rdkafka::message::BorrowedMessage;
/// fn id(record: &BorrowedMessage<'_>) -> Result<EventId, OutboxError> {
///     Ok(outbox_transport_kafka::read(record)?.id)
/// }
/// ```
///
/// # Errors
///
/// Those of [`wire::read`], and [`Invalid`](outbox_core::ErrorKind::Invalid) if a header is not UTF-8.
pub fn read(record: &impl Message) -> Result<Event, OutboxError> {
    let mut headers = Vec::new();
    for header in record.headers().iter().flat_map(|headers| headers.iter()) {
        let text = std::str::from_utf8(header.value.unwrap_or_default()).map_err(|error| {
            let name = header.key;
            let problem = format!("header {name:?} is not UTF-8 ({error}), but must be text");
            OutboxError::invalid(BACKEND, "read", problem)
        })?;
        headers.push((header.key, text));
    }
    let body = record.payload().unwrap_or_default().to_vec();
    wire::read(Binding::Kafka, None, headers, body.into())
}
