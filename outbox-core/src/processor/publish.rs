//! Publishing one claim: concurrent across keys and destinations, in order within a key.
//!
//! A call has the first waiting event of each key, of one destination. If the transport keeps order, it has
//! all waiting events of the key that have the destination.

use super::call::{Publisher, Started, Verdict};
use super::destination::{Answer, Gate};
use super::destinations::{Call, Pauses, Target, label};
use super::observed::Ended;
use super::spans::Traces;
use crate::object::{ErrorText, Event, EventId};
use crate::retry::RetrySchedule;
use crate::storage::ClaimedEvent;
use crate::transport::PublishErrorKind;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::time::{Duration, Instant, timeout_at};

/// A call that takes longer does not delay the settlement of the other events of its claim: it hangs.
const HUNG: Duration = Duration::from_millis(500);

/// The same for a probe, as its destination has failed before.
const HUNG_PROBE: Duration = Duration::from_millis(50);

/// One event of the claim, without its payload.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: EventId,
    pub(super) attempts: u32,
    pub(super) verdict: Verdict,
    pub(super) created_at: SystemTime,
    /// The number of the call that gave the verdict.
    pub(super) call: usize,
    /// It was alone in its call, or in its claim if the verdict is about the whole broker.
    pub(super) alone: bool,
    key: usize,
}

/// An event that was not sent yet.
#[derive(Debug)]
struct Waiting {
    event: Event,
    target: Target,
}

/// The events of a key that were not sent yet, by their slots.
#[derive(Clone, Debug, Default)]
struct KeyQueue {
    waiting: VecDeque<usize>,
    /// An event of the key failed, so its successors must wait.
    closed: bool,
}

/// The events of a claim on their way to the broker.
pub(super) struct Publication<'w> {
    publisher: Publisher<'w>,
    pauses: &'w Pauses,
    schedule: RetrySchedule,
    /// None: the event was settled.
    slots: Vec<Option<Slot>>,
    /// By slot. None: the event was sent, or will not be.
    waiting: Vec<Option<Waiting>>,
    keys: Vec<KeyQueue>,
    /// Keys whose first waiting event may be sent.
    ready: Vec<usize>,
    calls: FuturesUnordered<BoxFuture<'w, (usize, Vec<Verdict>)>>,
    /// By the number of the call.
    in_flight: HashMap<usize, InFlight>,
    made: usize,
    /// By the number of the call. None without an observer.
    ended: Option<Vec<Ended>>,
    /// Whether a permanent failure closes its key too.
    blocks_key: bool,
    keeps_order: bool,
    /// No further call is made: the broker is unavailable, or a call hangs.
    halted: bool,
}

/// A call that has not answered.
struct InFlight {
    started: Started,
    slots: Vec<usize>,
    call: Call,
    /// The call hangs if it takes longer.
    patience: Duration,
    hangs: bool,
}

/// The events of one call.
#[derive(Default)]
struct Group {
    slots: Vec<usize>,
    is_probe: bool,
}

/// How far a claim is.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// Each event has its verdict.
    Done,
    /// Only calls that hang have not answered. The other events can be settled.
    Hangs,
}

impl<'w> Publication<'w> {
    pub(super) fn new(
        publisher: Publisher<'w>,
        pauses: &'w Pauses,
        schedule: RetrySchedule,
        events: Vec<ClaimedEvent>,
        blocks_key: bool,
        is_observed: bool,
    ) -> Self {
        let (numbers, keys) = number_keys(&events);
        let mut publication = Self {
            keeps_order: publisher.transport.keeps_order(),
            publisher,
            pauses,
            schedule,
            slots: Vec::with_capacity(events.len()),
            waiting: Vec::with_capacity(events.len()),
            keys: vec![KeyQueue::default(); keys],
            ready: (0..keys).collect(),
            calls: FuturesUnordered::new(),
            in_flight: HashMap::new(),
            made: 0,
            ended: is_observed.then(Vec::new),
            blocks_key,
            halted: false,
        };
        let ids = events.iter().map(|claimed| claimed.event.id);
        let mut learnt = pauses.learnt(ids);
        for (claimed, key) in events.into_iter().zip(numbers) {
            let learnt = learnt.remove(&claimed.event.id);
            publication.add(claimed, key, learnt);
        }
        publication
    }

