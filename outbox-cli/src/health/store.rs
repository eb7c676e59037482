//! What is known of one store and its relay.

use crate::failure::Failure;
use crate::settings::ServiceSettings;
use metrics::{Gauge, gauge};
use outbox_core::{Backlog, ErrorText, Observation, Observer, Pauses};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The health of a store, which observes its relay.
#[derive(Clone, Debug)]
pub(crate) struct StoreHealth {
    pub(super) name: Arc<str>,
    pub(super) limits: Limits,
    state: Arc<Mutex<State>>,
}

/// How old things may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The longest time for which an event may be due, and a destination may pause.
    pub(super) max_age: Duration,
    /// How often the backlog is sampled.
    pub(super) sample: Duration,
    /// How long an idle relay waits for its next pass at first. It grows to five times as long.
    pub(super) poll: Duration,
}

/// What the relay has told so far.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// Since when the relay runs, or is to be opened.
    pub(super) since: Instant,
    /// Why no relay runs. None: it runs, or is being opened for the first time.
    pub(super) failure: Option<String>,
    /// Of the relay that runs.
    pub(super) pauses: Option<Pauses>,
    /// The answer of the store to the latest call. None: it was not called yet.
    pub(super) store: Option<Result<(), String>>,
    pub(super) sample: Option<Sample>,
    pub(super) last_pass: Option<Instant>,
    pub(super) last_published: Option<Instant>,
}

/// The backlog at a time.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    /// The time until the next sample starts.
    pub(super) next: Duration,
    pub(super) backlog: Backlog,
}

impl State {
    fn opening() -> Self {
        Self {
            since: Instant::now(),
            failure: None,
            pauses: None,
            store: None,
            sample: None,
            last_pass: None,
            last_published: None,
        }
    }
}

impl StoreHealth {
    pub(super) fn new(settings: &ServiceSettings) -> Self {
        Self {
            name: Arc::clone(&settings.name),
            limits: Limits {
                max_age: settings.health_max_age,
                sample: settings.config.sample_interval(),
                poll: settings.config.poll_interval(),
            },
            state: Arc::new(Mutex::new(State::opening())),
        }
    }

    /// Notes that the store is open and a relay runs.
    pub(crate) fn runs(&self, pauses: Pauses) {
        *self.lock() = State {
            pauses: Some(pauses),
            ..State::opening()
        };
    }

    /// Notes that no relay runs. The metrics of the relay that has ended are no numbers any more, but an alert
    /// must see that its store is down.
    pub(crate) fn failed(&self, failure: &Failure) {
        self.up().set(0.0);
        *self.lock() = State {
            failure: Some(ErrorText::new(&failure.to_string()).to_string()),
            ..State::opening()
        };
    }

    /// Notes that the process has this store no more.
    pub(super) fn removed(&self) {
        self.up().set(f64::NAN);
    }

    fn up(&self) -> Gauge {
        gauge!("outbox_store_up", "store" => Arc::clone(&self.name))
    }

    pub(super) fn state(&self) -> State {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for StoreHealth {
    fn observe(&self, observation: &Observation<'_>) {
        let now = Instant::now();
        match *observation {
            Observation::Store { error, .. } => {
                let error = error.map(|error| ErrorText::new(&error.to_string()).to_string());
                self.lock().store = Some(error.map_or(Ok(()), Err));
            }
            Observation::Pass(_) => self.lock().last_pass = Some(now),
            Observation::Published { .. } => self.lock().last_published = Some(now),
            Observation::Backlog { backlog, next, .. } => {
                let mut state = self.lock();
                // A first claim may take longer than a first count.
                state.store.get_or_insert(Ok(()));
                state.sample = Some(Sample {
                    at: now,
                    next,
                    backlog: backlog.clone(),
                });
            }
            _ => {}
        }
    }
}
