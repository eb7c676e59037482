//! An event to a message.

use super::binding::{Binding, MOVED, TRACE};
use super::{Message, Mode, STRUCTURED, WireForm, structured, text};
use crate::object::Event;
use crate::transport::{PublishError, PublishErrorKind};
use std::borrow::Cow;

/// The attributes that have a field of the event, or another meaning in JSON.
const TAKEN: [&str; 8] = [
    "data",
    "datacontenttype",
    "id",
    "partitionkey",
    "source",
    "specversion",
    "time",
    "type",
];

impl WireForm {
    /// Writes an event as a message for a broker.
    ///
    /// In the modes of CloudEvents a header of the producer becomes an attribute if its name has only
    /// lower-case letters and digits, such as `tenant` or `subject`, and its value is not empty and
    /// has no control characters. `traceparent` and `tracestate` are attributes and headers.
    ///
    /// An event whose own content type starts with `application/cloudevents` is written structured
    /// also in binary mode, because readers treat a message with such a content type as structured.
    ///
    /// # Errors
    ///
    /// [`Permanent`](PublishErrorKind::Permanent) if the event can never be written: its type is
    /// empty, its `created_at` is outside the years 0 to 9999, or on AMQP its content type or the name
    /// of a header is longer than 255 bytes.
    pub fn write<'a>(
        &'a self,
        binding: Binding,
        event: &'a Event,
    ) -> Result<Message<'a>, PublishError> {
        if event.event_type.is_empty() {
            return Err(permanent(
                "event type is empty, but must be 1 to 1024 bytes",
            ));
        }
        let time = text::write_time(event.created_at).ok_or_else(|| {
            let shown = format!("{:?}", event.created_at);
            permanent(format!(
                "created_at is {shown}, but must be in the years 0 to 9999"
            ))
        })?;
        let mut writer = Writer {
            binding,
            headers: Vec::with_capacity(8 + event.headers.len()),
        };
        let is_event = text::media_type(&event.content_type).starts_with("application/cloudevents");
        let message = match self.mode {
            Mode::Raw => writer.raw(event, time),
            Mode::CloudEventsBinary if !is_event => writer.binary(&self.source, event, time),
            _ => {
                writer.beside(event);
                let body = structured::write(&self.source, event, &time);
                let body = body.map_err(|error| permanent(error.to_string()))?;
                writer.message(STRUCTURED.into(), body.into())
            }
        };
        check_lengths(binding, &message)?;
        Ok(message)
    }
}

struct Writer<'a> {
    binding: Binding,
    headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Writer<'a> {
    fn raw(mut self, event: &'a Event, time: String) -> Message<'a> {
        self.ours("outbox-id", event.id.to_string());
        self.ours("outbox-type", self.binding.encode(&event.event_type));
        self.ours("outbox-created-at", time);
        if let Some(key) = &event.ordering_key {
            self.ours("outbox-key", self.binding.encode(key));
        }
        for (name, value) in &event.headers {
            self.header(name, value);
        }
        let content_type = self.binding.encode_content_type(&event.content_type);
        self.message(content_type, event.payload.clone())
    }

    fn binary(mut self, source: &'a str, event: &'a Event, time: String) -> Message<'a> {
        let names = self.binding.names();
        self.ours(names.specversion, "1.0");
        self.ours(names.id, event.id.to_string());
        self.ours(names.source, self.binding.encode(source));
        self.ours(names.event_type, self.binding.encode(&event.event_type));
        self.ours(names.time, time);
        if self.binding == Binding::Nats {
            let content_type = self.binding.encode(&event.content_type);
            self.ours(names.datacontenttype, content_type);
        }
        if let Some(key) = event.ordering_key.as_deref().filter(|key| !key.is_empty()) {
            self.ours(names.partitionkey, self.binding.encode(key));
        }
        for (name, value) in &event.headers {
            if is_attribute(name, value) {
                let attribute = format!("{}{name}", names.prefix);
                self.ours(attribute, self.binding.encode(value));
            }
        }
        self.beside(event);
        let content_type = self.binding.encode_content_type(&event.content_type);
        self.message(content_type, event.payload.clone())
    }

    /// What CloudEvents have no attribute for: an empty key, and headers of other names.
    fn beside(&mut self, event: &'a Event) {
        if event.ordering_key.as_deref() == Some("") {
            self.ours("outbox-key", "");
        }
        for (name, value) in &event.headers {
            let is_attribute = is_attribute(name, value);
            if !is_attribute {
                self.header(name, value);
            } else if TRACE.contains(&&**name) && self.binding.carries(name, value) {
                self.ours(&**name, &**value);
            }
        }
    }

    fn header(&mut self, name: &'a str, value: &'a str) {
        if self.binding.carries(name, value) {
            self.ours(name, value);
        } else {
            let moved = format!("{MOVED}{}", self.binding.encode_name(name));
            self.ours(moved, self.binding.encode(value));
        }
    }

    fn ours(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        self.headers.push((name.into(), value.into()));
    }

    fn message(self, content_type: Cow<'a, str>, body: bytes::Bytes) -> Message<'a> {
        Message {
            content_type,
            headers: self.headers,
            body,
        }
    }
}

/// Whether a header is an attribute of the CloudEvent: CloudEvents allow its name and its value.
pub(super) fn is_attribute(name: &str, value: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !name.is_empty()
        && name.bytes().all(allowed)
        && !TAKEN.contains(&name)
        && text::is_attribute_value(value)
        && (name != "dataschema" || (text::is_uri_reference(value) && text::is_absolute(value)))
}

fn check_lengths(binding: Binding, message: &Message<'_>) -> Result<(), PublishError> {
    let Some(limit) = binding.name_limit() else {
        return Ok(());
    };
    let too_long = |what: &str, length: usize| {
        permanent(format!(
            "{what} is {length} bytes long, but must be at most {limit} on AMQP"
        ))
    };
    let content_type = message.content_type.len();
    if content_type > limit {
        return Err(too_long("content type", content_type));
    }
    let longest = message.headers.iter().map(|(name, _)| name.len()).max();
    match longest {
        Some(length) if length > limit => Err(too_long("header name", length)),
        _ => Ok(()),
    }
}

fn permanent(problem: impl Into<String>) -> PublishError {
    PublishError::new(PublishErrorKind::Permanent).with_source(problem.into())
}
