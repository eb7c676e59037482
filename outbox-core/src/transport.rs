//! The contract between a broker's adapter and the worker.

use crate::object::Event;
use async_trait::async_trait;
use std::error::Error;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

/// Publishes events to a broker.
///
/// - **T1** A call answers each event once, in the order of `events`.
/// - **T2** An event is answered `Ok` only when the broker has accepted responsibility for it, also
///   among concurrent calls.
/// - **T3** Id, type, key, content type, payload, `created_at` and headers arrive unchanged, also line
///   breaks in header values.
/// - **T4** While the broker is away, events are answered `Unavailable` and never `Rejected`. When it
///   returns, they can be published through the same transport.
/// - **T5** An event that is published after another call was answered arrives after the events of
///   that call.
/// - **T6** An event that is too large is `Permanent`, and the other events of its call arrive.
/// - **T7** A transport that [keeps order](Self::keeps_order) publishes the events of a key in the
///   order of the call, and no event after one of its key that was not accepted.
///
/// The worker itself keeps the order of each key: a call has at most one event of a key, so an adapter
/// may send all events of a call concurrently. An adapter that keeps order may get several events of
/// a key in a call. Each call is bounded by the worker's publish timeout. A panic counts as one failed
/// attempt of the event that causes it.
///
/// # Cancel safety
///
/// The future is dropped at the timeout. Events without an answer are published again.
///
/// # Example
///
/// ```
/// # use outbox_core::{Event, PublishError, PublishErrorKind, Transport};
/// #[derive(Debug)]
/// struct Stdout;
///
/// #[async_trait::async_trait]
/// impl Transport for Stdout {
///     async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
///         let print = |event: &Event| {
///             let text = std::str::from_utf8(&event.payload).map_err(|error| {
///                 PublishError::new(PublishErrorKind::Permanent).with_source(error)
///             })?;
///             println!("{} {text}", event.event_type);
///             Ok(())
///         };
///         events.iter().map(print).collect()
///     }
/// }
/// ```
#[async_trait]
pub trait Transport: Send + Sync + Debug {
    /// Publishes `events` and answers for each of them.
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>>;

    /// Whether a call may have several events of one ordering key, in their order (T7).
    ///
    /// After an event that was not accepted, the answer for a later event of its key may be any
    /// error: the worker releases that event without counting an attempt. The provided form is
    /// `false`, so a key with many events takes one call for each.
    fn keeps_order(&self) -> bool {
        false
    }
}

#[async_trait]
impl<T: Transport + ?Sized> Transport for Arc<T> {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        (**self).publish(events).await
    }

    fn keeps_order(&self) -> bool {
        (**self).keeps_order()
    }
}

/// Whether the event or the broker caused a failed publish.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PublishErrorKind {
    /// The broker refused this event. The attempt is counted; the event is retried with backoff.
    Rejected,
    /// This event can never succeed (too large, no such topic). It is quarantined at once.
    Permanent,
    /// The broker cannot be reached or took too long. No attempt is counted; the worker pauses.
    Unavailable,
    /// The broker asks the worker to wait. No attempt is counted; the worker pauses for this time,
    /// at most a day.
    Throttled(Duration),
}

/// Why an event was not published.
#[derive(Debug, thiserror::Error)]
pub struct PublishError {
    kind: PublishErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl PublishError {
    /// An error of `kind`.
    #[must_use]
    pub fn new(kind: PublishErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// Keeps the cause. Operators see its text as the reason of a dead letter.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Whether the event or the broker caused it.
    #[must_use]
    pub fn kind(&self) -> PublishErrorKind {
        self.kind
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            PublishErrorKind::Rejected => f.write_str("rejected"),
            PublishErrorKind::Permanent => f.write_str("can never be published"),
            PublishErrorKind::Unavailable => f.write_str("broker unavailable"),
            PublishErrorKind::Throttled(after) => write!(f, "broker asks to wait {after:?}"),
        }
    }
}
