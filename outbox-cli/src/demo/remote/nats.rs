//! A stream of NATS.

use super::{NAME, PATIENCE, Remote, failed, foreign};
use crate::failure::Failure;
use async_trait::async_trait;
use futures_util::StreamExt;
use outbox_core::Event;
use outbox_transport_nats::NatsConfig;
use outbox_transport_nats::async_nats::jetstream;
use outbox_transport_nats::async_nats::jetstream::consumer::pull::OrderedConfig;
use outbox_transport_nats::async_nats::jetstream::stream::{Config, Stream};
use tokio::time::timeout;

/// Marks a stream as the demo's, so that no other one is ever deleted.
const MARK: &str = "Created by outbox demo. Each run deletes this stream and creates it again.";

pub(super) struct Place(Stream);

impl Place {
    pub(super) async fn afresh(url: &str) -> Result<Self, Failure> {
        let (options, servers) = NatsConfig::from_url(url)?.into_driver();
        let client = options.connect(servers).await.map_err(failed)?;
        let context = jetstream::new(client);
        if let Ok(stream) = context.get_stream(NAME).await {
            if stream.cached_info().config.description.as_deref() != Some(MARK) {
                return Err(foreign("stream"));
            }
            context.delete_stream(NAME).await.map_err(failed)?;
        }
        let config = Config {
            name: NAME.to_owned(),
            subjects: vec![format!("{NAME}.>")],
            description: Some(MARK.to_owned()),
            ..Config::default()
        };
        Ok(Self(context.create_stream(config).await.map_err(failed)?))
    }
}

#[async_trait]
impl Remote for Place {
    fn name(&self) -> String {
        format!("the stream {NAME:?}")
    }

    fn parameters(&self) -> &'static str {
        "subject=outbox_demo.%7Btype%7D"
    }

    async fn read(&mut self) -> Result<Vec<Event>, Failure> {
        let count = self.0.info().await.map_err(failed)?.state.messages;
        let consumer = self.0.create_consumer(OrderedConfig::default()).await;
        let messages = consumer.map_err(failed)?.messages().await;
        let mut messages = messages.map_err(failed)?;
        let mut events = Vec::new();
        for _ in 0..count {
            let message = timeout(PATIENCE, messages.next()).await.map_err(failed)?;
            let message = message.ok_or_else(|| failed("the consumer has ended"))?;
            let message = message.map_err(failed)?;
            events.push(outbox_transport_nats::read(&message)?);
        }
        Ok(events)
    }
}
