//! A broker in memory, for tests.

use super::{LimitedBroker, StoppableBroker, TransportFixture};
use async_trait::async_trait;
use outbox_core::{Event, EventId, PublishError, PublishErrorKind, Transport};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Rule = dyn Fn(&Event, u32) -> Result<(), PublishErrorKind> + Send + Sync;

/// A broker in memory. It keeps the events that it accepts, a test can stop it, and a rule refuses
/// events.
///
/// Clones are the same broker.
#[derive(Clone)]
pub struct MemoryBroker {
    state: Arc<Mutex<State>>,
    rule: Arc<Rule>,
    keeps_order: bool,
}

#[derive(Default)]
struct State {
    received: Vec<Event>,
    attempts: HashMap<EventId, u32>,
    calls: u64,
    stopped: bool,
}

impl MemoryBroker {
    /// The largest payload that is taken, in bytes.
    pub const MAX_PAYLOAD: usize = 1 << 20;

    /// A broker that takes everything up to [`MAX_PAYLOAD`](Self::MAX_PAYLOAD).
    #[must_use]
    pub fn new() -> Self {
        Self::with_rule(|_, _| Ok(()))
    }

    /// A broker that asks `rule` about each event and the number of its attempt, from 1.
    pub fn with_rule(
        rule: impl Fn(&Event, u32) -> Result<(), PublishErrorKind> + Send + Sync + 'static,
    ) -> Self {
        Self {
            state: Arc::default(),
            rule: Arc::new(rule),
            keeps_order: false,
        }
    }

    /// The same broker through a transport that keeps order: it takes nothing behind an event of
    /// its key that it refused in the same call.
    #[must_use]
    pub fn keeping_order(mut self) -> Self {
        self.keeps_order = true;
        self
    }

    /// What arrived so far, in order.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.lock().received.clone()
    }

    /// How often the broker was called.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Makes the broker unavailable, or available again.
    pub fn set_stopped(&self, stopped: bool) {
        self.lock().stopped = stopped;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, event: &Event) -> Result<(), PublishErrorKind> {
        let attempt = {
            let mut state = self.lock();
            if state.stopped {
                return Err(PublishErrorKind::Unavailable);
            }
            let attempt = state.attempts.entry(event.id).or_default();
            *attempt += 1;
            *attempt
        };
        if event.payload.len() > Self::MAX_PAYLOAD {
            return Err(PublishErrorKind::Permanent);
        }
        (self.rule)(event, attempt)?;
        self.lock().received.push(event.clone());
        Ok(())
    }
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("MemoryBroker")
            .field("received", &state.received.len())
            .field("stopped", &state.stopped)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for MemoryBroker {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        self.lock().calls += 1;
        let mut refused = HashSet::new();
        events
            .iter()
            .map(|event| {
                let key = event.ordering_key.as_deref().filter(|_| self.keeps_order);
                if key.is_some_and(|key| refused.contains(key)) {
                    return Err(PublishError::new(PublishErrorKind::Unavailable));
                }
                let taken = self.take(event).map_err(PublishError::new);
                refused.extend(key.filter(|_| taken.is_err()));
                taken
            })
            .collect()
    }

    fn keeps_order(&self) -> bool {
        self.keeps_order
    }
}

#[async_trait]
impl TransportFixture for MemoryBroker {
    async fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(self.clone())
    }

    async fn received(&self) -> Vec<Event> {
        self.events()
    }
}

#[async_trait]
impl StoppableBroker for MemoryBroker {
    async fn stop(&self) {
        self.set_stopped(true);
    }

    async fn start(&self) {
        self.set_stopped(false);
    }
}

#[async_trait]
impl LimitedBroker for MemoryBroker {
    async fn too_large(&self) -> Event {
        Event::new("conformance.limits", vec![0; Self::MAX_PAYLOAD + 1])
    }
}
