//! The destinations that pause: each has a breaker.

use super::destination::{Answer, Destination, Gate, HOLD, Problem, SHORT_HOLD};
use super::memory::Memory;
use crate::object::{ErrorText, EventId};
use crate::retry::RetrySchedule;
use crate::storage::Outcome;
use crate::transport::PublishErrorKind;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::{Duration, Instant};

/// The most destinations that are remembered because they fail. The events of others are held too, but
/// later ones are sent to them.
const FAILING: usize = 10_000;

/// An answer shows that the broker works if it came so long after the call that hangs was made. An earlier one
/// may have been on its way when the broker became unreachable.
const OLDER: Duration = Duration::from_millis(250);

/// The destinations that get no events for now, as a worker sees them. Clones are equal.
///
/// From [`OutboxProcessor::pauses`](crate::OutboxProcessor::pauses) or
/// [`Relay::pauses`](crate::Relay::pauses), for health checks and status pages.
#[derive(Clone, Debug, Default)]
pub struct Pauses(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    inner: Mutex<Inner>,
    /// Something was noted that may have started or ended a pause.
    noted: Notify,
}

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

/// The destination of an event.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Target {
    /// The transport names it.
    Named(Arc<str>),
    /// The latest error for the event named it, and the transport does not.
    Learnt(Arc<str>),
    /// Nothing has named it yet.
    Unknown,
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
    /// The problem of the whole broker when its changes were last asked for.
    shown: Option<PublishErrorKind>,
    /// Destinations whose open breaker was reported, and that are remembered no longer.
    forgotten: Vec<Arc<str>>,
    named: HashMap<Arc<str>, Destination>,
    memory: Memory,
    /// When the broker answered for the first time.
    began: Option<Instant>,
    /// When the broker answered last.
    answered: Option<Instant>,
    /// A destination hangs or is unavailable, and no destination has answered since.
    silent: bool,
    /// The destinations that have answered since, until no event is held from before.
    met: HashSet<Arc<str>>,
}

