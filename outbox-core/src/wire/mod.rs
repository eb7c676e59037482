//! The form in which adapters send events to brokers, and its reader (feature `wire`).
//!
//! An adapter [writes](WireForm::write) each event as a [`Message`]: a content type, headers and a
//! body. A consumer [reads](read) the event back, in whichever [`Mode`] it was written. The modes,
//! the names of all headers and the bytes of examples are in `docs/wire-form.md`. A [`Template`]
//! makes the name of an event's destination.
//!
//! Id, type, ordering key, content type, payload and headers come back unchanged. `created_at` comes
//! back to the microsecond: a finer part is cut off, towards the past. The idempotency token and
//! `available_at` concern only the outbox and are not sent.
//!
//! A header of the producer keeps its name and its value if the broker carries both as they are and
//! neither it nor this module acts on the name. Otherwise it is written as
//! `outbox-header-<name>`: on RabbitMQ a header `CC` adds a routing key, on NATS `Nats-Msg-Id`
//! decides whether the message is a duplicate. A plain header with such a name comes from the broker,
//! so the reader leaves it out.
//!
//! ```
//! use outbox_core::Event;
//! use outbox_core::wire::{self, Binding, Mode, WireForm};
//!
//! let event = Event::new("order.placed", r#"{"order":7}"#)
//!     .content_type("application/json")
//!     .ordering_key("order-7")
//!     .header("Nats-Msg-Id", "mine");
//! let form = WireForm::new(Mode::Raw);
//!
//! let message = form.write(Binding::Nats, &event)?;
//! let named = |name| message.headers.iter().find(|(other, _)| other == name);
//! assert_eq!(named("outbox-type").unwrap().1, "order.placed");
//! assert_eq!(named("outbox-header-%4Eats-Msg-Id").unwrap().1, "mine");
//!
//! let headers = message.headers.iter().map(|(name, value)| (&**name, &**value));
//! let read = wire::read(Binding::Nats, Some(&message.content_type), headers, message.body.clone())?;
//! assert_eq!((read.id, read.headers), (event.id, event.headers.clone()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod binding;
mod read;
mod structured;
mod template;
mod text;
mod write;

pub use binding::Binding;
pub use read::read;
pub use template::Template;

use crate::error::OutboxError;
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// The media type of an event in the mode [`CloudEventsStructured`](Mode::CloudEventsStructured).
const STRUCTURED: &str = "application/cloudevents+json";

/// An event as a broker carries it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Message<'a> {
    /// The media type of the body: the content type of an AMQP message, else the header `content-type`.
    pub content_type: Cow<'a, str>,
    /// Names and values, each name once.
    pub headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The bytes. Raw and in binary mode it is the payload, which is not copied.
    pub body: Bytes,
}

/// How the fields of an event are laid out in a message.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Mode {
    /// `raw`: the payload as the body, the other fields as headers named `outbox-…`.
    #[default]
    Raw,
    /// `cloudevents-binary`: the payload as the body, the other fields as attributes of CloudEvents
    /// 1.0 in headers.
    CloudEventsBinary,
    /// `cloudevents-structured`: a JSON object of CloudEvents 1.0 as the body.
    CloudEventsStructured,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::CloudEventsBinary => "cloudevents-binary",
            Self::CloudEventsStructured => "cloudevents-structured",
        })
    }
}

impl FromStr for Mode {
    type Err = OutboxError;

    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `text` is none of the three names.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let modes = [
            Self::Raw,
            Self::CloudEventsBinary,
            Self::CloudEventsStructured,
        ];
        let named = modes.into_iter().find(|mode| mode.to_string() == text);
        named.ok_or_else(|| {
            let allowed = "raw, cloudevents-binary or cloudevents-structured";
            invalid(
                "parse",
                format!("wire form is {text:?}, but must be {allowed}"),
            )
        })
    }
}

/// The mode in which events are written, and the `source` of the CloudEvents.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WireForm {
    mode: Mode,
    source: String,
}

impl WireForm {
    /// Events in this mode. CloudEvents have the source `outbox`.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            source: "outbox".to_owned(),
        }
    }

    /// Sets the `source` of the CloudEvents, which names the producer: a URI-reference such as
    /// `/orders` or `https://shop.example/orders`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `source` is empty or no URI-reference.
    pub fn source(mut self, source: impl Into<String>) -> Result<Self, OutboxError> {
        self.source = source.into();
        if text::is_uri_reference(&self.source) {
            return Ok(self);
        }
        let allowed = "a URI-reference such as /orders or https://shop.example/orders";
        let problem = format!("source is {:?}, but must be {allowed}", self.source);
        Err(invalid("source", problem))
    }

    /// The mode.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }
}

impl Default for WireForm {
    fn default() -> Self {
        Self::new(Mode::default())
    }
}

fn invalid(operation: &'static str, problem: impl Into<String>) -> OutboxError {
    OutboxError::invalid("wire", operation, problem)
}
