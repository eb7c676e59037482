//! A broker in memory, for tests.

mod fixture;

use crate::check::check;
use async_trait::async_trait;
use outbox_core::{Event, EventId, PublishError, PublishErrorKind, Transport, TransportCheck};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

type Rule = dyn Fn(&Event, u32) -> Result<(), PublishErrorKind> + Send + Sync;

/// A broker in memory. It keeps the events that it accepts, a test can stop it or let it be full, and a
/// rule refuses events. It is the fixture of each group that needs no connection.
///
/// Clones are the same broker. A call that no worker may make is noted, and [`events`](Self::events)
/// panics afterwards: one with two events of a key to a transport that does not keep order, or with
/// events of two destinations.
#[derive(Clone)]
pub struct MemoryBroker {
    state: Arc<Mutex<State>>,
    rule: Arc<Rule>,
    keeps_order: bool,
    has_destinations: bool,
    deduplicates: bool,
}

#[derive(Default)]
struct State {
    received: Vec<Event>,
    attempts: HashMap<EventId, u32>,
    calls: u64,
    stopped: bool,
    /// For how many more events there is room, if it is limited.
    room: Option<usize>,
    /// Destinations that are missing.
    missing: BTreeSet<String>,
    /// The fault of the first call that no worker may make.
    wrong_call: Option<String>,
}

impl MemoryBroker {
    /// The largest payload that is taken, in bytes.
    pub const MAX_PAYLOAD: usize = 1 << 20;

    /// For how long a full broker asks the worker to wait.
    pub const PATIENCE: Duration = Duration::from_secs(1);

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
            has_destinations: false,
            deduplicates: false,
        }
    }

    /// The same broker through a transport that keeps order: it takes nothing behind an event of
    /// its key that it refused in the same call.
    #[must_use]
    pub fn keeping_order(mut self) -> Self {
        self.keeps_order = true;
        self
    }

    /// The same broker with many destinations. The name of an event's destination is its type up to
    /// the first dot.
    #[must_use]
    pub fn with_destinations(mut self) -> Self {
        self.has_destinations = true;
        self
    }

    /// The same broker, which keeps an event that it has once and accepts it again.
    #[must_use]
    pub fn deduplicating(mut self) -> Self {
        self.deduplicates = true;
        self
    }

    /// What arrived so far, in order.
    ///
    /// # Panics
    ///
    /// If a call had two events of a key and the transport does not keep order, or if it had events
    /// of two destinations.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        let state = self.lock();
        let (received, wrong_call) = (state.received.clone(), state.wrong_call.clone());
        drop(state);
        let wrong_call = wrong_call.unwrap_or_default();
        check!(wrong_call.is_empty(), "{wrong_call}");
        received
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

    /// Limits how many more events the broker takes, with `None` for no limit. When it is full, it asks
    /// the worker to wait for [`PATIENCE`](Self::PATIENCE).
    pub fn set_room(&self, room: Option<usize>) {
        self.lock().room = room;
    }

    /// Removes a destination of a broker that [has many](Self::with_destinations), or restores it.
    pub fn set_missing(&self, destination: &str, missing: bool) {
        let destinations = &mut self.lock().missing;
        if missing {
            destinations.insert(destination.to_owned());
        } else {
            destinations.remove(destination);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What no worker may do.
    fn fault(&self, events: &[Event]) -> Option<String> {
        let mut keys = HashSet::new();
        let mut keyed = events
            .iter()
            .filter_map(|event| event.ordering_key.as_deref());
        if let Some(key) = keyed.find(|key| !self.keeps_order && !keys.insert(*key)) {
            return Some(format!(
                "expected one event of a key in a call, came several of the key {key:?}"
            ));
        }
        let names: BTreeSet<_> = events
            .iter()
            .filter_map(|event| self.destination(event))
            .collect();
        (names.len() > 1).then(|| format!("expected one destination of a call, came {names:?}"))
    }

    /// An error about the destination of an event.
    fn error(&self, kind: PublishErrorKind, event: &Event) -> PublishError {
        let error = PublishError::new(kind);
        match self.destination(event) {
            Some(name) if !self.lock().stopped => error.with_destination(name),
            _ => error,
        }
    }

    fn take(&self, event: &Event) -> Result<(), PublishErrorKind> {
        let attempt = {
            let mut state = self.lock();
            if state.stopped {
                return Err(PublishErrorKind::Unavailable);
            }
            let destination = self.destination(event);
            if destination.is_some_and(|name| state.missing.contains(&*name)) {
                return Err(PublishErrorKind::Misconfigured);
            }
            let attempt = state.attempts.entry(event.id).or_default();
            *attempt += 1;
            *attempt
        };
        if event.payload.len() > Self::MAX_PAYLOAD {
            return Err(PublishErrorKind::Permanent);
        }
        (self.rule)(event, attempt)?;
        self.keep(event)
    }

    fn keep(&self, event: &Event) -> Result<(), PublishErrorKind> {
        let mut state = self.lock();
        let is_kept = |kept: &Event| kept.id == event.id;
        if self.deduplicates && state.received.iter().any(is_kept) {
            return Ok(());
        }
        if let Some(room) = &mut state.room {
            let left = room.checked_sub(1);
            *room = left.ok_or(PublishErrorKind::Throttled(Self::PATIENCE))?;
        }
        state.received.push(event.clone());
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

/// The name of the destination of an event, at a broker that has many.
fn destination(event: &Event) -> &str {
    let (name, _) = event
        .event_type
        .split_once('.')
        .unwrap_or((&event.event_type, ""));
    name
}

#[async_trait]
impl Transport for MemoryBroker {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        let fault = self.fault(events);
        {
            let mut state = self.lock();
            state.calls += 1;
            state.wrong_call = state.wrong_call.take().or(fault);
        }
        let mut refused = HashSet::new();
        events
            .iter()
            .map(|event| {
                let key = event.ordering_key.as_deref().filter(|_| self.keeps_order);
                if key.is_some_and(|key| refused.contains(key)) {
                    return Err(self.error(PublishErrorKind::Unavailable, event));
                }
                let taken = self.take(event);
                refused.extend(key.filter(|_| taken.is_err()));
                taken.map_err(|kind| self.error(kind, event))
            })
            .collect()
    }

    fn keeps_order(&self) -> bool {
        self.keeps_order
    }

    fn destination<'a>(&'a self, event: &'a Event) -> Option<Cow<'a, str>> {
        self.has_destinations.then(|| destination(event).into())
    }

    async fn check(&self) -> TransportCheck {
        let state = self.lock();
        let check = TransportCheck::default();
        if state.stopped {
            return check.problem(PublishError::new(PublishErrorKind::Unavailable));
        }
        state.missing.iter().fold(check, |check, name| {
            let problem = PublishError::new(PublishErrorKind::Misconfigured);
            check.problem(problem.with_destination(name.as_str()))
        })
    }
}
