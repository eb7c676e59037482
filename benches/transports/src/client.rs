//! Each client library alone: it publishes messages that were made before, in calls of the same size, and
//! waits for the confirmation of each.

use crate::Failure;
use async_trait::async_trait;
use outbox_core::Event;
use outbox_core::wire::{Binding, Message, WireForm};
use outbox_transport_nats::async_nats::jetstream::{self, Context, message::PublishMessage};
use outbox_transport_nats::async_nats::{self, HeaderMap};
use outbox_transport_postgres::sqlx::{self, PgPool};
use outbox_transport_rabbitmq::lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use outbox_transport_rabbitmq::lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use outbox_transport_rabbitmq::lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
};
use outbox_transport_redis::redis::aio::MultiplexedConnection;
use outbox_transport_redis::redis::{self, Cmd, Pipeline};

/// Events as a client library takes them.
#[async_trait]
pub(crate) trait Client: Send + Sync {
    type Prepared: Send;

    fn prepare(&self, event: &Event) -> Self::Prepared;

    /// Publishes messages in a pipeline, and returns when the broker has confirmed all of them.
    async fn publish(&mut self, messages: Vec<Self::Prepared>) -> Result<(), Failure>;
}

fn message<'a>(form: &'a WireForm, binding: Binding, event: &'a Event) -> Message<'a> {
    form.write(binding, event).expect("a message")
}

pub(crate) struct Nats(Context, WireForm);

impl Nats {
    pub(crate) async fn connect(url: &str) -> Result<Self, Failure> {
        let client = async_nats::connect(url).await?;
        Ok(Self(jetstream::new(client), WireForm::default()))
    }
}

#[async_trait]
impl Client for Nats {
    type Prepared = (String, PublishMessage);

    fn prepare(&self, event: &Event) -> Self::Prepared {
        let written = message(&self.1, Binding::Nats, event);
        let mut headers = HeaderMap::new();
        for (name, value) in &written.headers {
            headers.insert(&**name, &**value);
        }
        headers.insert("content-type", &*written.content_type);
        let message = PublishMessage::build().payload(written.body.clone());
        let message = message.headers(headers).message_id(event.id.to_string());
        (format!("outbox.{}", event.event_type), message)
    }

    async fn publish(&mut self, messages: Vec<Self::Prepared>) -> Result<(), Failure> {
        let mut acks = Vec::with_capacity(messages.len());
        for (subject, message) in messages {
            acks.push(self.0.send_publish(subject, message).await?);
        }
        for ack in acks {
            ack.await?;
        }
        Ok(())
    }
}

pub(crate) struct RabbitMq {
    channel: Channel,
    form: WireForm,
    /// Dropping it would close the channel.
    _connection: Connection,
}

impl RabbitMq {
    pub(crate) async fn connect(url: &str) -> Result<Self, Failure> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(Self {
            channel,
            form: WireForm::default(),
            _connection: connection,
        })
    }
}

#[async_trait]
impl Client for RabbitMq {
    type Prepared = (ShortString, BasicProperties, Vec<u8>);

    fn prepare(&self, event: &Event) -> Self::Prepared {
        let written = message(&self.form, Binding::Amqp, event);
        let mut headers = FieldTable::default();
        for (name, value) in &written.headers {
            let value = AMQPValue::LongString(LongString::from(value.as_bytes()));
            headers.insert(ShortString::from(&**name), value);
        }
        let properties = BasicProperties::default()
            .with_content_type(ShortString::from(&*written.content_type))
            .with_headers(headers)
            .with_delivery_mode(2)
            .with_message_id(event.id.to_string().into());
        let key = ShortString::from(event.event_type.as_str());
        (key, properties, written.body.to_vec())
    }

    async fn publish(&mut self, messages: Vec<Self::Prepared>) -> Result<(), Failure> {
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let mut confirms = Vec::with_capacity(messages.len());
        for (key, properties, body) in messages {
            let sent = self
                .channel
                .basic_publish("outbox".into(), key, options, &body, properties);
            confirms.push(sent.await?);
        }
        for confirm in confirms {
            if !confirm.await?.is_ack() {
                return Err("a message was not confirmed".into());
            }
        }
        Ok(())
    }
}

pub(crate) struct Redis(MultiplexedConnection, WireForm);

impl Redis {
    pub(crate) async fn connect(url: &str) -> Result<Self, Failure> {
        let client = redis::Client::open(url)?;
        let connection = client.get_multiplexed_async_connection().await?;
        Ok(Self(connection, WireForm::default()))
    }
}

#[async_trait]
impl Client for Redis {
    type Prepared = Cmd;

    fn prepare(&self, event: &Event) -> Cmd {
        let written = message(&self.1, Binding::Fields, event);
        let mut command = redis::cmd("XADD");
        command.arg("orders").arg("NOMKSTREAM").arg("*");
        for (name, value) in &written.headers {
            command.arg(&**name).arg(&**value);
        }
        command.arg("content-type").arg(&*written.content_type);
        command.arg("data").arg(&written.body[..]);
        command
    }

    async fn publish(&mut self, messages: Vec<Cmd>) -> Result<(), Failure> {
        let mut pipeline = Pipeline::with_capacity(messages.len());
        for message in messages {
            pipeline.add_command(message);
        }
        let _: Vec<String> = pipeline.query_async(&mut self.0).await?;
        Ok(())
    }
}

pub(crate) struct Postgres(PgPool);

impl Postgres {
    pub(crate) fn on(pool: PgPool) -> Self {
        Self(pool)
    }
}

/// What a caller of sqlx would write: an INSERT of many rows from arrays.
const INSERT: &str = "
INSERT INTO outbox.outbox_arrived (id, created_at, event_type, content_type, ordering_key, headers, payload)
SELECT id::uuid, '2026-01-01', event_type, 'application/json', ordering_key, '{}', payload
FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[]) AS e (id, event_type, ordering_key, payload)
ON CONFLICT (id) DO NOTHING";

#[async_trait]
impl Client for Postgres {
    type Prepared = Event;

    fn prepare(&self, event: &Event) -> Event {
        event.clone()
    }

    async fn publish(&mut self, events: Vec<Event>) -> Result<(), Failure> {
        let ids: Vec<String> = events.iter().map(|event| event.id.to_string()).collect();
        let types: Vec<&str> = events.iter().map(|event| &*event.event_type).collect();
        let keys: Vec<Option<&str>> = events.iter().map(|e| e.ordering_key.as_deref()).collect();
        let payloads: Vec<&[u8]> = events.iter().map(|event| &event.payload[..]).collect();
        let insert = sqlx::query(INSERT)
            .bind(ids)
            .bind(types)
            .bind(keys)
            .bind(payloads);
        insert.execute(&self.0).await?;
        Ok(())
    }
}
