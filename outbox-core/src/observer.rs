//! What a program sees of a relay while it runs.

use crate::dlq::model::HeapSize;
use crate::error::{ErrorKind, OutboxError};
use crate::processor::PassReport;
use crate::storage::Backlog;
use crate::transport::PublishErrorKind;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// An observer that takes longer for one observation is warned of.
const SLOW: Duration = Duration::from_millis(100);

/// Sees what a relay does, for metrics, health checks and tests.
///
/// A relay calls it from its own task, once for each settled part of a claim and each change of state,
/// and never once per event. It holds no lock meanwhile, so an observer may call
/// [`Pauses::list`](crate::Pauses::list).
///
/// Delivery waits while an observer runs. It should return within microseconds: count, store, or send to a channel
/// that does not wait. The relay logs a warning if a call takes longer than 100 ms. A panic of an observer
/// is caught and logged, its other calls follow, and no event is lost or delivered twice by it. What
/// the relay does not survive is an observer that never returns, and a program that is
/// compiled with `panic = "abort"`.
///
/// ```
/// # use outbox_core::{Observation, Observer, OutboxStorage, Relay, Transport};
/// # use std::sync::Arc;
/// # use std::sync::atomic::{AtomicUsize, Ordering};
/// #[derive(Default)]
/// struct Published(AtomicUsize);
///
/// impl Observer for Published {
///     fn observe(&self, observation: &Observation<'_>) {
///         if let Observation::Published { delays, .. } = observation {
///             self.0.fetch_add(delays.len(), Ordering::Relaxed);
///         }
///     }
/// }
///
/// fn relay(store: impl OutboxStorage + 'static, broker: impl Transport + 'static) -> Relay {
///     let published = Arc::new(Published::default());
///     Relay::new(store, broker).observer(Arc::clone(&published))
/// }
/// ```
pub trait Observer: Send + Sync {
    /// Is called with what has just happened.
    fn observe(&self, observation: &Observation<'_>);
}

impl<T: Observer + ?Sized> Observer for Arc<T> {
    fn observe(&self, observation: &Observation<'_>) {
        (**self).observe(observation);
    }
}

/// What has just happened. Match with a `_` arm: later versions have more.
///
/// A `destination` is `None` if the transport does not name destinations, and for the whole broker.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Observation<'a> {
    /// The broker accepted events of one call, and they are settled.
    #[non_exhaustive]
    Published {
        /// The destination of the call.
        destination: Option<&'a str>,
        /// How long the call of the transport took.
        took: Duration,
        /// For each event, the time from its creation, by the producer's clock, to the broker's
        /// answer, by the clock of this machine. Zero if the clocks disagree.
        delays: &'a [Duration],
    },
    /// Events were sent and not accepted, and are settled.
    #[non_exhaustive]
    Failed {
        /// The destination that the error is about.
        destination: Option<&'a str>,
        /// A [`Rejected`](PublishErrorKind::Rejected) event was charged a failed attempt.
        kind: PublishErrorKind,
        /// How many events.
        events: usize,
    },
    /// Events were moved into the quarantine.
    #[non_exhaustive]
    Quarantined {
        /// [`Permanent`](PublishErrorKind::Permanent): at once, by the worker.
        /// [`Rejected`](PublishErrorKind::Rejected): at the threshold of the heap, by the
        /// `DlqProcessor`.
        kind: PublishErrorKind,
        /// How many events.
        events: usize,
    },
    /// Events were given back uncharged: not sent, or the whole broker did not answer.
    #[non_exhaustive]
    Released {
        /// How many events.
        events: usize,
    },
    /// Events wait because their destination pauses.
    #[non_exhaustive]
    Held {
        /// The destination.
        destination: &'a str,
        /// How many events.
        events: usize,
    },
    /// Events were alone in a claim of a worker that was lost. Each was charged a failed attempt.
    #[non_exhaustive]
    TakenOver {
        /// How many events.
        events: usize,
    },
    /// The breaker of a destination, or of the whole broker, opened, closed, or has another reason.
    #[non_exhaustive]
    Breaker {
        /// The destination.
        destination: Option<&'a str>,
        /// Why it gets no events. `None`: the breaker is closed.
        kind: Option<PublishErrorKind>,
    },
    /// The heap has become available or unavailable.
    #[non_exhaustive]
    Heap {
        /// Why it is not available.
        error: Option<&'a OutboxError>,
    },
    /// The size of the heap, sampled as the backlog is.
    HeapSize(&'a HeapSize),
    /// The store has become available or unavailable.
    #[non_exhaustive]
    Store {
        /// Why it is not available.
        error: Option<&'a OutboxError>,
    },
    /// A claim of this worker was made, or has ended.
    #[non_exhaustive]
    Claims {
        /// How many are open.
        in_flight: usize,
    },
    /// A claim ended: its events are settled, or it found none.
    Pass(&'a PassReport),
    /// The backlog, once in each
    /// [`sample_interval`](crate::OutboxConfigBuilder::sample_interval). Only a [`Relay`](crate::Relay)
    /// samples it.
    #[non_exhaustive]
    Backlog {
        /// What the store has counted.
        backlog: &'a Backlog,
        /// The time until it is counted again: longer than the interval if it took long to count.
        next: Duration,
    },
    /// Events that a broker answered that it had already, since the last sample.
    #[non_exhaustive]
    Duplicates {
        /// How many events.
        events: u64,
    },
}

/// The observers of a relay. Clones share what they know.
#[derive(Clone, Default)]
pub(crate) struct Observers {
    all: Vec<Arc<Guarded>>,
    known: Arc<Mutex<Known>>,
}

/// What is available. None: it was not asked yet.
#[derive(Default)]
struct Known {
    store: Option<bool>,
    #[cfg(feature = "dlq")]
    heap: Option<bool>,
}

/// An observer whose panics are caught.
struct Guarded {
    observer: Box<dyn Observer>,
    has_panicked: AtomicBool,
    is_slow: AtomicBool,
}

impl Observers {
    pub(crate) fn add(&mut self, observer: impl Observer + 'static) {
        self.all.push(Arc::new(Guarded {
            observer: Box::new(observer),
            has_panicked: AtomicBool::new(false),
            is_slow: AtomicBool::new(false),
        }));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn notify(&self, observation: Observation<'_>) {
        for guarded in &self.all {
            guarded.notify(&observation);
        }
    }

    /// Notes whether the store answered a call.
    pub(crate) fn note_store<T>(&self, result: &Result<T, OutboxError>) {
        let error = match result {
            Ok(_) => None,
            Err(error) if error.kind() == ErrorKind::Unavailable => Some(error),
            Err(_) => return,
        };
        if self.is_news(|known| &mut known.store, error.is_none()) {
            self.notify(Observation::Store { error });
        }
    }

    /// Notes whether the heap answered a call.
    #[cfg(feature = "dlq")]
    pub(crate) fn note_heap<T>(&self, result: &Result<T, OutboxError>) {
        let error = result.as_ref().err();
        if self.is_news(|known| &mut known.heap, error.is_none()) {
            self.notify(Observation::Heap { error });
        }
    }

    fn is_news(&self, of: fn(&mut Known) -> &mut Option<bool>, is_available: bool) -> bool {
        if self.all.is_empty() {
            return false;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        of(&mut known).replace(is_available) != Some(is_available)
    }
}

impl Guarded {
    fn notify(&self, observation: &Observation<'_>) {
        let start = Instant::now();
        // What the panic leaves behind belongs to the observer. The worker changes no state during the call.
        let call = AssertUnwindSafe(|| self.observer.observe(observation));
        if catch_unwind(call).is_err() && !self.has_panicked.swap(true, Ordering::Relaxed) {
            tracing::error!(?observation, "an observer panicked: delivery continues");
        }
        let took = start.elapsed();
        if took > SLOW && !self.is_slow.swap(true, Ordering::Relaxed) {
            tracing::warn!(?took, "an observer is slow: delivery waits for it");
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observers").field(&self.all.len()).finish()
    }
}
