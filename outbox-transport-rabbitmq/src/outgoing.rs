//! An event as a message of AMQP.

use crate::config::RabbitMqConfig;
use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use outbox_core::wire::{Binding, Message, Template};
use outbox_core::{Event, PublishError, PublishErrorKind};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

/// The bytes of a frame without its payload, and of the payload of a header frame without its properties.
const FRAME: usize = 8;
const HEADER: usize = 14;

/// The broker writes the message to disk.
const PERSISTENT: u8 = 2;

/// An event, ready to be published.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) id: ShortString,
    pub(crate) destination: Arc<str>,
    pub(crate) exchange: ShortString,
    pub(crate) routing_key: ShortString,
    pub(crate) properties: BasicProperties,
    pub(crate) payload: Bytes,
    /// The size of the frame with the properties, which may not be split.
    header: usize,
}

impl Outgoing {
    pub(crate) fn new(config: &RabbitMqConfig, event: &Event) -> Result<Self, PublishError> {
        let destination: Arc<str> = destination(config, event).into();
        let named = |error: PublishError| error.with_destination(Arc::clone(&destination));
        let fill = |template: &Template, what| {
            let name = template.fill(event).map_err(named)?;
            short(what, &name).map_err(named)
        };
        let exchange = config.exchange.as_ref();
        let exchange = exchange.map_or_else(|| Ok("".into()), |name| fill(name, "exchange"))?;
        let routing_key = fill(&config.routing_key, "routing key")?;
        let message = config.form.write(Binding::Amqp, event).map_err(named)?;
        check_size(config, message.body.len()).map_err(named)?;
        let id = ShortString::from(event.id.to_string());
        let (properties, size) = properties(event, &id, &message).map_err(named)?;
        Ok(Self {
            id,
            exchange,
            routing_key,
            properties,
            payload: message.body,
            header: FRAME + HEADER + size,
            destination: Arc::clone(&destination),
        })
    }

    /// The broker would close the connection, not the channel.
    pub(crate) fn check_header(&self, largest: u32) -> Result<(), PublishError> {
        if self.header <= largest as usize {
            return Ok(());
        }
        Err(self.error(PublishErrorKind::Permanent).with_source(format!(
            "headers make a frame of {} bytes, but must make one of at most {largest}",
            self.header
        )))
    }

    /// An error about the destination of this event.
    pub(crate) fn error(&self, kind: PublishErrorKind) -> PublishError {
        PublishError::new(kind).with_destination(Arc::clone(&self.destination))
    }
}

/// `exchange/routing key`, or the routing key alone if the exchange is the default one.
pub(crate) fn destination<'a>(config: &'a RabbitMqConfig, event: &'a Event) -> Cow<'a, str> {
    let routing_key = config.routing_key.destination(event);
    match &config.exchange {
        Some(exchange) => format!("{}/{routing_key}", exchange.destination(event)).into(),
        None => routing_key,
    }
}

fn check_size(config: &RabbitMqConfig, size: usize) -> Result<(), PublishError> {
    match config.max_message_size {
        Some(largest) if size > largest => {
            let problem = format!("message is {size} bytes long, but must be at most {largest}");
            Err(PublishError::new(PublishErrorKind::Permanent).with_source(problem))
        }
        _ => Ok(()),
    }
}

/// The properties, and their size in bytes.
fn properties(
    event: &Event,
    id: &ShortString,
    message: &Message<'_>,
) -> Result<(BasicProperties, usize), PublishError> {
    let content_type = short("content type", &message.content_type)?;
    let mut headers = FieldTable::default();
    let mut size = 4;
    for (name, value) in &message.headers {
        size += name.len() + value.len() + 6;
        let value = LongString::from(value.as_bytes());
        headers.insert(short("header name", name)?, AMQPValue::LongString(value));
    }
    size += 2 + 1 + content_type.as_str().len() + 1 + id.as_str().len() + 1;
    let mut properties = BasicProperties::default()
        .with_content_type(content_type)
        .with_headers(headers)
        .with_delivery_mode(PERSISTENT)
        .with_message_id(id.clone());
    if let Ok(age) = event.created_at.duration_since(SystemTime::UNIX_EPOCH) {
        properties = properties.with_timestamp(age.as_secs());
        size += 8;
    }
    // A longer type is in the headers only.
    if let Ok(event_type) = ShortString::try_new(event.event_type.as_str()) {
        size += event_type.as_str().len() + 1;
        properties = properties.with_type(event_type);
    }
    Ok((properties, size))
}

fn short(what: &str, text: &str) -> Result<ShortString, PublishError> {
    ShortString::try_new(text).map_err(|_| {
        let length = text.len();
        PublishError::new(PublishErrorKind::Permanent).with_source(format!(
            "{what} is {length} bytes long, but must be at most 255"
        ))
    })
}
