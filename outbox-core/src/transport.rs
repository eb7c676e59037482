//! The contract between a broker's adapter and the worker.

use crate::error::OutboxError;
use crate::object::Event;
use crate::retry::RetrySchedule;
use async_trait::async_trait;
use std::borrow::Cow;
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
/// - **T8** While a destination is missing, wrong or forbidden, its events are answered
///   [`Misconfigured`](PublishErrorKind::Misconfigured) and never `Permanent`, and
///   [`check`](Self::check) names one that is missing. After its repair they can be published through
///   the same transport.
/// - **T9** A call answers within a time that the adapter states, also while the broker takes nothing
///   or answers nothing.
/// - **T10** An event whose answer does not come is `Unavailable`, and is accepted when it is published
///   again. An event that the broker already has is `Ok`.
/// - **T11** An error is the answer to the events that caused it. Others that are in flight, also those
///   of a channel that the broker closes, are `Ok` or `Unavailable`.
/// - **T12** A call that is dropped leaves the transport working. An answer that comes for it later is
///   not the answer to another call.
/// - **T13** While a destination is full, its events are answered
///   [`Throttled`](PublishErrorKind::Throttled). When it has room, they can be published through the
///   same transport.
/// - **T14** A call with 1,000 events, or with 16 MiB of payloads, is published.
///
/// The worker itself keeps the order of each key: a call has at most one event of a key, so an adapter
/// may send all events of a call concurrently. An adapter that keeps order may get several events of
/// a key in a call. All events of a call have the same [destination](Self::destination), and the
/// worker makes several calls at the same time. Each call is bounded by the worker's publish timeout.
/// A panic counts as one failed attempt of the event that causes it.
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

    /// The name of the destination of `event` at the broker, such as a topic, an exchange or a URL.
    ///
    /// A destination that hangs or fails then delays only its own events: each call has the events of
    /// one destination, and a destination that pauses gets none. The errors of the adapter
    /// [give](PublishError::with_destination) the same name: the worker takes each error that has a
    /// name to be about this destination.
    ///
    /// The provided form is `None`. Then the worker knows the destination of an event only after an
    /// error has named it, and sends new events also while their destination pauses.
    fn destination<'a>(&'a self, event: &'a Event) -> Option<Cow<'a, str>> {
        let _ = event;
        None
    }

    /// How many events a broker has answered `Ok` because it had them already, since this transport was made.
    ///
    /// A relay that has an [observer](crate::Observer) asks from time to time. The provided form is 0: brokers
    /// that say nothing of duplicates count none.
    fn duplicates(&self) -> u64 {
        0
    }

    /// Asks the broker, without publishing, whether events could be published: whether it can be
    /// reached, accepts the credentials, and has the destinations.
    ///
    /// The provided form finds nothing.
    ///
    /// # Cancel safety
    ///
    /// It changes nothing, so it may be dropped at any time.
    async fn check(&self) -> TransportCheck {
        TransportCheck::default()
    }
}

/// Checks the call timeout of an adapter, for its constructor.
///
/// ```
/// # use outbox_core::check_call_timeout;
/// # use std::time::Duration;
/// let error = check_call_timeout("nats", Duration::ZERO).unwrap_err();
/// assert!(error.to_string().contains("call timeout is 0ns, but must be more than 0 s"));
/// ```
///
/// # Errors
///
/// [`Invalid`](crate::ErrorKind::Invalid) if it is 0, so that no call could succeed, or longer than a day.
pub fn check_call_timeout(backend: &'static str, timeout: Duration) -> Result<(), OutboxError> {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    if !timeout.is_zero() && timeout <= DAY {
        return Ok(());
    }
    let problem =
        format!("call timeout is {timeout:?}, but must be more than 0 s and at most a day");
    Err(OutboxError::invalid(backend, "open", problem))
}

/// How long an adapter waits before it connects again, after that many failed attempts in a row: 50 ms
/// after the first, twice as long after each further one, and at most a second, so that publishing
/// continues within a second of an outage. Half of it is random, so that many relays do not connect at
/// the same time.
///
/// ```
/// # use outbox_core::reconnect_pause;
/// # use std::time::Duration;
/// let ms = Duration::from_millis;
/// assert!((ms(25)..=ms(50)).contains(&reconnect_pause(1)));
/// assert!((ms(500)..=ms(1000)).contains(&reconnect_pause(100)));
/// ```
#[must_use]
pub fn reconnect_pause(failures: u32) -> Duration {
    const SCHEDULE: RetrySchedule = RetrySchedule {
        initial: Duration::from_millis(50),
        max: Duration::from_secs(1),
    };
    SCHEDULE.random_pause(failures, false)
}

