//! `RabbitMQ`.

use super::{PASSWORD, Place, shared, unique};
use crate::support::blocking;
use outbox_core::Event;
use outbox_core::wire::{self, Binding};
use outbox_transport_rabbitmq::lapin::options::{
    BasicGetOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use outbox_transport_rabbitmq::lapin::types::{AMQPValue, FieldTable, ShortString};
use outbox_transport_rabbitmq::lapin::{Channel, Connection, ConnectionProperties};
use test_servers::Kind;

/// A queue that is deleted in the end.
struct Queue {
    server: String,
    name: String,
}

impl Queue {
    fn named(name: String) -> Self {
        let server = shared(Kind::RabbitMq);
        Self { server, name }
    }

    fn on_a_channel<T>(&self, work: impl AsyncFnOnce(Channel) -> T) -> T {
        blocking(async {
            let properties = ConnectionProperties::default();
            let connection = Connection::connect(&self.server, properties).await.unwrap();
            let done = work(connection.create_channel().await.unwrap()).await;
            drop(connection);
            done
        })
    }

    fn delete(&self) {
        self.on_a_channel(async |channel| {
            let options = QueueDeleteOptions::default();
            let name = self.name.as_str().into();
            let _ = channel.queue_delete(name, options).await;
        });
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.delete();
    }
}

impl Place for Queue {
    fn url(&self) -> String {
        format!(
            "{}?exchange=&routing_key={}&heartbeat=10",
            self.server, self.name
        )
    }

    fn create(&self) {
        self.on_a_channel(async |channel| {
            let options = QueueDeclareOptions {
                durable: true,
                ..QueueDeclareOptions::default()
            };
            let name = self.name.as_str().into();
            let arguments = FieldTable::default();
            channel
                .queue_declare(name, options, arguments)
                .await
                .unwrap();
        });
    }

    fn arrived(&self) -> Vec<Event> {
        self.on_a_channel(async |channel| {
            let mut events = Vec::new();
            let get =
                || channel.basic_get(self.name.as_str().into(), BasicGetOptions { no_ack: true });
            while let Some(message) = get().await.unwrap() {
                let properties = &message.delivery.properties;
                let headers = properties.headers().as_ref().unwrap().inner();
                let headers = headers.iter().map(|(name, value)| match value {
                    AMQPValue::LongString(text) => {
                        (name.as_str(), std::str::from_utf8(text.as_bytes()).unwrap())
                    }
                    other => panic!("{other:?}"),
                });
                let content_type = properties.content_type().as_ref().map(ShortString::as_str);
                let body = message.delivery.data.clone().into();
                events.push(wire::read(Binding::Amqp, content_type, headers, body).unwrap());
            }
            events
        })
    }
}

#[test]
fn events_arrive_at_a_queue_and_a_missing_queue_is_named() {
    super::takes_the_events_of_both_stores(&Queue::named(unique()));
}

#[test]
fn a_missing_exchange_is_a_problem() {
    let server = shared(Kind::RabbitMq);
    let exchange = unique();
    let to = format!("{server}?exchange={exchange}&timeout=5s");
    super::is_not_ready(&to, "misconfigured", &exchange);
}

#[test]
fn a_wrong_password_is_a_problem() {
    let server = shared(Kind::RabbitMq);
    let host = server.rsplit('@').next().unwrap();
    let to = format!("amqp://guest:{PASSWORD}@{host}?timeout=5s");
    super::is_not_ready(&to, "misconfigured", "ACCESS");
}

#[test]
fn the_demo_uses_its_own_queue() {
    let queue = Queue::named("outbox_demo".to_owned());
    queue.delete();
    super::the_demo_runs_at(&queue.server);
    queue.delete();
    queue.create();
    super::the_demo_refuses(&queue.server);
}