    fn add(&mut self, claimed: ClaimedEvent, key: usize, learnt: Option<Arc<str>>) {
        let (id, attempts) = (claimed.event.id, claimed.attempts);
        let created_at = claimed.event.created_at;
        let (verdict, waiting) = if claimed.worker_lost {
            self.keys[key].closed = true;
            let reason = ErrorText::new("worker lost while it held this event alone");
            (Verdict::Lost(reason), None)
        } else {
            self.keys[key].waiting.push_back(self.slots.len());
            let waiting = Waiting {
                target: self.target(&claimed.event, learnt),
                event: claimed.event,
            };
            (Verdict::Untried, Some(waiting))
        };
        self.waiting.push(waiting);
        self.slots.push(Some(Slot {
            id,
            attempts,
            verdict,
            created_at,
            call: usize::MAX,
            alone: false,
            key,
        }));
    }

    /// Publishes until all events have their verdicts, or until only calls that hang are left.
    pub(super) async fn advance(&mut self) -> Stage {
        loop {
            self.start_calls();
            let running = self.in_flight.values().filter(|call| !call.hangs);
            let next = match running.map(InFlight::hangs_at).min() {
                Some(hangs_at) => timeout_at(hangs_at, self.calls.next()).await,
                None => Ok(self.calls.next().await),
            };
            match next {
                Ok(Some((call, verdicts))) => self.apply(call, verdicts),
                Ok(None) => return Stage::Done,
                Err(_) => self.mark_hung(),
            }
            let hang = self.in_flight.values().all(|call| call.hangs);
            if hang && !self.in_flight.is_empty() {
                return Stage::Hangs;
            }
        }
    }

    /// The events that have their verdicts and were not settled, and the ids of those that hang.
    pub(super) fn settleable(&mut self) -> (Vec<Slot>, Vec<EventId>) {
        let mut kept = vec![false; self.slots.len()];
        for slot in self.in_flight.values().flat_map(|call| &call.slots) {
            kept[*slot] = true;
        }
        let ids = self.slots.iter().zip(&kept);
        let ids = ids
            .filter(|(_, kept)| **kept)
            .filter_map(|(slot, _)| slot.as_ref());
        let ids = ids.map(|slot| slot.id).collect();
        let answered = self.slots.iter_mut().zip(kept);
        let answered = answered.filter_map(|(slot, kept)| if kept { None } else { slot.take() });
        (answered.collect(), ids)
    }

    /// The calls so far, by their numbers. Empty without an observer.
    pub(super) fn ended(&self) -> &[Ended] {
        self.ended.as_deref().unwrap_or_default()
    }

    /// Whether each call that hangs has a named destination, which gets no other call.
    pub(super) fn has_only_named_calls(&self) -> bool {
        let mut calls = self.in_flight.values();
        calls.all(|call| call.call.target().name().is_some())
    }

    /// Makes a call for each destination that has events which may be sent.
    fn start_calls(&mut self) {
        if self.ready.is_empty() {
            return;
        }
        self.halted |= !self.publisher.may_call();
        let ready = std::mem::take(&mut self.ready);
        if self.halted {
            return;
        }
        let mut groups: HashMap<Target, Group> = HashMap::new();
        let mut gates: HashMap<Arc<str>, Gate> = HashMap::new();
        for key in ready {
            let Some(target) = self.first(key) else {
                continue;
            };
            let Some(name) = target.name() else {
                self.send(key, target, &mut groups);
                continue;
            };
            let gate = gates.entry(Arc::clone(name));
            let gate = gate.or_insert_with(|| self.pauses.gate(name));
            match gate {
                Gate::Open => self.send(key, target, &mut groups),
                Gate::Paused => self.hold(key, name),
                Gate::Probe(events) => {
                    *gate = match *events {
                        0 | 1 => Gate::Paused,
                        more => Gate::Probe(more - 1),
                    };
                    let group = groups.entry(target).or_default();
                    group.is_probe = true;
                    group.slots.extend(self.keys[key].waiting.pop_front());
                }
            }
        }
        for (target, group) in groups {
            self.start_call(target, group);
        }
    }

