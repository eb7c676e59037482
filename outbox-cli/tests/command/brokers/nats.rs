//! NATS.

use super::{PASSWORD, Place, shared, unique};
use crate::support::blocking;
use futures_util::StreamExt;
use outbox_core::Event;
use outbox_core::wire::{self, Binding};
use outbox_transport_nats::async_nats::jetstream::consumer::pull::OrderedConfig;
use outbox_transport_nats::async_nats::jetstream::stream::Config;
use outbox_transport_nats::async_nats::{self, jetstream};
use test_servers::{Kind, Server, search_path};

/// A stream.
struct Stream {
    server: String,
    name: String,
}

impl Stream {
    fn on(server: &str) -> Self {
        let (server, name) = (server.to_owned(), unique());
        Self { server, name }
    }

    async fn context(&self) -> jetstream::Context {
        jetstream::new(async_nats::connect(&self.server).await.unwrap())
    }
}

impl Place for Stream {
    fn url(&self) -> String {
        format!(
            "{}?subject={}.{{type}}&form=cloudevents-binary",
            self.server, self.name
        )
    }

    fn create(&self) {
        blocking(async {
            let config = Config {
                name: self.name.clone(),
                subjects: vec![format!("{}.>", self.name)],
                ..Config::default()
            };
            self.context().await.create_stream(config).await.unwrap();
        });
    }

    fn arrived(&self) -> Vec<Event> {
        blocking(async {
            let stream = self.context().await.get_stream(&self.name).await.unwrap();
            let count = stream.cached_info().state.messages;
            let consumer = stream
                .create_consumer(OrderedConfig::default())
                .await
                .unwrap();
            let mut messages = consumer.messages().await.unwrap();
            let mut events = Vec::new();
            for _ in 0..count {
                let message = messages.next().await.unwrap().unwrap().message;
                let headers = message.headers.unwrap();
                let headers = headers
                    .iter()
                    .map(|(name, values)| (name.as_ref(), values[0].as_str()));
                events.push(wire::read(Binding::Nats, None, headers, message.payload).unwrap());
            }
            events
        })
    }
}

fn start(config: &str) -> Server {
    Server::start_nats(&search_path(), config).expect("started")
}

#[test]
fn events_arrive_at_a_stream_and_a_missing_stream_is_named() {
    super::takes_the_events_of_both_stores(&Stream::on(&shared(Kind::Nats)));
}

#[test]
fn a_relay_waits_for_a_server_that_is_away() {
    let server = start("");
    let stream = Stream::on(server.url());
    super::waits_for(server, &stream);
}

#[test]
fn a_wrong_password_is_a_problem() {
    let server = start("authorization { user: me, password: secret }");
    let host = server.url().trim_start_matches("nats://");
    let to = format!("nats://me:{PASSWORD}@{host}?timeout=2s");
    super::is_not_ready(&to, "misconfigured", "authorization violation");
}

#[test]
fn the_demo_uses_its_own_stream() {
    let server = start("");
    super::the_demo_runs_at(server.url());
    let mut stream = Stream::on(server.url());
    blocking(async {
        let context = stream.context().await;
        context.delete_stream("outbox_demo").await.unwrap();
    });
    stream.name = "outbox_demo".to_owned();
    stream.create();
    super::the_demo_refuses(server.url());
}
