//! The destinations that pause: each has a breaker.

use super::breaker::pause_end;
use crate::object::{ErrorText, EventId};
use crate::outage::Outage;
use crate::retry::RetrySchedule;
use crate::storage::Outcome;
use crate::transport::PublishErrorKind;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::{Duration, Instant};

/// The most destinations that are remembered because they fail. The events of others are held too, but
/// later ones are sent to them.
const FAILING: usize = 10_000;

/// The most events that are remembered because they were alone when their destination failed.
const SUSPECTS: usize = 10_000;

/// The most events that one call makes due.
const PAGE: usize = 1000;

/// After a probe with so many events has worked, the destination gets all events. An event that makes its
/// destination fail is alone soon, and the others are not delayed much by it.
const PROBE: usize = 64;

/// After this time the store is asked for a probe again: another worker may have claimed it.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// How long a held event waits if nothing resumes its destination, such as after a restart of the worker.
pub(super) const HOLD: Duration = Duration::from_secs(300);

/// The destinations that get no events for now, as a worker sees them. Clones are equal.
///
/// From [`OutboxProcessor::pauses`](crate::OutboxProcessor::pauses) or
/// [`Relay::pauses`](crate::Relay::pauses), for health checks and status pages.
#[derive(Clone, Debug, Default)]
pub struct Pauses(Arc<Mutex<Inner>>);

/// Why a destination gets no events for now.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Pause {
    /// The destination; `None` for the whole broker.
    pub destination: Option<Arc<str>>,
    /// The kind of the latest error. [`Misconfigured`](PublishErrorKind::Misconfigured) needs a person.
    pub kind: PublishErrorKind,
    /// The text of the latest error.
    pub error: ErrorText,
    /// How long ago the first error in a row came.
    pub since: Duration,
}

/// Whether an event may be sent to a destination.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Gate {
    Open,
    /// A call with up to so many events shows whether the destination works again.
    Probe(usize),
    Paused,
}

/// The answer of a destination to a call.
#[derive(Debug)]
pub(super) enum Answer {
    /// It answered for an event.
    Works,
    Failed(PublishErrorKind, ErrorText),
    Throttled(Duration, ErrorText),
    /// The call was not made, or was cancelled.
    None,
}

/// Events that the store makes due.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Resumption {
    pub(super) destination: Arc<str>,
    pub(super) limit: usize,
}

#[derive(Debug, Default)]
struct Inner {
    whole: Option<Problem>,
    named: HashMap<Arc<str>, Destination>,
    suspects: HashMap<EventId, Suspect>,
}

#[derive(Debug)]
struct Problem {
    kind: PublishErrorKind,
    error: ErrorText,
    since: Instant,
}

#[derive(Debug)]
struct Destination {
    outage: Outage,
    /// None while it works and its held events become due.
    problem: Option<Problem>,
    failures: u32,
    paused_until: Option<Instant>,
    /// Calls that were made before the latest failure say nothing about the pause after it.
    generation: u64,
    probing: bool,
    /// How many events the next probe has. It doubles with each probe that works.
    probe: usize,
    /// Until when the store is not asked again for an event that is the probe after this pause.
    asked_until: Option<Instant>,
    /// Calls that have not answered for a long time.
    hung: usize,
    /// Whether held events must become due.
    resume: bool,
}

/// An event that was alone when its destination failed.
#[derive(Debug)]
struct Suspect {
    destination: Arc<str>,
    /// Whether the destination has worked since.
    cleared: bool,
}

impl Pauses {
    /// The pauses now. The order is unspecified.
    #[must_use]
    pub fn list(&self) -> Vec<Pause> {
        let inner = self.lock();
        let whole = inner.whole.iter().map(|problem| (None, problem));
        let named = inner.named.iter().filter_map(|(name, state)| {
            let problem = state.problem.as_ref()?;
            Some((Some(Arc::clone(name)), problem))
        });
        let pause = |(destination, problem): (_, &Problem)| Pause {
            destination,
            kind: problem.kind,
            error: problem.error.clone(),
            since: problem.since.elapsed(),
        };
        whole.chain(named).map(pause).collect()
    }

    /// Notes that the whole broker works, or why it does not.
    pub(super) fn set_whole(&self, problem: Option<(PublishErrorKind, &ErrorText)>) {
        let mut inner = self.lock();
        let before = inner.whole.take();
        inner.whole = problem.map(|(kind, error)| Problem {
            kind,
            error: error.clone(),
            since: before.map_or_else(Instant::now, |before| before.since),
        });
    }

    /// Asks whether the destination may get events. After [`Gate::Probe`] the answer is
    /// [`Gate::Paused`] until the probe has ended.
    pub(super) fn gate(&self, destination: &str) -> Gate {
        let mut inner = self.lock();
        match inner.named.get_mut(destination) {
            Some(state) => state.gate(),
            None => Gate::Open,
        }
    }

