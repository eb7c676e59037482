//! A stream of NATS.

use super::{NAME, PATIENCE, Remote, failed, foreign};
use crate::failure::Failure;
use async_trait::async_trait;
use futures_util::StreamExt;
use outbox_core::Event;
use outbox_core::wire::{self, Binding};
use outbox_transport_nats::async_nats::jetstream::consumer::pull::OrderedConfig;
use outbox_transport_nats::async_nats::jetstream::stream::{Config, Stream};
use outbox_transport_nats::async_nats::jetstream::{self, Context};
use outbox_transport_nats::async_nats::{ConnectOptions, HeaderMap, ServerAddr};
use percent_encoding::percent_decode_str;
use tokio::time::timeout;

/// Marks a stream as the demo's, so that no other one is ever deleted.
const MARK: &str = "Created by outbox demo. Each run deletes this stream and creates it again.";

pub(super) struct Place(Stream);

impl Place {
    pub(super) async fn afresh(url: &str) -> Result<Self, Failure> {
        let context = connect(url).await?;
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

async fn connect(url: &str) -> Result<Context, Failure> {
    let (scheme, place) = url.split_once("://").unwrap_or_default();
    let (login, hosts) = place.rsplit_once('@').unwrap_or(("", place));
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let options = match login.split_once(':') {
        Some((user, password)) => {
            ConnectOptions::with_user_and_password(decoded(user), decoded(password))
        }
        None if login.is_empty() => ConnectOptions::new(),
        None => ConnectOptions::with_token(decoded(login)),
    };
    let hosts = hosts.trim_end_matches('/').split(',');
    let servers = hosts.map(|host| format!("{scheme}://{host}").parse());
    let servers: Vec<ServerAddr> = servers.collect::<Result<_, _>>().map_err(failed)?;
    Ok(jetstream::new(
        options.connect(servers).await.map_err(failed)?,
    ))
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
            let message = message.map_err(failed)?.message;
            let headers = message.headers.unwrap_or_default();
            let headers = texts(&headers);
            events.push(wire::read(
                Binding::Nats,
                None,
                headers.iter().copied(),
                message.payload,
            )?);
        }
        Ok(events)
    }
}

fn texts(headers: &HeaderMap) -> Vec<(&str, &str)> {
    let all = headers.iter();
    all.flat_map(|(name, values)| {
        values
            .iter()
            .map(move |value| (name.as_ref(), value.as_str()))
    })
    .collect()
}
