//! The observer that feeds the crate `metrics`.

mod help;

use crate::observer::{Observation, Observer};
use crate::storage::Backlog;
use crate::transport::PublishErrorKind;
use ::metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// So many destinations have a label of their own; the others share [`OTHER`].
const DESTINATIONS: usize = 100;

/// The label of the destinations after the first [`DESTINATIONS`].
const OTHER: &str = "other";

/// The label of the whole broker, and of a transport that names no destinations.
const WHOLE: &str = "*";

/// Counts what a relay does with the crate `metrics`, for Prometheus and others.
///
/// Install the recorder of your exporter before you call [`new`](Self::new). `docs/operations.md`
/// lists the metrics; their names start with `outbox_`. The label `store` tells relays of one process apart.
/// The label `destination` has the first 100 destinations of the relay, then `other`; `*` is the whole
/// broker, or a transport that names none.
///
/// When it is dropped with its relay, its gauges become NaN, which no alert matches.
///
/// ```
/// # use outbox_core::{MetricsObserver, OutboxStorage, Relay, Transport};
/// fn relay(store: impl OutboxStorage + 'static, broker: impl Transport + 'static) -> Relay {
///     Relay::new(store, broker).observer(MetricsObserver::new("orders"))
/// }
/// ```
pub struct MetricsObserver {
    store: Arc<str>,
    gauges: Gauges,
    takeovers: Counter,
    duplicates: Counter,
    destinations: Mutex<Destinations>,
}

struct Gauges {
    pending: Gauge,
    oldest_pending: Gauge,
    oldest_due: Gauge,
    waiting_keys: Gauge,
    in_flight: Gauge,
    claims_in_flight: Gauge,
    dead_letters: Gauge,
    oldest_dead_letter: Gauge,
    heap_entries: Gauge,
    heap_up: Gauge,
    store_up: Gauge,
    last_pass: Gauge,
    last_sample: Gauge,
}

#[derive(Default)]
struct Destinations {
    labelled: HashMap<Arc<str>, Destination>,
    other: Option<Destination>,
    /// Why the breakers are open.
    open: HashMap<Option<Arc<str>>, &'static str>,
}

#[derive(Clone)]
struct Destination {
    label: Arc<str>,
    published: Counter,
    publish: Histogram,
    delay: Histogram,
}

impl MetricsObserver {
    /// Counts with the recorder that is installed now. `store` is the value of the label.
    #[must_use]
    pub fn new(store: impl Into<Arc<str>>) -> Self {
        help::describe();
        let store = store.into();
        Self {
            gauges: Gauges::of(&store),
            takeovers: counter!("outbox_takeovers_total", "store" => Arc::clone(&store)),
            duplicates: counter!("outbox_duplicates_total", "store" => Arc::clone(&store)),
            destinations: Mutex::default(),
            store,
        }
    }

    fn published(&self, destination: Option<&str>, took: Duration, delays: &[Duration]) {
        let destination = self.lock().find(&self.store, destination).clone();
        destination.published.increment(delays.len() as u64);
        destination.publish.record(took);
        for delay in delays {
            destination.delay.record(*delay);
        }
    }

    fn failed(&self, destination: Option<&str>, kind: PublishErrorKind, events: usize) {
        let label = Arc::clone(&self.lock().find(&self.store, destination).label);
        let store = Arc::clone(&self.store);
        let labels = [
            ("store", store),
            ("destination", label),
            ("kind", Arc::from(kind.name())),
        ];
        counter!("outbox_failed_total", &labels).increment(events as u64);
    }

    fn quarantined(&self, kind: PublishErrorKind, events: usize) {
        let labels = [
            ("store", Arc::clone(&self.store)),
            ("kind", Arc::from(kind.name())),
        ];
        counter!("outbox_quarantined_total", &labels).increment(events as u64);
    }

    /// A breaker is one more of its kind, and one less of the kind it had. `other` may have many.
    fn breaker(&self, destination: Option<&str>, kind: Option<PublishErrorKind>) {
        let name: Option<Arc<str>> = destination.map(Arc::from);
        let mut destinations = self.lock();
        let label = Arc::clone(&destinations.find(&self.store, destination).label);
        let before = match kind {
            Some(kind) => destinations.open.insert(name, kind.name()),
            None => destinations.open.remove(&name),
        };
        let open = |kind| {
            let labels = [
                ("store", Arc::clone(&self.store)),
                ("destination", Arc::clone(&label)),
                ("kind", Arc::from(kind)),
            ];
            gauge!("outbox_breaker_open", &labels)
        };
        if let Some(before) = before {
            open(before).decrement(1.0);
        }
        if let Some(kind) = kind {
            open(kind.name()).increment(1.0);
        }
    }

