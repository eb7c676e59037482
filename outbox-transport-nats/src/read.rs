//! A message to an event.

use async_nats::Message;
use outbox_core::wire::{self, Binding};
use outbox_core::{Event, OutboxError};

/// Reads the event of a message, in whichever form it was published. A consumer of JetStream passes its
/// message too.
///
/// ```
/// # use outbox_core::{EventId, OutboxError};
/// # use outbox_transport_nats::async_nats::jetstream::Message;
/// fn id(message: &Message) -> Result<EventId, OutboxError> {
///     Ok(outbox_transport_nats::read(message)?.id)
/// }
/// ```
///
/// # Errors
///
/// Those of [`wire::read`].
pub fn read(message: &Message) -> Result<Event, OutboxError> {
    let headers = message.headers.iter().flat_map(|headers| headers.iter());
    let headers = headers.flat_map(|(name, values)| {
        let values = values.iter();
        values.map(move |value| (name.as_ref(), value.as_str()))
    });
    wire::read(Binding::Nats, None, headers, message.payload.clone())
}
