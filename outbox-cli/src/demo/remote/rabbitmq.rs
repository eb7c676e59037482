//! A queue of `RabbitMQ`.

use super::{NAME, PATIENCE, Remote, failed, foreign};
use crate::failure::Failure;
use async_trait::async_trait;
use futures_util::StreamExt;
use outbox_core::Event;
use outbox_transport_rabbitmq::lapin::options::{
    BasicConsumeOptions, QueueDeclareOptions, QueuePurgeOptions,
};
use outbox_transport_rabbitmq::lapin::types::{AMQPValue, FieldTable};
use outbox_transport_rabbitmq::lapin::{Channel, Connection, ConnectionProperties, Queue};
use tokio::time::timeout;

/// How long the broker keeps an unused queue, in milliseconds. It also marks the queue as the demo's: the
/// broker refuses to declare one that has another time.
const KEPT: i32 = 3_600_042;

pub(super) struct Place {
    channel: Channel,
    /// The channel ends with it.
    _connection: Connection,
}

impl Place {
    pub(super) async fn afresh(url: &str) -> Result<Self, Failure> {
        let properties = ConnectionProperties::default().with_connection_name("outbox demo".into());
        let connection = Connection::connect(url, properties).await;
        let connection = connection.map_err(failed)?;
        let channel = connection.create_channel().await.map_err(failed)?;
        declare(&channel).await.map_err(|error| {
            // Of the queue of another program.
            if error.to_string().contains("PRECONDITION") || error.to_string().contains("LOCKED") {
                foreign("queue")
            } else {
                failed(error)
            }
        })?;
        let purge = channel.queue_purge(NAME.into(), QueuePurgeOptions::default());
        purge.await.map_err(failed)?;
        Ok(Self {
            channel,
            _connection: connection,
        })
    }
}

async fn declare(channel: &Channel) -> outbox_transport_rabbitmq::lapin::Result<Queue> {
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let mut arguments = FieldTable::default();
    arguments.insert("x-expires".into(), AMQPValue::LongInt(KEPT));
    channel.queue_declare(NAME.into(), options, arguments).await
}

#[async_trait]
impl Remote for Place {
    fn name(&self) -> String {
        format!("the queue {NAME:?}")
    }

    fn parameters(&self) -> &'static str {
        "exchange=&routing_key=outbox_demo"
    }

    async fn read(&mut self) -> Result<Vec<Event>, Failure> {
        let count = declare(&self.channel)
            .await
            .map_err(failed)?
            .message_count();
        let options = BasicConsumeOptions {
            no_ack: true,
            ..BasicConsumeOptions::default()
        };
        let consume = self.channel.basic_consume(
            NAME.into(),
            "outbox_demo".into(),
            options,
            FieldTable::default(),
        );
        let mut deliveries = consume.await.map_err(failed)?;
        let mut events = Vec::new();
        for _ in 0..count {
            let delivery = timeout(PATIENCE, deliveries.next()).await.map_err(failed)?;
            let delivery = delivery.ok_or_else(|| failed("the consumer has ended"))?;
            let delivery = delivery.map_err(failed)?;
            events.push(outbox_transport_rabbitmq::read(&delivery)?);
        }
        Ok(events)
    }
}
