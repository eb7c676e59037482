//! RabbitMQ, read back by its own client.

use super::{Broker, CALL, Process};
use async_trait::async_trait;
use outbox_core::{Event, Transport};
use outbox_transport_rabbitmq::lapin::options::{
    BasicGetOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use outbox_transport_rabbitmq::lapin::types::FieldTable;
use outbox_transport_rabbitmq::lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use outbox_transport_rabbitmq::{RabbitMqConfig, RabbitMqTransport, read};
use std::sync::{Arc, LazyLock};
use test_servers::{Server, search_path};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// RabbitMQ with an exchange and a durable queue. Messages have at most 1 MiB. The tests of a process take
/// turns with one server, because it takes long to start.
#[derive(Debug)]
pub struct RabbitMq(OwnedMutexGuard<Server>);

static SERVER: LazyLock<Arc<Mutex<Server>>> = LazyLock::new(|| {
    let limit = "max_message_size = 1048576";
    let server = Server::start_rabbitmq(&search_path(), limit).expect("a server");
    Arc::new(Mutex::new(server))
});

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
        let broker = Self(Arc::clone(&SERVER).lock_owned().await);
        let (_connection, channel) = broker.channel().await;
        let deleted = channel.queue_delete(QUEUE.into(), QueueDeleteOptions::default());
        deleted.await.expect("deleted, or not there");
        let deleted = channel.exchange_delete(EXCHANGE.into(), ExchangeDeleteOptions::default());
        deleted.await.expect("deleted, or not there");
        broker
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
        // Else a server that is killed soon may forget the queue with the buffers of its log.
        let synced = self.0.rabbitmqctl(&["eval", "mnesia:sync_log()."]);
        synced.expect("on the disk");
    }

    fn transport(&self) -> Arc<dyn Transport> {
        let config = RabbitMqConfig::from_url(self.0.url()).expect("a URL");
        let config = config
            .exchange(EXCHANGE.parse().expect("a template"))
            .call_timeout(CALL);
        Arc::new(RabbitMqTransport::open(config).expect("opened"))
    }

    fn server(&mut self) -> &mut dyn Process {
        &mut *self.0
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