    /// The destination of the first waiting event of a key. None if no event may be sent.
    fn first(&self, key: usize) -> Option<Target> {
        let queue = &self.keys[key];
        let first = queue.waiting.front().filter(|_| !queue.closed)?;
        Some(self.waiting[*first].as_ref()?.target.clone())
    }

    fn target(&self, event: &Event, learnt: Option<Arc<str>>) -> Target {
        match (self.publisher.transport.destination(event), learnt) {
            (Some(name), _) => Target::Named(label(&name)),
            (None, Some(name)) => Target::Learnt(name),
            (None, None) => Target::Unknown,
        }
    }

    /// An event whose destination pauses is not sent, and its successors wait with it.
    fn hold(&mut self, key: usize, destination: &Arc<str>) {
        let queue = &mut self.keys[key];
        queue.closed = true;
        if let Some(held) = queue.waiting.pop_front()
            && let Some(slot) = &mut self.slots[held]
        {
            self.waiting[held] = None;
            slot.verdict = Verdict::Paused(Arc::clone(destination));
        }
    }

    fn send(&mut self, key: usize, target: Target, groups: &mut HashMap<Target, Group>) {
        let queue = &mut self.keys[key].waiting;
        let waiting = &self.waiting;
        let has_target = |event: &Waiting| event.target == target;
        let more =
            |slot: &usize| self.keeps_order && waiting[*slot].as_ref().is_some_and(has_target);
        let mut sent = Vec::from_iter(queue.pop_front());
        while queue.front().is_some_and(more) {
            sent.extend(queue.pop_front());
        }
        groups.entry(target).or_default().slots.extend(sent);
    }

    fn start_call(&mut self, target: Target, group: Group) {
        let Group {
            mut slots,
            is_probe,
        } = group;
        slots.sort_unstable();
        let sent = slots.iter().filter_map(|slot| self.waiting[*slot].take());
        let events: Vec<Event> = sent.map(|sent| sent.event).collect();
        let known = slots.iter().filter_map(|slot| self.slots[*slot].as_ref());
        let traces = Traces::of(&events, known);
        let started = Started::now();
        let call = self.pauses.call(&target, is_probe);
        let number = self.made;
        self.made += 1;
        if let Some(ended) = &mut self.ended {
            ended.push(Ended {
                destination: target.name().cloned(),
                took: Duration::ZERO,
                at: SystemTime::UNIX_EPOCH,
            });
        }
        let in_flight = InFlight {
            started: started.clone(),
            slots,
            call,
            patience: if is_probe { HUNG_PROBE } else { HUNG },
            hangs: false,
        };
        self.in_flight.insert(number, in_flight);
        let publisher = self.publisher.clone();
        let publish = async move {
            let verdicts = publisher.publish(&events, target, started, traces).await;
            (number, verdicts)
        };
        self.calls.push(publish.boxed());
    }

    fn apply(&mut self, number: usize, verdicts: Vec<Verdict>) {
        let Some(ended) = self.in_flight.remove(&number) else {
            return;
        };
        if let Some(seen) = self.ended.as_mut().and_then(|calls| calls.get_mut(number)) {
            (seen.took, seen.at) = (ended.call.made().elapsed(), SystemTime::now());
        }
        if !matches!(ended.call.target(), Target::Named(_)) {
            self.learn(&ended.slots, &verdicts);
        }
        self.inform(ended.call, &verdicts);
        let (alone, whole) = (ended.slots.len() == 1, self.slots.len() == 1);
        let mut keys = Vec::with_capacity(ended.slots.len());
        for (slot, verdict) in ended.slots.into_iter().zip(verdicts) {
            let Some(slot) = &mut self.slots[slot] else {
                continue;
            };
            let concerns_all = concerns_all(&verdict);
            self.halted |= concerns_all;
            let queue = &mut self.keys[slot.key];
            queue.closed |= match verdict {
                Verdict::Published => false,
                Verdict::Permanent { .. } => self.blocks_key,
                _ => true,
            };
            if !queue.waiting.is_empty() {
                keys.push(slot.key);
            }
            slot.alone = if concerns_all { whole } else { alone };
            slot.verdict = verdict;
            slot.call = number;
        }
        keys.sort_unstable();
        keys.dedup();
        self.ready.extend(keys);
    }

