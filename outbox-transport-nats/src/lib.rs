#![doc = include_str!("../README.md")]

mod absence;
mod call;
mod check;
mod config;
mod connection;
mod connections;
mod error;
mod lookup;
mod read;
mod refusal;
mod servers;
mod subject;

pub use async_nats;
pub use config::NatsConfig;
pub use read::read;

use async_nats::jetstream::message::PublishMessage;
use async_nats::{HeaderMap, HeaderName, HeaderValue, Subject};
use async_trait::async_trait;
use call::Call;
use connections::Connections;
use outbox_core::wire::{Binding, Template, WireForm};
use outbox_core::{Event, OutboxError, PublishError, PublishErrorKind, Transport, TransportCheck};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const BACKEND: &str = "nats";
const OPEN: &str = "open";

/// Publishes events to the streams of NATS JetStream. Clones share the connection.
///
/// A call answers within the [call timeout](NatsConfig::call_timeout).
///
/// # Cancel safety
///
/// A dropped call may have published any of its events. They can be published again: a stream accepts an
/// event once within its duplicate window.
#[derive(Clone)]
pub struct NatsTransport(Arc<Inner>);

struct Inner {
    connections: Connections,
    subject: Template,
    form: WireForm,
    call_timeout: Duration,
    /// Events that a stream had already.
    duplicates: AtomicU64,
}

/// An event as a message, and its subject.
struct Prepared {
    subject: Subject,
    message: PublishMessage,
}

impl NatsTransport {
    /// Checks the configuration, and connects to nothing: the first call connects, so a program starts
    /// while its broker is away. Calls need the tokio runtime with its network and its timer.
    ///
    /// ```no_run
    /// # use outbox_transport_nats::{NatsConfig, NatsTransport};
    /// let transport = NatsTransport::open(NatsConfig::from_url("nats://broker.example")?)?;
    /// # Ok::<(), outbox_core::OutboxError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) for a constant subject that no message can have, a
    /// call timeout that is not 1 ns to a day, no server, or a scheme that cannot be used. The scheme
    /// `tls` needs the feature `tls-rustls-ring-native-roots`.
    pub fn open(config: impl Into<NatsConfig>) -> Result<Self, OutboxError> {
        let config = config.into();
        let subject = config.validate()?;
        let NatsConfig {
            options,
            servers,
            form,
            call_timeout,
            ..
        } = config;
        Ok(Self(Arc::new(Inner {
            connections: Connections::new(options, servers, call_timeout),
            subject,
            form,
            call_timeout,
            duplicates: AtomicU64::new(0),
        })))
    }
}

impl Inner {
    /// The message of an event. Errors name the destination.
    fn prepare(&self, event: &Event) -> Result<Prepared, PublishError> {
        let subject = self.subject.fill(event)?.into_owned();
        if let Some(problem) = subject::unusable(&subject) {
            let error = PublishError::new(PublishErrorKind::Misconfigured);
            let error = error.with_destination(subject::name(&subject));
            return Err(error.with_source(problem));
        }
        let message = self.message(event);
        let message = message.map_err(|error| error.with_destination(self.destination(event)))?;
        let subject = Subject::from(subject);
        Ok(Prepared { subject, message })
    }

    fn message(&self, event: &Event) -> Result<PublishMessage, PublishError> {
        let written = self.form.write(Binding::Nats, event)?;
        let mut headers = HeaderMap::new();
        let content_type = ("content-type".into(), written.content_type);
        for (name, value) in written.headers.into_iter().chain([content_type]) {
            let name: HeaderName = (*name).parse().map_err(permanent)?;
            let value: HeaderValue = (*value).parse().map_err(permanent)?;
            headers.insert(name, value);
        }
        let message = PublishMessage::build().payload(written.body);
        Ok(message.headers(headers).message_id(event.id.to_string()))
    }

    fn destination<'a>(&'a self, event: &'a Event) -> Cow<'a, str> {
        match self.subject.fill(event) {
            Ok(subject) if subject::unusable(&subject).is_some() => subject::name(&subject),
            _ => self.subject.destination(event),
        }
    }
}

fn permanent(source: impl std::error::Error + Send + Sync + 'static) -> PublishError {
    PublishError::new(PublishErrorKind::Permanent).with_source(source)
}

#[async_trait]
impl Transport for NatsTransport {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        Call::new(&self.0, events).run().await
    }

    /// The subject, in which `{key}` stays as it is. Events whose subject cannot be used have another
    /// destination, so that they delay no others.
    fn destination<'a>(&'a self, event: &'a Event) -> Option<Cow<'a, str>> {
        Some(self.0.destination(event))
    }

    fn duplicates(&self) -> u64 {
        self.0.duplicates.load(Ordering::Relaxed)
    }

    async fn check(&self) -> TransportCheck {
        check::check(&self.0).await
    }
}

impl fmt::Debug for NatsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsTransport")
            .field("subject", &self.0.subject)
            .field("form", &self.0.form)
            .field("call_timeout", &self.0.call_timeout)
            .finish_non_exhaustive()
    }
}