    fn backlog(&self, backlog: &Backlog) {
        let gauges = &self.gauges;
        let age = |time: SystemTime| SystemTime::now().duration_since(time).ok();
        let oldest_pending = backlog.oldest_pending.and_then(age);
        gauges.pending.set(number(backlog.pending));
        gauges.oldest_pending.set(seconds(oldest_pending));
        gauges.oldest_due.set(seconds(backlog.oldest_due));
        gauges
            .oldest_dead_letter
            .set(seconds(backlog.oldest_dead_letter));
        gauges.waiting_keys.set(number(backlog.waiting));
        gauges.in_flight.set(number(backlog.in_flight));
        gauges.dead_letters.set(number(backlog.dead_letters));
        gauges.last_sample.set(now());
    }

    fn lock(&self) -> MutexGuard<'_, Destinations> {
        let destinations = self.destinations.lock();
        destinations.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for MetricsObserver {
    fn observe(&self, observation: &Observation<'_>) {
        let gauges = &self.gauges;
        match *observation {
            Observation::Published {
                destination,
                took,
                delays,
            } => self.published(destination, took, delays),
            Observation::Failed {
                destination,
                kind,
                events,
            } => self.failed(destination, kind, events),
            Observation::Quarantined { kind, events } => self.quarantined(kind, events),
            Observation::TakenOver { events } => self.takeovers.increment(events as u64),
            Observation::Breaker { destination, kind } => self.breaker(destination, kind),
            Observation::Heap { error } => gauges.heap_up.set(up(error.is_none())),
            Observation::HeapSize(size) => gauges.heap_entries.set(number(size.entries)),
            Observation::Store { error } => gauges.store_up.set(up(error.is_none())),
            Observation::Claims { in_flight } => {
                gauges.claims_in_flight.set(number(in_flight as u64));
            }
            Observation::Pass(_) => gauges.last_pass.set(now()),
            Observation::Backlog { backlog, .. } => self.backlog(backlog),
            Observation::Duplicates { events } => self.duplicates.increment(events),
            Observation::Released { .. } | Observation::Held { .. } => {}
        }
    }
}

impl Drop for MetricsObserver {
    fn drop(&mut self) {
        for gauge in self.gauges.all() {
            gauge.set(f64::NAN);
        }
        let open: Vec<_> = self.lock().open.keys().cloned().collect();
        for destination in open {
            self.breaker(destination.as_deref(), None);
        }
    }
}

impl Gauges {
    fn of(store: &Arc<str>) -> Self {
        let gauge = |name| gauge!(name, "store" => Arc::clone(store));
        Self {
            pending: gauge("outbox_pending"),
            oldest_pending: gauge("outbox_oldest_pending_age_seconds"),
            oldest_due: gauge("outbox_oldest_due_age_seconds"),
            waiting_keys: gauge("outbox_waiting_keys"),
            in_flight: gauge("outbox_in_flight"),
            claims_in_flight: gauge("outbox_claims_in_flight"),
            dead_letters: gauge("outbox_dead_letters"),
            oldest_dead_letter: gauge("outbox_oldest_dead_letter_age_seconds"),
            heap_entries: gauge("outbox_heap_entries"),
            heap_up: gauge("outbox_heap_up"),
            store_up: gauge("outbox_store_up"),
            last_pass: gauge("outbox_last_pass_timestamp_seconds"),
            last_sample: gauge("outbox_last_sample_timestamp_seconds"),
        }
    }

    fn all(&self) -> [&Gauge; 13] {
        [
            &self.pending,
            &self.oldest_pending,
            &self.oldest_due,
            &self.waiting_keys,
            &self.in_flight,
            &self.claims_in_flight,
            &self.dead_letters,
            &self.oldest_dead_letter,
            &self.heap_entries,
            &self.heap_up,
            &self.store_up,
            &self.last_pass,
            &self.last_sample,
        ]
    }
}

impl Destinations {
    /// The metrics of a destination. The first destinations get a label of their own.
    fn find(&mut self, store: &Arc<str>, destination: Option<&str>) -> &Destination {
        let name = destination.unwrap_or(WHOLE);
        let has_room = self.labelled.len() < DESTINATIONS;
        if has_room && !self.labelled.contains_key(name) {
            let label: Arc<str> = Arc::from(name);
            let destination = Destination::new(store, Arc::clone(&label));
            self.labelled.insert(label, destination);
        }
        let other = || Destination::new(store, Arc::from(OTHER));
        match self.labelled.get(name) {
            Some(destination) => destination,
            None => self.other.get_or_insert_with(other),
        }
    }
}

impl Destination {
    fn new(store: &Arc<str>, label: Arc<str>) -> Self {
        let labels = [
            ("store", Arc::clone(store)),
            ("destination", Arc::clone(&label)),
        ];
        Self {
            published: counter!("outbox_published_total", &labels),
            publish: histogram!("outbox_publish_seconds", &labels),
            delay: histogram!("outbox_delay_seconds", &labels),
            label,
        }
    }
}

impl fmt::Debug for MetricsObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsObserver")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// Prometheus has no other numbers.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn number(count: u64) -> f64 {
    count as f64
}

/// Nothing has no age.
fn seconds(age: Option<Duration>) -> f64 {
    age.unwrap_or_default().as_secs_f64()
}

fn up(is_available: bool) -> f64 {
    f64::from(u8::from(is_available))
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}