impl Target {
    pub(super) fn name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Named(name) | Self::Learnt(name) => Some(name),
            Self::Unknown => None,
        }
    }
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
        if before.is_some() && problem.is_none() {
            inner.memory.works(None);
        }
        inner.whole = problem.map(|(kind, error)| Problem {
            kind,
            error: error.clone(),
            since: before.map_or_else(Instant::now, |before| before.since),
        });
        self.0.noted.notify_one();
    }

    /// Returns when pauses may have changed since the last call. For one caller.
    pub(crate) async fn noted(&self) {
        self.0.noted.notified().await;
    }

    /// Whether the broker has ever answered.
    pub(super) fn has_answer(&self) -> bool {
        self.lock().answered.is_some()
    }

    /// Whether a destination hangs or is unavailable while nothing shows that the broker works: perhaps this
    /// worker alone cannot reach it.
    pub(super) fn is_silent(&self) -> bool {
        self.lock().silent
    }

    /// How long a held event waits if nothing resumes its destination.
    pub(super) fn hold(&self) -> Duration {
        if self.is_silent() { SHORT_HOLD } else { HOLD }
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
    pub(super) fn call(&self, target: &Target, is_probe: bool) -> Call {
        Call {
            pauses: self.clone(),
            target: target.clone(),
            made: Instant::now(),
            is_probe,
            is_hung: false,
        }
    }

    /// Notes that the event was alone when the destination failed, or the whole broker. Returns whether
    /// it is the cause: the destination has worked since the last time.
    pub(super) fn blame(&self, event: EventId, destination: Option<&Arc<str>>) -> bool {
        self.lock().memory.blame(event, destination)
    }

    /// Forgets the events for which the broker has answered.
    pub(super) fn answered(&self, events: impl Iterator<Item = EventId>) {
        self.lock().memory.answered(events);
    }

    /// Notes that errors named the destinations of events, which the transport does not.
    pub(super) fn learn<'d>(&self, events: impl Iterator<Item = (EventId, &'d Arc<str>)>) {
        let mut inner = self.lock();
        for (event, destination) in events {
            inner.memory.learn(event, destination);
        }
    }

    /// The destinations that errors named, of these events.
    pub(super) fn learnt(
        &self,
        events: impl Iterator<Item = EventId>,
    ) -> HashMap<EventId, Arc<str>> {
        self.lock().memory.learnt(events)
    }

    /// Notes that events of these destinations were held. If one works by now, its events must become
    /// due.
    pub(super) fn held<'d>(&self, destinations: impl IntoIterator<Item = &'d Arc<str>>) {
        let mut inner = self.lock();
        for destination in destinations {
            if let Some(state) = inner.state(destination)
                && state.works()
            {
                state.resume = true;
            }
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
        let Resumption { destination, limit } = resumption;
        let mut inner = self.lock();
        if count < *limit
            && let Some(state) = inner.named.get_mut(destination)
            && state.has_no_more(*limit, count)
        {
            let shown = state.shown.is_some();
            inner.named.remove(destination);
            inner
                .forgotten
                .extend(shown.then(|| Arc::clone(destination)));
            inner.memory.forget_destination(destination);
        }
    }

    /// When a resumption is due next.
    pub(super) fn next_resumption(&self) -> Option<Instant> {
        let inner = self.lock();
        let due = inner.named.values();
        due.filter_map(Destination::next_resumption).min()
    }

    /// The breakers that have opened, closed, or have another reason since the last call.
    pub(super) fn changes(&self) -> Vec<(Option<Arc<str>>, Option<PublishErrorKind>)> {
        let mut inner = self.lock();
        let forgotten = std::mem::take(&mut inner.forgotten);
        let mut changes: Vec<_> = forgotten
            .into_iter()
            .map(|name| (Some(name), None))
            .collect();
        let whole = inner.whole.as_ref().map(|problem| problem.kind);
        if has_changed(&mut inner.shown, whole) {
            changes.push((None, whole));
        }
        for (name, state) in &mut inner.named {
            let kind = state.problem.as_ref().map(|problem| problem.kind);
            if has_changed(&mut state.shown, kind) {
                changes.push((Some(Arc::clone(name)), kind));
            }
        }
        changes
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the kind is another one than before, also if a throttle has another time.
fn has_changed(shown: &mut Option<PublishErrorKind>, kind: Option<PublishErrorKind>) -> bool {
    let before = std::mem::replace(shown, kind);
    before.map(PublishErrorKind::name) != kind.map(PublishErrorKind::name)
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

    /// Notes that a destination which worked does not answer a call that was made at this time.
    fn note_silence(&mut self, made: Instant) {
        self.silent |= self.answered.is_none_or(|answered| answered < made + OLDER);
    }

    /// Notes that a destination answered. At its first answer after a start of the worker, the events must
    /// become due that an earlier worker may have held for it.
    fn meet(&mut self, destination: &Arc<str>) {
        let began = *self.began.get_or_insert_with(Instant::now);
        if began.elapsed() >= HOLD {
            self.met = HashSet::new();
            return;
        }
        let is_new = self.met.len() < FAILING && self.met.insert(Arc::clone(destination));
        if is_new
            && let Some(state) = self.state(destination)
            && state.works()
        {
            state.resume = true;
        }
    }

    /// Applies what a call says about a destination.
    fn hear(
        &mut self,
        call: &Call,
        destination: &Arc<str>,
        answer: &Answer,
        schedule: RetrySchedule,
    ) {
        let works = matches!(answer, Answer::Works);
        let state = if works {
            self.named.get_mut(destination)
        } else {
            self.state(destination)
        };
        let Some(state) = state.filter(|state| state.listens(call.made)) else {
            return;
        };
        if works && state.hung > usize::from(call.is_hung) {
            // Another call hangs. Its end decides.
            return;
        }
        let recovers = works && state.problem.is_some();
        state.apply(answer, schedule);
        if recovers {
            self.memory.works(Some(destination));
        }
    }
}

/// A call of the transport, from its start to its end.
#[derive(Debug)]
pub(super) struct Call {
    pauses: Pauses,
    target: Target,
    made: Instant,
    is_probe: bool,
    is_hung: bool,
}

impl Call {
    pub(super) fn made(&self) -> Instant {
        self.made
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// The call has not answered for a long time: its destination gets no other.
    pub(super) fn hangs(&mut self, after: Duration) {
        if self.is_hung {
            return;
        }
        let mut inner = self.pauses.lock();
        let Some(destination) = self.target.name() else {
            inner.note_silence(self.made);
            return;
        };
        if let Some(state) = inner.state(destination) {
            self.is_hung = true;
            state.hung += 1;
            let is_news = state.problem.is_none();
            let text = ErrorText::new(&format!("no answer for {after:?}, still waiting"));
            state.note(PublishErrorKind::Unavailable, &text);
            if is_news {
                inner.note_silence(self.made);
            }
            self.pauses.0.noted.notify_one();
        }
    }

    /// The call has ended. Its answer says something about each of these destinations. `has_reply`: the
    /// broker has replied to something.
    pub(super) fn end(
        self,
        answers: &HashMap<Arc<str>, Answer>,
        has_reply: bool,
        schedule: RetrySchedule,
    ) {
        let mut inner = self.pauses.lock();
        let is_news = |destination| {
            let state = inner.named.get(destination);
            state.is_none_or(|state| state.problem.is_none())
        };
        if has_reply {
            (inner.answered, inner.silent) = (Some(Instant::now()), false);
        } else if answers.keys().any(is_news) {
            inner.note_silence(self.made);
        }
        for (destination, answer) in answers {
            inner.hear(&self, destination, answer, schedule);
            if matches!(answer, Answer::Works) {
                inner.meet(destination);
            }
        }
        self.pauses.0.noted.notify_one();
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.is_probe && !self.is_hung {
            return;
        }
        let mut inner = self.pauses.lock();
        let destination = self.target.name();
        if let Some(state) = destination.and_then(|name| inner.named.get_mut(name)) {
            if self.is_probe {
                (state.probing, state.asked_until) = (false, None);
            }
            state.hung -= usize::from(self.is_hung);
            state.resume |= state.works();
            if state.works() {
                state.problem = None;
            }
            self.pauses.0.noted.notify_one();
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
    use super::super::destination::PAGE;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_event_that_is_held_when_its_destination_works_again_becomes_due() {
        let (pauses, name) = (Pauses::default(), label("orders"));
        pauses.held([&name]);
        let due = Resumption {
            destination: Arc::clone(&name),
            limit: PAGE,
        };
        assert_eq!(pauses.resumptions(), [due]);
    }

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