    /// Notes the destinations that only errors named.
    fn learn(&self, slots: &[usize], verdicts: &[Verdict]) {
        let named = slots.iter().zip(verdicts);
        let named = named.filter_map(|(slot, verdict)| {
            let (destination, _) = failure(verdict)?;
            Some((self.slots[*slot].as_ref()?.id, destination))
        });
        self.pauses.learn(named);
    }

    /// Tells the breakers of the destinations what a call answered.
    fn inform(&self, call: Call, verdicts: &[Verdict]) {
        let mut answers: HashMap<Arc<str>, Answer> = HashMap::new();
        for (destination, failure) in verdicts.iter().filter_map(failure) {
            let known = answers.get(destination);
            if !matches!(known, Some(Answer::Failed(..))) {
                answers.insert(Arc::clone(destination), failure);
            }
        }
        if let Some(own) = call.target().name()
            && verdicts.iter().any(is_answer)
        {
            answers.entry(Arc::clone(own)).or_insert(Answer::Works);
        }
        call.end(&answers, verdicts.iter().any(is_reply), self.schedule);
    }

    fn mark_hung(&mut self) {
        let now = Instant::now();
        for call in self.in_flight.values_mut() {
            if call.hangs_at() <= now {
                call.hangs = true;
                self.halted = true;
                let after = call.patience;
                call.call.hangs(after);
            }
        }
    }
}

/// The number of each event's key, and how many keys there are. An event without a key has a number of
/// its own.
fn number_keys(events: &[ClaimedEvent]) -> (Vec<usize>, usize) {
    let (mut names, mut fresh) = (HashMap::new(), 0);
    let mut numbers = Vec::with_capacity(events.len());
    for claimed in events {
        let number = match claimed.event.ordering_key.as_deref() {
            Some(name) => *names.entry(name).or_insert(fresh),
            None => fresh,
        };
        fresh += usize::from(number == fresh);
        numbers.push(number);
    }
    (numbers, fresh)
}

impl InFlight {
    fn hangs_at(&self) -> Instant {
        self.started.at() + self.patience
    }
}

/// The destination that a verdict is about, and why it gets no events.
fn failure(verdict: &Verdict) -> Option<(&Arc<str>, Answer)> {
    match verdict {
        Verdict::Unavailable {
            destination: Some(name),
            kind,
            error,
        } => Some((name, Answer::Failed(*kind, error.clone()))),
        Verdict::Throttled {
            destination: Some(name),
            after,
            error,
        } => Some((name, Answer::Throttled(*after, error.clone()))),
        _ => None,
    }
}

/// Whether the broker has answered for the event.
fn is_answer(verdict: &Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Published | Verdict::Rejected(_) | Verdict::Permanent { .. }
    )
}

/// Whether the broker has replied, if only to say why the event must wait.
fn is_reply(verdict: &Verdict) -> bool {
    let kind = match verdict {
        Verdict::Unavailable { kind, .. } => *kind,
        Verdict::Throttled { .. } => return true,
        other => return is_answer(other),
    };
    kind == PublishErrorKind::Misconfigured
}

/// Whether the verdict says that no event can be sent.
fn concerns_all(verdict: &Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Unavailable {
            destination: None,
            ..
        } | Verdict::Throttled {
            destination: None,
            ..
        }
    )
}

impl Slot {
    /// The kind and the text of an error that is about the whole broker.
    pub(super) fn outage(&self) -> Option<(PublishErrorKind, &ErrorText)> {
        match &self.verdict {
            Verdict::Unavailable {
                destination: None,
                kind,
                error,
            } => Some((*kind, error)),
            _ => None,
        }
    }

    /// The destination that was unavailable when it got this event alone, or None for the whole broker,
    /// and its error.
    pub(super) fn lone_failure(&self) -> Option<(Option<&Arc<str>>, &ErrorText)> {
        match &self.verdict {
            Verdict::Unavailable {
                destination,
                kind: PublishErrorKind::Unavailable,
                error,
            } if self.alone => Some((destination.as_ref(), error)),
            _ => None,
        }
    }

    /// Whether the broker has answered for the event.
    pub(super) fn is_answered(&self) -> bool {
        is_answer(&self.verdict)
    }
}