    /// Notes the start of a call, which ends when the value is dropped.
    pub(super) fn call(&self, destination: &Arc<str>, is_probe: bool) -> Call {
        let inner = self.lock();
        let state = inner.named.get(destination);
        Call {
            pauses: self.clone(),
            destination: Arc::clone(destination),
            generation: state.map_or(0, |state| state.generation),
            is_probe,
            is_hung: false,
        }
    }

    /// Applies what an error says about a destination that no call was made for: an adapter may name
    /// it only in its errors.
    pub(super) fn failed(
        &self,
        destination: &Arc<str>,
        generation: u64,
        answer: &Answer,
        schedule: RetrySchedule,
    ) {
        let mut inner = self.lock();
        let Some(state) = inner.state(destination) else {
            return;
        };
        if generation == state.generation {
            state.apply(answer, schedule);
        }
    }

    /// Whether an event that was alone when its destination failed is the cause: the destination
    /// worked since the last time.
    pub(super) fn blame(&self, event: EventId, destination: &Arc<str>) -> bool {
        let mut inner = self.lock();
        if inner.suspects.len() >= SUSPECTS {
            inner.suspects.clear();
        }
        let suspect = Suspect {
            destination: Arc::clone(destination),
            cleared: false,
        };
        let before = inner.suspects.insert(event, suspect);
        before.is_some_and(|before| before.cleared)
    }

    /// Forgets that the event was alone when its destination failed.
    pub(super) fn answered(&self, event: EventId) {
        let mut inner = self.lock();
        if !inner.suspects.is_empty() {
            inner.suspects.remove(&event);
        }
    }

    /// Notes that an event was held. If the destination works by now, its events must become due.
    pub(super) fn held(&self, destination: &Arc<str>) {
        let mut inner = self.lock();
        if let Some(state) = inner.state(destination)
            && state.works()
        {
            state.resume = true;
        }
    }

    /// The events that must become due now. A destination whose pause is over gets one: the probe.
    pub(super) fn resumptions(&self) -> Vec<Resumption> {
        let now = Instant::now();
        let mut inner = self.lock();
        let due = inner.named.iter_mut().filter_map(|(destination, state)| {
            let limit = state.resumption(now)?;
            Some(Resumption {
                destination: Arc::clone(destination),
                limit,
            })
        });
        due.collect()
    }

    /// Notes that the store made `count` events due.
    pub(super) fn resumed(&self, resumption: &Resumption, count: usize) {
        let mut inner = self.lock();
        let Some(state) = inner.named.get_mut(&resumption.destination) else {
            return;
        };
        if count >= resumption.limit {
            return;
        }
        if resumption.limit == PAGE {
            state.resume = false;
        } else if state.probe > 1 && !state.probing {
            // A probe has worked, and no other event waits.
            state.recover();
        }
        if state.works() && !state.resume {
            inner.named.remove(&resumption.destination);
        }
    }

    /// When a resumption is due next.
    pub(super) fn next_resumption(&self) -> Option<Instant> {
        let inner = self.lock();
        let ends = inner.named.values().filter_map(|state| {
            if state.resume {
                return Some(Instant::now());
            }
            let until = state.paused_until.max(state.asked_until)?;
            (!state.probing && state.hung == 0).then_some(until)
        });
        ends.min()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn state(&mut self, destination: &Arc<str>) -> Option<&mut Destination> {
        if !self.named.contains_key(destination) {
            if self.named.len() >= FAILING {
                return None;
            }
            let state = Destination::new(destination);
            self.named.insert(Arc::clone(destination), state);
        }
        self.named.get_mut(destination)
    }
}

impl Destination {
    fn new(name: &str) -> Self {
        Self {
            outage: Outage::of(format!("destination {name}")),
            problem: None,
            failures: 0,
            paused_until: None,
            generation: 0,
            probing: false,
            probe: 1,
            asked_until: None,
            hung: 0,
            resume: false,
        }
    }

    fn works(&self) -> bool {
        self.failures == 0 && self.paused_until.is_none() && self.hung == 0
    }

    fn gate(&mut self) -> Gate {
        let over = self
            .paused_until
            .is_none_or(|until| until <= Instant::now());
        if self.hung > 0 || !over || self.probing {
            Gate::Paused
        } else if self.failures == 0 {
            Gate::Open
        } else {
            self.probing = true;
            Gate::Probe(self.probe)
        }
    }

    fn resumption(&mut self, now: Instant) -> Option<usize> {
        let over = self.paused_until.is_some_and(|until| until <= now);
        if over && self.failures == 0 {
            // The end of a throttle.
            self.recover();
        }
        if self.resume {
            return Some(PAGE);
        }
        let asked = self.asked_until.is_some_and(|until| until > now);
        if over && !asked && !self.probing && self.hung == 0 {
            self.asked_until = Some(now + ASK_AGAIN);
            return Some(self.probe);
        }
        None
    }

