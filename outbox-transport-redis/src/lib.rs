#![doc = include_str!("../README.md")]

mod check;
mod config;
mod entry;
mod limits;
mod read;
mod reply;
mod sending;

use async_trait::async_trait;
use config::Wait;
use entry::Adding;
use futures_util::future::join_all;
use limits::Limits;
use outbox_core::wire::{Template, WireForm};
use outbox_core::{Event, OutboxError, PublishError, Transport, TransportCheck};
use outbox_driver_redis::SharedConnection;
use sending::{Answer, PUBLISH, Sending};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::Instant;

pub use config::{RedisTransportConfig, Trim};
pub use outbox_driver_redis::{Server, redis};
pub use read::read;

/// Publishes events to streams of Redis. Clones share the connection.
///
/// It [keeps order](Transport::keeps_order). A call is answered within the call timeout.
///
/// # Cancel safety
///
/// If the future of a call is dropped, each transaction of up to 500 events was applied whole or not at
/// all, and nothing is sent behind it. The next call then opens a new connection.
#[derive(Clone, Debug)]
pub struct RedisTransport {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    connection: SharedConnection,
    is_cluster: bool,
    stream: Template,
    form: WireForm,
    adding: Adding,
    wait: Option<Wait>,
    largest: Option<usize>,
    call_timeout: Duration,
    /// Set once the server has accepted a transaction of this user.
    permitted: OnceCell<()>,
}

impl RedisTransport {
    /// Checks the config. Connects to nothing, so that a relay can start while Redis is away.
    ///
    /// ```
    /// # use outbox_transport_redis::{RedisTransport, RedisTransportConfig};
    /// let transport = RedisTransport::open(RedisTransportConfig::from_url("redis://broker.example/")?)?;
    /// # Ok::<(), outbox_core::OutboxError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) for a value of the config that is not allowed.
    pub fn open(config: impl Into<RedisTransportConfig>) -> Result<Self, OutboxError> {
        let config = config.into();
        let stream = config.validate()?;
        let inner = Inner {
            is_cluster: config.server.is_cluster(),
            connection: SharedConnection::new(config.server),
            stream,
            form: config.form,
            adding: Adding {
                is_created: config.is_created,
                trim: config.trim,
            },
            wait: config.wait,
            largest: config.largest,
            call_timeout: config.call_timeout,
            permitted: OnceCell::new(),
        };
        let inner = Arc::new(inner);
        Ok(Self { inner })
    }
}

impl Inner {
    async fn publish(&self, events: &[Event]) -> Vec<Answer> {
        let deadline = Instant::now() + self.call_timeout;
        let mut answers = vec![Ok(()); events.len()];
        let mut streams = Vec::<(Cow<'_, str>, Vec<(usize, &Event)>)>::new();
        let mut numbers = HashMap::new();
        for (place, event) in events.iter().enumerate() {
            match self.stream.fill(event) {
                Ok(stream) => {
                    let number = *numbers.entry(stream.clone()).or_insert(streams.len());
                    if number == streams.len() {
                        streams.push((stream, Vec::new()));
                    }
                    streams[number].1.push((place, event));
                }
                Err(error) => answers[place] = Err(error),
            }
        }
        let sendings = streams.iter();
        let sendings = sendings.map(|(stream, events)| self.send(stream, events, deadline));
        for (place, answer) in join_all(sendings).await.into_iter().flatten() {
            answers[place] = answer;
        }
        answers
    }

    /// Sends events of one stream, each with its place in the call.
    async fn send(
        &self,
        stream: &str,
        events: &[(usize, &Event)],
        deadline: Instant,
    ) -> Vec<(usize, Answer)> {
        let Some((_, first)) = events.first() else {
            return Vec::new();
        };
        let destination = self.stream.destination(first);
        let sending = Sending::new(self, stream, &destination, deadline);
        sending.run(events).await
    }

    /// Without the right to `MULTI` or `EXEC`, Redis would add the entries one by one and then refuse the
    /// call, each time it is repeated. So an empty transaction comes first.
    async fn permitted(&self) -> Result<(), OutboxError> {
        let permitted = self.permitted.get_or_try_init(|| {
            let pipeline = entry::transaction(Vec::new(), None);
            async move {
                let read = |replies| reply::outcome(replies, 0, None);
                let outcome = self.connection.pipeline(PUBLISH, &pipeline, read).await;
                outcome.map(drop)
            }
        });
        permitted.await.copied()
    }

    async fn limits(&self) -> Result<Limits, OutboxError> {
        Limits::read(&self.connection, PUBLISH, self.largest).await
    }
}

#[async_trait]
impl Transport for RedisTransport {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        self.inner.publish(events).await
    }

    fn keeps_order(&self) -> bool {
        true
    }

    fn destination<'a>(&'a self, event: &'a Event) -> Option<Cow<'a, str>> {
        Some(self.inner.stream.destination(event))
    }

    async fn check(&self) -> TransportCheck {
        self.inner.check().await
    }
}
