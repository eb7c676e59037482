//! An event as a record of Kafka.

use crate::KafkaConfig;
use outbox_core::wire::{Binding, Message};
use outbox_core::{Event, PublishError, PublishErrorKind};
use rdkafka::message::{Header, OwnedHeaders};
use std::borrow::Cow;

const CONTENT_TYPE: &str = "content-type";

/// The longest name of a topic.
const LONGEST_TOPIC: usize = 249;

/// What librdkafka adds at most to key and payload, and to a name and a value.
const OVERHEAD: usize = 36;
const HEADER: usize = 20;

/// An event, ready to be sent.
#[derive(Debug)]
pub(crate) struct Record<'e> {
    pub(crate) topic: Cow<'e, str>,
    pub(crate) key: Option<&'e str>,
    message: Message<'e>,
}

impl<'e> Record<'e> {
    /// # Errors
    ///
    /// Why the event is not sent.
    pub(crate) fn new(config: &'e KafkaConfig, event: &'e Event) -> Result<Self, PublishError> {
        let named = |error: PublishError| {
            error.with_destination(config.topic.destination(event).into_owned())
        };
        let topic = config.topic.fill(event)?;
        if !is_topic(&topic) {
            let error = PublishError::new(PublishErrorKind::Misconfigured);
            return Err(named(error.with_source(topic_rule(&topic))));
        }
        let message = config.form.write(Binding::Kafka, event).map_err(named)?;
        let key = event.ordering_key.as_deref();
        let record = Self {
            topic,
            key,
            message,
        };
        record.check_size(config.largest_event).map_err(named)?;
        Ok(record)
    }

    /// So that a large event is refused before one of its key is sent.
    fn check_size(&self, largest: u32) -> Result<(), PublishError> {
        let headers = self
            .fields()
            .map(|(name, value)| HEADER + name.len() + value.len());
        let key = self.key.map_or(0, str::len);
        let size = OVERHEAD + key + self.payload().len() + headers.sum::<usize>();
        if u32::try_from(size).is_ok_and(|size| size <= largest) {
            return Ok(());
        }
        let problem = format!("record has {size} bytes, but must have at most {largest}");
        Err(PublishError::new(PublishErrorKind::Permanent).with_source(problem))
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.message.body
    }

    pub(crate) fn headers(&self) -> OwnedHeaders {
        let headers = OwnedHeaders::new_with_capacity(self.message.headers.len() + 1);
        self.fields().fold(headers, |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(value),
            })
        })
    }

    fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let headers = self.message.headers.iter();
        let headers = headers.map(|(name, value)| (&**name, &**value));
        headers.chain([(CONTENT_TYPE, &*self.message.content_type)])
    }
}

/// Whether Kafka allows the name.
pub(crate) fn is_topic(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=LONGEST_TOPIC).contains(&name.len())
        && name.bytes().all(is_allowed)
        && !matches!(name, "." | "..")
}

pub(crate) fn topic_rule(name: &str) -> String {
    format!(
        "topic is {name:?}, but must be 1 to {LONGEST_TOPIC} of a-z, A-Z, 0-9, '.', '_' and '-'"
    )
}