    fn apply(&mut self, answer: &Answer, schedule: RetrySchedule) {
        match answer {
            Answer::Works if self.failures > 0 && self.probe < PROBE => {
                self.probe *= 2;
                self.failures = 1;
                self.paused_until = Some(Instant::now());
            }
            Answer::Works => self.recover(),
            Answer::Failed(kind, error) => {
                self.failures = self.failures.saturating_add(1);
                let longest = *kind == PublishErrorKind::Misconfigured;
                let pause = schedule.random_pause(self.failures, longest);
                self.pause(*kind, error, pause);
                let effect = if longest {
                    "a person must repair it; its events wait, and no failed attempt is counted"
                } else {
                    "its events wait, and no failed attempt is counted"
                };
                self.outage.failed(error, effect);
            }
            Answer::Throttled(after, error) => {
                let kind = PublishErrorKind::Throttled(*after);
                self.pause(kind, error, *after);
            }
            Answer::None => {}
        }
    }

    fn pause(&mut self, kind: PublishErrorKind, error: &ErrorText, pause: Duration) {
        self.generation += 1;
        (self.resume, self.asked_until, self.probe) = (false, None, 1);
        self.paused_until = Some(pause_end(pause));
        self.note(kind, error);
    }

    fn note(&mut self, kind: PublishErrorKind, error: &ErrorText) {
        let since = self.problem.take().map(|problem| problem.since);
        self.problem = Some(Problem {
            kind,
            error: error.clone(),
            since: since.unwrap_or_else(Instant::now),
        });
    }

    fn recover(&mut self) {
        if self.problem.take().is_some() {
            self.outage.succeeded();
            self.resume = true;
        }
        (self.failures, self.paused_until) = (0, None);
        (self.probe, self.asked_until) = (1, None);
    }
}

/// A call of the transport for one destination, from its start to its end.
#[derive(Debug)]
pub(super) struct Call {
    pauses: Pauses,
    destination: Arc<str>,
    generation: u64,
    is_probe: bool,
    is_hung: bool,
}

impl Call {
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn destination(&self) -> &Arc<str> {
        &self.destination
    }

    /// The call has not answered for a long time: its destination gets no other.
    pub(super) fn hangs(&mut self, after: Duration) {
        if self.is_hung {
            return;
        }
        let mut inner = self.pauses.lock();
        if let Some(state) = inner.state(&self.destination) {
            self.is_hung = true;
            state.hung += 1;
            let text = ErrorText::new(&format!("no answer for {after:?}, still waiting"));
            state.note(PublishErrorKind::Unavailable, &text);
        }
    }

    /// The call has ended with `answer`.
    pub(super) fn end(self, answer: &Answer, schedule: RetrySchedule) {
        let mut inner = self.pauses.lock();
        let failed = matches!(answer, Answer::Failed(..) | Answer::Throttled(..));
        let state = if failed {
            inner.state(&self.destination)
        } else {
            inner.named.get_mut(&self.destination)
        };
        let Some(state) = state else { return };
        if self.generation != state.generation {
            return;
        }
        let works = matches!(answer, Answer::Works);
        if works && state.hung > usize::from(self.is_hung) {
            // Another call hangs. Its end decides.
            return;
        }
        let recovers = works && state.problem.is_some();
        state.apply(answer, schedule);
        if recovers {
            for suspect in inner.suspects.values_mut() {
                suspect.cleared |= suspect.destination == self.destination;
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.is_probe && !self.is_hung {
            return;
        }
        let mut inner = self.pauses.lock();
        if let Some(state) = inner.named.get_mut(&self.destination) {
            if self.is_probe {
                (state.probing, state.asked_until) = (false, None);
            }
            state.hung -= usize::from(self.is_hung);
            state.resume |= state.works();
            if state.works() {
                state.problem = None;
            }
        }
    }
}

/// The name of a destination as the store keeps it: PostgreSQL stores no NUL, and indexes have a limit.
pub(super) fn label(name: &str) -> Arc<str> {
    let mut end = name.len().min(Outcome::MAX_DESTINATION);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let name = &name[..end];
    if name.contains('\0') {
        return Arc::from(name.replace('\0', " "));
    }
    Arc::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_can_keep_each_label() {
        assert_eq!(&*label("orders"), "orders");
        assert_eq!(&*label("a\0b"), "a b");
        let long = "é".repeat(Outcome::MAX_DESTINATION);
        assert_eq!(&*label(&long), "é".repeat(Outcome::MAX_DESTINATION / 2));
        let odd = format!("x{long}");
        assert_eq!(label(&odd).len(), Outcome::MAX_DESTINATION - 1);
    }
}
