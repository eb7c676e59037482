//! A Redis for one test, and what is in its streams.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

use bytes::Bytes;
use outbox_core::wire::{self, Binding, Template};
use outbox_core::{Event, EventId};
use outbox_transport_redis::redis::cluster::ClusterClient;
use outbox_transport_redis::redis::{Client, Cmd, Connection, FromRedisValue, RedisResult, cmd};
use outbox_transport_redis::{RedisTransport, RedisTransportConfig};
use std::collections::HashMap;
use test_servers::{Kind, Server, search_path};

/// The entry's id and its fields.
pub type Entry = (String, HashMap<String, Vec<u8>>);

/// A server that a test starts for itself.
pub struct Redis(pub Server);

impl Redis {
    pub fn start(settings: &[&str]) -> Self {
        Self(Server::start_redis(&search_path(), None, settings).expect("started"))
    }

    pub fn url(&self) -> String {
        self.0.url().to_owned()
    }

    /// The URL with a login.
    pub fn url_of(&self, user: &str, password: &str) -> String {
        let login = format!("redis://{user}:{password}@");
        self.url().replace("redis://", &login)
    }

    pub fn port(&self) -> u16 {
        let address = address(self.0.url());
        let port = address
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        port.expect("a port")
    }

    pub fn send<T: FromRedisValue>(&self, words: &[&str]) -> T {
        send(&self.url(), words)
    }

    pub fn transport(&self) -> RedisTransport {
        open(config(&self.url()))
    }
}

/// The shared cluster, as a cluster.
pub fn shared_cluster() -> String {
    let node = test_servers::url(Kind::RedisCluster).expect("a cluster");
    node.replace("redis://", "redis+cluster://")
}

pub fn shared() -> String {
    test_servers::url(Kind::Redis).expect("a server")
}

/// Host and port of a URL without a login.
pub fn address(url: &str) -> &str {
    let rest = url.split_once("://").expect("a scheme").1;
    rest.trim_end_matches('/')
}

pub fn config(url: &str) -> RedisTransportConfig {
    RedisTransportConfig::from_url(url).expect("a URL")
}

pub fn open(config: RedisTransportConfig) -> RedisTransport {
    RedisTransport::open(config).expect("a config")
}

/// A template of a name that is taken as it is.
pub fn constant(name: &str) -> Template {
    name.parse().expect("a template")
}

/// The name of a stream that no other test uses.
pub fn new_name() -> String {
    format!("transport-{}", EventId::new())
}

pub fn connection(url: &str) -> Connection {
    let client = Client::open(url).expect("a URL");
    client.get_connection().expect("connected")
}

pub fn send<T: FromRedisValue>(url: &str, words: &[&str]) -> T {
    let command = command(words);
    let answer = match url.strip_prefix("redis+cluster://") {
        Some(node) => {
            let cluster = ClusterClient::new([format!("redis://{node}")]).expect("a URL");
            command.query(&mut cluster.get_connection().expect("connected"))
        }
        None => command.query(&mut connection(url)),
    };
    answer.unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

pub fn try_send<T: FromRedisValue>(url: &str, words: &[&str]) -> RedisResult<T> {
    command(words).query(&mut connection(url))
}

pub fn command(words: &[&str]) -> Cmd {
    let mut command = cmd(words[0]);
    command.arg(&words[1..]);
    command
}

pub fn entries(url: &str, stream: &str) -> Vec<Entry> {
    send(url, &["XRANGE", stream, "-", "+"])
}

/// The events of a stream in their order, as a consumer reads them.
pub fn events(url: &str, stream: &str) -> Vec<Event> {
    entries(url, stream).into_iter().map(read).collect()
}

pub fn read((_, mut fields): Entry) -> Event {
    let body = Bytes::from(fields.remove("data").expect("a body"));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let headers = fields.into_iter().map(|(name, value)| (name, text(value)));
    let headers: Vec<(String, String)> = headers.collect();
    let headers = headers.iter().map(|(name, value)| (&**name, &**value));
    wire::read(Binding::Fields, None, headers, body).expect("an event")
}

pub fn ids(events: &[Event]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

/// New events of some keys, one key after another.
pub fn keyed(count: usize, keys: usize) -> Vec<Event> {
    let event = |number: usize| {
        let event = Event::new("order.placed", format!("payload {number}"));
        event.ordering_key(format!("key {}", number % keys))
    };
    (0..count).map(event).collect()
}