/// What [`Transport::check`] found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TransportCheck {
    /// Facts for a person, such as the largest message that the broker accepts.
    pub notes: Vec<String>,
    /// What may lose or repeat events that the broker has accepted, such as a stream in memory.
    pub warnings: Vec<String>,
    /// Why events cannot be published. Empty if nothing is wrong.
    pub problems: Vec<PublishError>,
    /// For how long the broker recognises an event that is published again, if it does so for a limited time.
    /// It should be longer than the longest delay of a retry.
    pub duplicate_window: Option<Duration>,
}

impl TransportCheck {
    /// Adds a fact.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Adds what may lose or repeat events.
    #[must_use]
    pub fn warning(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }

    /// Sets for how long the broker recognises an event that is published again.
    #[must_use]
    pub fn duplicate_window(mut self, window: Duration) -> Self {
        self.duplicate_window = Some(window);
        self
    }

    /// Adds a reason why events cannot be published.
    #[must_use]
    pub fn problem(mut self, problem: PublishError) -> Self {
        self.problems.push(problem);
        self
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

    fn destination<'a>(&'a self, event: &'a Event) -> Option<Cow<'a, str>> {
        (**self).destination(event)
    }

    fn duplicates(&self) -> u64 {
        (**self).duplicates()
    }

    async fn check(&self) -> TransportCheck {
        (**self).check().await
    }
}

/// Whether the event, the broker or its configuration caused a failed publish.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PublishErrorKind {
    /// The broker refused this event. The attempt is counted; the event is retried with backoff.
    Rejected,
    /// This event can never succeed: it is too large, or cannot be encoded. It is quarantined at once.
    Permanent,
    /// The destination is missing or wrong, or this program may not use it: no such topic, unroutable,
    /// wrong credentials or certificate. A person must repair it. No attempt is counted, nothing is
    /// quarantined; the worker tries again after the longest pause between two probes.
    Misconfigured,
    /// The broker cannot be reached or took too long. No attempt is counted; the worker pauses.
    Unavailable,
    /// The broker asks the worker to wait. No attempt is counted; the worker pauses for this time,
    /// at most a day.
    Throttled(Duration),
}

impl PublishErrorKind {
    /// The name for a person and for programs: `rejected`, `permanent`, `misconfigured`, `unavailable`
    /// or `throttled`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Permanent => "permanent",
            Self::Misconfigured => "misconfigured",
            Self::Unavailable => "unavailable",
            Self::Throttled(_) => "throttled",
        }
    }
}

/// Why an event was not published.
///
/// An error that names its [destination](Self::with_destination) is about that destination only:
/// events of other destinations are published. Without a name it is about the whole broker.
#[derive(Clone, Debug)]
pub struct PublishError {
    kind: PublishErrorKind,
    destination: Option<Arc<str>>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl PublishError {
    /// An error of `kind`.
    #[must_use]
    pub fn new(kind: PublishErrorKind) -> Self {
        Self {
            kind,
            destination: None,
            source: None,
        }
    }

    /// Names the destination that the error is about, as [`Transport::destination`] does if it names
    /// one.
    #[must_use]
    pub fn with_destination(mut self, destination: impl Into<Arc<str>>) -> Self {
        self.destination = Some(destination.into());
        self
    }

    /// Keeps the cause. Operators see its text as the reason of a dead letter.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// Whether the event, the broker or its configuration caused it.
    #[must_use]
    pub fn kind(&self) -> PublishErrorKind {
        self.kind
    }

    /// The destination that it is about; `None` for the whole broker.
    #[must_use]
    pub fn destination(&self) -> Option<&str> {
        self.destination.as_deref()
    }

    /// The answer for a call with `count` events of which none was published.
    ///
    /// ```
    /// # use outbox_core::{PublishError, PublishErrorKind};
    /// let error = PublishError::new(PublishErrorKind::Unavailable).with_source("connection refused");
    /// let answers = error.for_all(3);
    /// assert_eq!(answers.len(), 3);
    /// ```
    #[must_use]
    pub fn for_all(self, count: usize) -> Vec<Result<(), Self>> {
        vec![Err(self); count]
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(destination) = &self.destination {
            write!(f, "destination {destination}: ")?;
        }
        match (self.kind, &self.destination) {
            (PublishErrorKind::Rejected, _) => f.write_str("rejected"),
            (PublishErrorKind::Permanent, _) => f.write_str("can never be published"),
            (PublishErrorKind::Misconfigured, _) => f.write_str("misconfigured"),
            (PublishErrorKind::Unavailable, None) => f.write_str("broker unavailable"),
            (PublishErrorKind::Unavailable, Some(_)) => f.write_str("unavailable"),
            (PublishErrorKind::Throttled(after), None) => {
                write!(f, "broker asks to wait {after:?}")
            }
            (PublishErrorKind::Throttled(after), Some(_)) => write!(f, "asks to wait {after:?}"),
        }
    }
}

impl Error for PublishError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}
