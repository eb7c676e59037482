//! The wire form: writing an event, reading it, and reading back each written event.

mod golden;
mod reading;
mod round_trips;
mod sdk;

use outbox_core::wire::{self, Binding, Message};
use outbox_core::{Event, OutboxError};

const BINDINGS: [Binding; 5] = [
    Binding::Nats,
    Binding::Http,
    Binding::Amqp,
    Binding::Kafka,
    Binding::Fields,
];

/// Reads a message of the headers and the body, as it comes from a broker.
fn read(
    binding: Binding,
    headers: &[(&str, &str)],
    body: &'static str,
) -> Result<Event, OutboxError> {
    wire::read(binding, None, headers.iter().copied(), body.into())
}

fn value<'m>(message: &'m Message<'_>, name: &str) -> Option<&'m str> {
    let mut headers = message.headers.iter();
    headers
        .find(|(other, _)| other == name)
        .map(|(_, value)| &**value)
}
