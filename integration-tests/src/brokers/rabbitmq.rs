//! RabbitMQ, read back by its own client.

use super::{Broker, CALL};
use async_trait::async_trait;
use outbox_core::{Event, Transport};
use outbox_transport_rabbitmq::lapin::options::{
    BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use outbox_transport_rabbitmq::lapin::types::FieldTable;
use outbox_transport_rabbitmq::lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use outbox_transport_rabbitmq::{RabbitMqConfig, RabbitMqTransport, read};
use std::sync::Arc;
use test_servers::{Server, search_path};

/// RabbitMQ with an exchange and a durable queue. Messages have at most 1 MiB.
#[derive(Debug)]
pub struct RabbitMq(Server);

const EXCHANGE: &str = "outbox";
const QUEUE: &str = "orders";

impl RabbitMq {
    async fn channel(&self) -> (Connection, Channel) {
        let connected = Connection::connect(self.0.url(), ConnectionProperties::default()).await;
        let connection = connected.expect("connected");
        let channel = connection.create_channel().await.expect("a channel");
        (connection, channel)
    }
}

#[async_trait]
impl Broker for RabbitMq {
    const REFUSAL: &'static str = "1048576";

    async fn start() -> Self {
        let limit = "max_message_size = 1048576";
        Self(Server::start_rabbitmq(&search_path(), limit).expect("a server"))
    }

    async fn create(&self) {
        let (_connection, channel) = self.channel().await;
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let none = FieldTable::default;
        let declared = channel
            .exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, durable, none())
            .await;
        declared.expect("declared");
        let durable = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let declared = channel.queue_declare(QUEUE.into(), durable, none()).await;
        declared.expect("declared");
        let options = QueueBindOptions::default();
        let bound = channel
            .queue_bind(QUEUE.into(), EXCHANGE.into(), "#".into(), options, none())
            .await;
        bound.expect("bound");
    }

    fn transport(&self) -> Arc<dyn Transport> {
        let config = RabbitMqConfig::from_url(self.0.url()).expect("a URL");
        let config = config
            .exchange(EXCHANGE.parse().expect("a template"))
            .call_timeout(CALL);
        Arc::new(RabbitMqTransport::open(config).expect("opened"))
    }

    fn server(&mut self) -> &mut Server {
        &mut self.0
    }

    async fn received(&self) -> Vec<Event> {
        let (_connection, channel) = self.channel().await;
        let mut events = Vec::new();
        let get = || channel.basic_get(QUEUE.into(), BasicGetOptions { no_ack: true });
        while let Some(message) = get().await.expect("read") {
            events.push(read(&message).expect("an event"));
        }
        events
    }
}
