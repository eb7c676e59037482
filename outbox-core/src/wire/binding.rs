//! How each kind of broker carries headers.

use super::text;
use std::borrow::Cow;

/// How a broker carries headers. An adapter passes the one of its broker to
/// [`WireForm::write`](super::WireForm::write) and to [`read`](super::read).
///
/// On NATS and HTTP a header is a line of text, so attributes are percent-encoded as the HTTP binding
/// of CloudEvents defines it. The others carry any text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Binding {
    /// NATS. The attributes of CloudEvents start with `ce-`.
    Nats,
    /// HTTP, whose header names have no case. The attributes of CloudEvents start with `ce-`.
    Http,
    /// AMQP and RabbitMQ. The attributes of CloudEvents start with `cloudEvents:`.
    Amqp,
    /// Kafka. The attributes of CloudEvents start with `ce_`.
    Kafka,
    /// Named fields of a store, such as those of a Redis stream or a JSON column. The attributes of
    /// CloudEvents start with `ce-`.
    Fields,
}

/// The names of the attributes of a CloudEvent in the headers of a binding.
pub(super) struct Names {
    pub(super) prefix: &'static str,
    pub(super) specversion: &'static str,
    pub(super) id: &'static str,
    pub(super) source: &'static str,
    pub(super) event_type: &'static str,
    pub(super) time: &'static str,
    pub(super) datacontenttype: &'static str,
    pub(super) partitionkey: &'static str,
}

macro_rules! names {
    ($prefix:literal) => {
        Names {
            prefix: $prefix,
            specversion: concat!($prefix, "specversion"),
            id: concat!($prefix, "id"),
            source: concat!($prefix, "source"),
            event_type: concat!($prefix, "type"),
            time: concat!($prefix, "time"),
            datacontenttype: concat!($prefix, "datacontenttype"),
            partitionkey: concat!($prefix, "partitionkey"),
        }
    };
}

/// The names of the attributes in a structured message.
pub(super) const MEMBERS: Names = names!("");

/// What AMQP can hold of a header's name and of a content type.
const SHORT_TEXT: usize = 255;

/// Servers of NATS search the headers of a message for this text, also in names and values. If they find it
/// first in another header than that of the id, they see no id; before 2.9.9 they take that header for it
/// (nats-server#3645). So no header but that of the id has it.
const NATS_ID: &str = "Nats-Msg-Id";
const ENCODED_NATS_ID: &str = "%4Eats-Msg-Id";

/// Each prefix that a binding of CloudEvents defines. A reader accepts all of them.
const ATTRIBUTES: [&str; 4] = ["ce-", "ce_", "cloudEvents:", "cloudEvents_"];

pub(super) const OURS: &str = "outbox-";
pub(super) const MOVED: &str = "outbox-header-";
pub(super) const CONTENT_TYPE: &str = "content-type";

/// Headers that tracing tools read. They are written also where attributes have the same values.
pub(super) const TRACE: [&str; 2] = ["traceparent", "tracestate"];

impl Binding {
    pub(super) fn names(self) -> &'static Names {
        match self {
            Self::Nats | Self::Http | Self::Fields => &const { names!("ce-") },
            Self::Amqp => &const { names!("cloudEvents:") },
            Self::Kafka => &const { names!("ce_") },
        }
    }

    /// Whether this module, the broker, its clients or a server on the way acts on headers of this
    /// name. A header of the producer never has such a name, so one that arrives is not an event's.
    pub(super) fn reserves(self, name: &str) -> bool {
        let is = |other: &&str| name.eq_ignore_ascii_case(other);
        let begins = |prefix: &&str| strip_prefix(name, prefix).is_some();
        if name.is_empty() || is(&CONTENT_TYPE) || begins(&OURS) || ATTRIBUTES.iter().any(begins) {
            return true;
        }
        match self {
            // Deduplication, expected sequences, roll-up, expiry, schedules; MQTT; key-value
            // buckets; what clients take for the status of a reply.
            Self::Nats => {
                ["nats-", "nmqtt-", "kv-"].iter().any(begins)
                    || ["status", "description"].iter().any(is)
            }
            // More headers than a list could name steer servers and proxies.
            Self::Http => !["traceparent", "tracestate", "baggage"].iter().any(is),
            // Delays, dead-lettering, stream filters; additional routing keys.
            Self::Amqp => begins(&"x-") || ["cc", "bcc"].iter().any(is),
            Self::Kafka | Self::Fields => false,
        }
    }

    /// Whether the header arrives as it is, and steers nothing.
    pub(super) fn carries(self, name: &str, value: &str) -> bool {
        let arrives = match self {
            Self::Nats => {
                text::is_token(name)
                    && text::is_line(value)
                    && !self.has_nats_id(name)
                    && !self.has_nats_id(value)
            }
            Self::Http => {
                text::is_token(name)
                    && !name.bytes().any(|byte| byte.is_ascii_uppercase())
                    && text::is_line(value)
            }
            Self::Amqp | Self::Kafka | Self::Fields => true,
        };
        arrives && !self.reserves(name)
    }

    fn has_lines(self) -> bool {
        matches!(self, Self::Nats | Self::Http)
    }

    fn has_nats_id(self, text: &str) -> bool {
        self == Self::Nats && text.contains(NATS_ID)
    }

    fn without_nats_id(self, text: Cow<'_, str>) -> Cow<'_, str> {
        if self.has_nats_id(&text) {
            text.replace(NATS_ID, ENCODED_NATS_ID).into()
        } else {
            text
        }
    }

    pub(super) fn encode(self, value: &str) -> Cow<'_, str> {
        if self.has_lines() {
            self.without_nats_id(text::encode(value))
        } else {
            value.into()
        }
    }

    pub(super) fn encode_name(self, name: &str) -> Cow<'_, str> {
        if self.has_lines() {
            self.without_nats_id(text::encode_name(name, self == Self::Http))
        } else {
            name.into()
        }
    }

    /// A media type such as `text/plain; charset=utf-8` keeps its blanks.
    pub(super) fn encode_content_type(self, content_type: &str) -> Cow<'_, str> {
        if text::is_line(content_type) && !content_type.contains('%') {
            self.without_nats_id(content_type.into())
        } else {
            self.encode(content_type)
        }
    }

    /// `None` if it is percent-encoded and not UTF-8.
    pub(super) fn decode(self, value: &str) -> Option<Cow<'_, str>> {
        if self.has_lines() {
            text::decode(value)
        } else {
            Some(value.into())
        }
    }

    /// As [`decode`](Self::decode), also of the quoted values that earlier CloudEvents allowed.
    pub(super) fn decode_attribute(self, value: &str) -> Option<Cow<'_, str>> {
        match text::unquote(value) {
            Some(inner) if self.has_lines() => {
                text::decode(&inner).map(|text| text.into_owned().into())
            }
            _ => self.decode(value),
        }
    }

    pub(super) fn name_limit(self) -> Option<usize> {
        (self == Self::Amqp).then_some(SHORT_TEXT)
    }
}

/// The name of the attribute that a header has, in the case of the header.
pub(super) fn attribute(header: &str) -> Option<&str> {
    ATTRIBUTES
        .iter()
        .find_map(|prefix| strip_prefix(header, prefix))
}

/// Without regard to case.
pub(super) fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}
