//! The broker, as the worker sees it.

use crate::object::Event;
use async_trait::async_trait;
use std::error::Error;
use std::fmt::{self, Debug};
use std::time::Duration;

/// Publishes events to a broker.
///
/// - **T1** One result per event, in the order of `events` (`every_event_is_answered_in_order`,
///   `an_empty_call_is_answered_empty`, `a_too_large_event_is_permanent_and_its_neighbours_arrive`).
/// - **T2** `Ok` only when the broker has taken responsibility
///   (`what_is_answered_ok_is_at_the_broker`), also among calls at once (`concurrent_calls_all_arrive`).
/// - **T3** Id, type, key, headers, content type and payload arrive unchanged
///   (`an_event_arrives_unchanged`).
/// - **T4** A broker that is away answers `Unavailable`, never `Rejected`, and on its return
///   everything arrives (`an_outage_is_unavailable_and_ends`).
/// - **T5** What is published after another call's answer arrives after it
///   (`calls_one_after_another_keep_their_order`).
/// - **T6** An event that is too large is `Permanent`, and those around it arrive
///   (`a_too_large_event_is_permanent_and_its_neighbours_arrive`).
///
/// - **T7** A transport that [keeps order](Self::keeps_order) takes the events of a key in the order of
///   the call (`events_of_one_key_in_a_call_keep_their_order`), and none behind an event of its key
///   that it does not take (`nothing_is_taken_behind_an_event_of_its_key_that_is_not`).
///
/// The worker keeps order per key by itself: one call never holds two events of one ordering key,
/// so an adapter may send the events of a call all at once. An adapter that keeps order may be given
/// many events of a key in a call. Each call is bounded by the worker's
/// publish timeout; a panic costs one failed attempt of the event that causes it.
///
/// # Cancel safety
///
/// The future is dropped at the timeout. Events whose fate is unknown then are published again.
#[async_trait]
pub trait Transport: Send + Sync + Debug {
    /// Publishes `events`; answers for each.
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>>;

    /// Whether a call may hold several events of one ordering key, in their order (T7).
    ///
    /// What such a transport answers for an event behind one of its key that it did not take may be
    /// any error: the worker releases that event, uncharged. Default: no, so a key with many events
    /// takes one call for each.
    fn keeps_order(&self) -> bool {
        false
    }
}

/// Whose fault a failed publish is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PublishErrorKind {
    /// The broker refused this event. Counted; retried with backoff.
    Rejected,
    /// This event can never succeed (too large, no such topic). Quarantined at once.
    Permanent,
    /// The broker cannot be reached or took too long. Never counted; the worker pauses.
    Unavailable,
    /// The broker asks for patience. Never counted; the worker pauses for that long.
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

    /// Keeps the cause. Its text reaches the operator as the reason of a dead letter.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Whose fault it is.
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
