//! Redis Streams, read back by its own client.

use super::{Broker, CALL, Process};
use async_trait::async_trait;
use outbox_core::{Event, Transport};
use outbox_transport_redis::redis::{self, FromRedisValue};
use outbox_transport_redis::{RedisTransport, RedisTransportConfig, read};
use std::collections::BTreeMap;
use std::sync::Arc;
use test_servers::{Server, search_path};

/// Redis with a stream, which keeps what it has accepted. A value has at most 1 MiB.
#[derive(Debug)]
pub struct Stream(Server);

const STREAM: &str = "orders";

/// An id, and the fields.
type Entry = (String, BTreeMap<String, Vec<u8>>);

impl Stream {
    async fn ask<T: FromRedisValue>(&self, command: &[&str]) -> T {
        let client = redis::Client::open(self.0.url()).expect("a URL");
        let connected = client.get_multiplexed_async_connection().await;
        let mut connection = connected.expect("connected");
        let mut request = redis::cmd(command[0]);
        request.arg(&command[1..]);
        request
            .query_async(&mut connection)
            .await
            .expect("an answer")
    }
}

#[async_trait]
impl Broker for Stream {
    const REFUSAL: &'static str = "1048576";

    async fn start() -> Self {
        let settings = ["--appendonly", "yes", "--appendfsync", "always"];
        let limit = ["--proto-max-bulk-len", "1048576"];
        let settings = [&settings[..], &limit[..]].concat();
        Self(Server::start_redis(&search_path(), None, &settings).expect("a server"))
    }

    async fn create(&self) {
        self.ask::<()>(&["XGROUP", "CREATE", STREAM, "readers", "0", "MKSTREAM"])
            .await;
    }

    fn transport(&self) -> Arc<dyn Transport> {
        let config = RedisTransportConfig::from_url(self.0.url()).expect("a URL");
        let config = config
            .stream(STREAM.parse().expect("a template"))
            .create(false)
            .largest_event(1 << 20)
            .call_timeout(CALL);
        Arc::new(RedisTransport::open(config).expect("opened"))
    }

    fn server(&mut self) -> &mut dyn Process {
        &mut self.0
    }

    async fn received(&self) -> Vec<Event> {
        let (mut events, mut from) = (Vec::new(), "-".to_owned());
        loop {
            let page = ["XRANGE", STREAM, &from, "+", "COUNT", "1000"];
            let entries: Vec<Entry> = self.ask(&page).await;
            let Some((last, _)) = entries.last() else {
                return events;
            };
            from = format!("({last}");
            let page = entries.into_iter().map(|(_, fields)| read(fields));
            events.extend(page.map(|event| event.expect("an event")));
        }
    }
}
