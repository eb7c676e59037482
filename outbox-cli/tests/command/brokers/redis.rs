//! Redis Streams.

use super::{PASSWORD, Place, shared, unique};
use outbox_core::Event;
use outbox_core::wire::{self, Binding};
use outbox_transport_redis::redis::{Client, cmd};
use test_servers::{Kind, Server, search_path};

/// A stream.
struct Stream {
    server: String,
    name: String,
}

/// An entry: its id, and its fields with their values.
type Entry = (String, Vec<(String, Vec<u8>)>);

impl Stream {
    fn on(server: &str) -> Self {
        let (server, name) = (server.to_owned(), unique());
        Self { server, name }
    }

    fn ask<T: outbox_transport_redis::redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let client = Client::open(&*self.server).unwrap();
        let mut connection = client.get_connection().unwrap();
        cmd(command[0])
            .arg(&command[1..])
            .query(&mut connection)
            .unwrap()
    }
}

impl Place for Stream {
    fn url(&self) -> String {
        format!(
            "{}?stream={}&create=false&maxlen=1000",
            self.server, self.name
        )
    }

    fn create(&self) {
        let create = ["XGROUP", "CREATE", &self.name, "readers", "$", "MKSTREAM"];
        self.ask::<String>(&create);
    }

    fn arrived(&self) -> Vec<Event> {
        let entries: Vec<Entry> = self.ask(&["XRANGE", &self.name, "-", "+"]);
        let event = |(_, fields): Entry| {
            let (body, headers): (Vec<_>, Vec<_>) =
                fields.into_iter().partition(|(name, _)| name == "data");
            let headers = headers
                .iter()
                .map(|(name, value)| (&**name, std::str::from_utf8(value).unwrap()));
            let body = body[0].1.clone().into();
            wire::read(Binding::Fields, None, headers, body).unwrap()
        };
        entries.into_iter().map(event).collect()
    }
}

fn start(settings: &[&str]) -> Server {
    Server::start_redis(&search_path(), None, settings).expect("started")
}

#[test]
fn events_arrive_at_a_stream_and_a_missing_stream_is_named() {
    super::takes_the_events_of_both_stores(&Stream::on(&shared(Kind::Redis)));
}

#[test]
fn a_relay_waits_for_a_server_that_is_away() {
    let server = start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let stream = Stream::on(server.url());
    super::waits_for(server, &stream);
}

#[test]
fn a_wrong_password_is_a_problem() {
    let server = start(&["--requirepass", "secret"]);
    let host = server.url().trim_start_matches("redis://");
    let to = format!("redis://:{PASSWORD}@{host}?timeout=2s");
    super::is_not_ready(&to, "misconfigured", "WRONGPASS");
}

#[test]
fn the_demo_uses_its_own_stream_also_in_a_cluster() {
    let cluster = shared(Kind::RedisCluster).replace("redis:", "redis+cluster:");
    super::the_demo_runs_at(&cluster);
    let server = start(&[]);
    super::the_demo_runs_at(server.url());
    let mut stream = Stream::on(server.url());
    stream.name = "outbox_demo".to_owned();
    stream.ask::<i64>(&["DEL", &stream.name]);
    stream.ask::<String>(&["XADD", &stream.name, "*", "theirs", "1"]);
    super::the_demo_refuses(server.url());
    stream.ask::<String>(&["SET", &stream.name, "theirs"]);
    super::the_demo_refuses(server.url());
}
