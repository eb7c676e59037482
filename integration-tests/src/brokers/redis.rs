//! Redis Streams, read back by its own client.

use super::{Broker, CALL};
use async_trait::async_trait;
use outbox_core::wire::{self, Binding};
use outbox_core::{Event, Transport};
use outbox_transport_redis::redis::streams::StreamRangeReply;
use outbox_transport_redis::redis::{self, AsyncCommands, from_redis_value_ref};
use outbox_transport_redis::{RedisTransport, RedisTransportConfig};
use std::sync::Arc;
use test_servers::{Server, search_path};

/// Redis with a stream, which keeps what it has accepted. A value has at most 1 MiB.
#[derive(Debug)]
pub struct Stream(Server);

const STREAM: &str = "orders";

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
        let client = redis::Client::open(self.0.url()).expect("a URL");
        let mut connection = client
            .get_multiplexed_async_connection()
            .await
            .expect("connected");
        let created: redis::RedisResult<()> = connection
            .xgroup_create_mkstream(STREAM, "readers", "0")
            .await;
        created.expect("created");
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

    fn server(&mut self) -> &mut Server {
        &mut self.0
    }

    async fn received(&self) -> Vec<Event> {
        let client = redis::Client::open(self.0.url()).expect("a URL");
        let mut connection = client
            .get_multiplexed_async_connection()
            .await
            .expect("connected");
        let reply: StreamRangeReply = connection.xrange_all(STREAM).await.expect("read");
        let entries = reply.ids.into_iter();
        entries
            .map(|entry| {
                let bytes = |value| from_redis_value_ref::<Vec<u8>>(value).expect("bytes");
                let (body, headers): (Vec<_>, Vec<_>) =
                    entry.map.iter().partition(|(name, _)| *name == "data");
                let headers: Vec<(&str, String)> = headers
                    .into_iter()
                    .map(|(name, value)| {
                        let value = String::from_utf8(bytes(value)).expect("UTF-8");
                        (&**name, value)
                    })
                    .collect();
                let headers = headers.iter().map(|(name, value)| (*name, &**value));
                let body = bytes(body[0].1).into();
                wire::read(Binding::Fields, None, headers, body).expect("an event")
            })
            .collect()
    }
}
