//! NATS JetStream, read back by its own client.

use super::{Broker, CALL, Process};
use async_trait::async_trait;
use futures_util::StreamExt;
use outbox_core::{Event, Transport};
use outbox_transport_nats::async_nats::jetstream::consumer::AckPolicy;
use outbox_transport_nats::async_nats::jetstream::consumer::pull;
use outbox_transport_nats::async_nats::jetstream::{self, Context, stream};
use outbox_transport_nats::{NatsConfig, NatsTransport, async_nats, read};
use std::sync::Arc;
use test_servers::{Kind, Server, search_path};

/// NATS with a stream. Messages have at most 1 MiB, as by default.
#[derive(Debug)]
pub struct Nats(Server);

const STREAM: &str = "ORDERS";

impl Nats {
    async fn context(&self) -> Context {
        let client = async_nats::connect(self.0.url()).await.expect("connected");
        jetstream::new(client)
    }
}

#[async_trait]
impl Broker for Nats {
    const REFUSAL: &'static str = "1048576";

    async fn start() -> Self {
        Self(Server::start(Kind::Nats, &search_path()).expect("a server"))
    }

    async fn create(&self) {
        let stream = stream::Config {
            name: STREAM.to_owned(),
            subjects: vec!["outbox.>".to_owned()],
            ..stream::Config::default()
        };
        let created = self.context().await.create_stream(stream).await;
        created.expect("created");
    }

    fn transport(&self) -> Arc<dyn Transport> {
        let config = NatsConfig::from_url(self.0.url()).expect("a URL");
        Arc::new(NatsTransport::open(config.call_timeout(CALL)).expect("opened"))
    }

    fn server(&mut self) -> &mut dyn Process {
        &mut self.0
    }

    async fn received(&self) -> Vec<Event> {
        let context = self.context().await;
        let mut stream = context.get_stream(STREAM).await.expect("a stream");
        let total = stream.info().await.expect("read").state.messages;
        let consumer = pull::Config {
            ack_policy: AckPolicy::None,
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(consumer).await.expect("created");
        let messages = consumer.messages().await.expect("subscribed");
        let total = usize::try_from(total).expect("a small number");
        let messages = messages.take(total);
        messages
            .map(|message| read(&message.expect("read")).expect("an event"))
            .collect()
            .await
    }
}
