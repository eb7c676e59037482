//! A message to an event.

use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use outbox_core::wire::{self, Binding};
use outbox_core::{Event, OutboxError};

/// Reads the event of a message, in whichever form it was published. Headers that are not text come from
/// the broker, and are left out. The body is copied.
///
/// ```
/// # use outbox_core::{EventId, OutboxError};
/// # use outbox_transport_rabbitmq::lapin::message::Delivery;
/// fn id(message: &Delivery) -> Result<EventId, OutboxError> {
///     Ok(outbox_transport_rabbitmq::read(message)?.id)
/// }
/// ```
///
/// # Errors
///
/// Those of [`wire::read`].
pub fn read(message: &Delivery) -> Result<Event, OutboxError> {
    let content_type = message.properties.content_type().as_ref();
    let headers = message.properties.headers().iter();
    let headers = headers.flat_map(FieldTable::inner);
    let headers = headers.filter_map(|(name, value)| match value {
        AMQPValue::LongString(text) => {
            Some((name.as_str(), std::str::from_utf8(text.as_bytes()).ok()?))
        }
        _ => None,
    });
    wire::read(
        Binding::Amqp,
        content_type.map(ShortString::as_str),
        headers,
        message.data.clone().into(),
    )
}
