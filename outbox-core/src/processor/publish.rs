//! Publishing one claim: concurrent across keys and destinations, in order within a key.
//!
//! A call has the first waiting event of each key, of one destination. If the transport keeps order, it has
//! all waiting events of the key that have the destination.

use super::call::{Publisher, Started, Verdict};
use super::destinations::{Answer, Call, Gate, Pauses, label};
use crate::object::{ErrorText, Event, EventId};
use crate::retry::RetrySchedule;
use crate::storage::ClaimedEvent;
use crate::transport::PublishErrorKind;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
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
    /// It was alone in its call.
    pub(super) alone: bool,
    key: usize,
}

/// The events of a key that were not sent yet.
#[derive(Debug, Default)]
struct KeyQueue {
    waiting: VecDeque<(usize, Event)>,
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
    keys: Vec<KeyQueue>,
    /// Keys whose first waiting event may be sent.
    ready: Vec<usize>,
    calls: FuturesUnordered<BoxFuture<'w, (usize, Vec<Verdict>)>>,
    /// By the number of the call.
    in_flight: HashMap<usize, InFlight>,
    made: usize,
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
    /// None: the transport names no destination.
    call: Option<Call>,
    /// The call hangs if it takes longer.
    patience: Duration,
    hangs: bool,
}

/// The events of one call.
#[derive(Default)]
struct Group {
    events: Vec<(usize, Event)>,
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
    ) -> Self {
        let mut publication = Self {
            keeps_order: publisher.transport.keeps_order(),
            publisher,
            pauses,
            schedule,
            slots: Vec::with_capacity(events.len()),
            keys: Vec::new(),
            ready: Vec::new(),
            calls: FuturesUnordered::new(),
            in_flight: HashMap::new(),
            made: 0,
            blocks_key,
            halted: false,
        };
        let mut keys = HashMap::new();
        for claimed in events {
            let fresh = publication.keys.len();
            let key = match &claimed.event.ordering_key {
                Some(name) => *keys.entry(name.clone()).or_insert(fresh),
                None => fresh,
            };
            if key == fresh {
                publication.keys.push(KeyQueue::default());
                publication.ready.push(key);
            }
            publication.add(claimed, key);
        }
        publication
    }

    fn add(&mut self, claimed: ClaimedEvent, key: usize) {
        let (id, attempts) = (claimed.event.id, claimed.attempts);
        let verdict = if claimed.worker_lost {
            self.keys[key].closed = true;
            Verdict::Lost(ErrorText::new("worker lost while it held this event alone"))
        } else {
            let slot = self.slots.len();
            self.keys[key].waiting.push_back((slot, claimed.event));
            Verdict::Untried
        };
        self.slots.push(Some(Slot {
            id,
            attempts,
            verdict,
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

    /// Whether each call that hangs has a named destination, which gets no other call.
    pub(super) fn has_only_named_calls(&self) -> bool {
        self.in_flight.values().all(|call| call.call.is_some())
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
        let mut groups: HashMap<Option<Arc<str>>, Group> = HashMap::new();
        let mut gates: HashMap<Arc<str>, Gate> = HashMap::new();
        for key in ready {
            let Some(event) = self.first(key) else {
                continue;
            };
            let destination = self.destination_of(event);
            let Some(name) = &destination else {
                self.send(key, None, &mut groups);
                continue;
            };
            let gate = gates.entry(Arc::clone(name));
            let gate = gate.or_insert_with(|| self.pauses.gate(name));
            match gate {
                Gate::Open => self.send(key, destination, &mut groups),
                Gate::Paused => self.hold(key, name),
                Gate::Probe(events) => {
                    *gate = match *events {
                        0 | 1 => Gate::Paused,
                        more => Gate::Probe(more - 1),
                    };
                    let group = groups.entry(destination).or_default();
                    group.is_probe = true;
                    group.events.extend(self.keys[key].waiting.pop_front());
                }
            }
        }
        for (destination, group) in groups {
            self.start_call(destination, group);
        }
    }

    /// The first waiting event of a key. None if no event may be sent.
    fn first(&self, key: usize) -> Option<&Event> {
        let queue = &self.keys[key];
        let (_, event) = queue.waiting.front().filter(|_| !queue.closed)?;
        Some(event)
    }

    fn destination_of(&self, event: &Event) -> Option<Arc<str>> {
        self.publisher
            .transport
            .destination(event)
            .map(|name| label(&name))
    }

    /// An event whose destination pauses is not sent, and its successors wait with it.
    fn hold(&mut self, key: usize, destination: &Arc<str>) {
        let queue = &mut self.keys[key];
        queue.closed = true;
        if let Some((slot, _)) = queue.waiting.pop_front()
            && let Some(slot) = &mut self.slots[slot]
        {
            slot.verdict = Verdict::Paused(Arc::clone(destination));
        }
    }

    fn send(
        &mut self,
        key: usize,
        destination: Option<Arc<str>>,
        groups: &mut HashMap<Option<Arc<str>>, Group>,
    ) {
        let mut sent = Vec::new();
        while let Some((_, event)) = self.keys[key].waiting.front() {
            let more = self.keeps_order && self.destination_of(event) == destination;
            if !sent.is_empty() && !more {
                break;
            }
            sent.extend(self.keys[key].waiting.pop_front());
        }
        groups.entry(destination).or_default().events.extend(sent);
    }

    fn start_call(&mut self, destination: Option<Arc<str>>, group: Group) {
        let Group {
            mut events,
            is_probe,
        } = group;
        events.sort_unstable_by_key(|(slot, _)| *slot);
        let (slots, events): (Vec<usize>, Vec<Event>) = events.into_iter().unzip();
        let started = Started::now();
        let call = destination
            .as_ref()
            .map(|name| self.pauses.call(name, is_probe));
        let number = self.made;
        self.made += 1;
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
            let verdicts = publisher.publish(&events, destination, started).await;
            (number, verdicts)
        };
        self.calls.push(publish.boxed());
    }

    fn apply(&mut self, number: usize, verdicts: Vec<Verdict>) {
        let Some(ended) = self.in_flight.remove(&number) else {
            return;
        };
        self.inform(ended.call, &verdicts);
        let alone = ended.slots.len() == 1;
        let mut keys = Vec::with_capacity(ended.slots.len());
        for (slot, verdict) in ended.slots.into_iter().zip(verdicts) {
            let Some(slot) = &mut self.slots[slot] else {
                continue;
            };
            self.halted |= concerns_all(&verdict);
            let queue = &mut self.keys[slot.key];
            queue.closed |= match verdict {
                Verdict::Published => false,
                Verdict::Permanent { .. } => self.blocks_key,
                _ => true,
            };
            if !queue.waiting.is_empty() {
                keys.push(slot.key);
            }
            (slot.verdict, slot.alone) = (verdict, alone);
        }
        keys.sort_unstable();
        keys.dedup();
        self.ready.extend(keys);
    }

    /// Tells the breakers of the destinations what a call answered.
    fn inform(&self, call: Option<Call>, verdicts: &[Verdict]) {
        let own = call.as_ref().map(Call::destination);
        let generation = call.as_ref().map_or(0, Call::generation);
        let mut answer = Answer::None;
        for verdict in verdicts {
            match verdict {
                Verdict::Published | Verdict::Rejected(_) | Verdict::Permanent { .. } => {
                    if matches!(answer, Answer::None) {
                        answer = Answer::Works;
                    }
                }
                Verdict::Unavailable {
                    destination: Some(name),
                    kind,
                    error,
                } => {
                    let failed = Answer::Failed(*kind, error.clone());
                    if own == Some(name) {
                        answer = failed;
                    } else {
                        self.pauses.failed(name, generation, &failed, self.schedule);
                    }
                }
                Verdict::Throttled {
                    destination: Some(name),
                    after,
                    error,
                } => {
                    let throttled = Answer::Throttled(*after, error.clone());
                    if own != Some(name) {
                        self.pauses
                            .failed(name, generation, &throttled, self.schedule);
                    } else if !matches!(answer, Answer::Failed(..)) {
                        answer = throttled;
                    }
                }
                _ => {}
            }
        }
        if let Some(call) = call {
            call.end(&answer, self.schedule);
        }
    }

    fn mark_hung(&mut self) {
        let now = Instant::now();
        for call in self.in_flight.values_mut() {
            if call.hangs_at() <= now {
                call.hangs = true;
                self.halted = true;
                let after = call.patience;
                if let Some(call) = &mut call.call {
                    call.hangs(after);
                }
            }
        }
    }
}

impl InFlight {
    fn hangs_at(&self) -> Instant {
        self.started.at() + self.patience
    }
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

    /// The destination that was unavailable when it got this event alone, and its error.
    pub(super) fn lone_failure(&self) -> Option<(&Arc<str>, &ErrorText)> {
        match &self.verdict {
            Verdict::Unavailable {
                destination: Some(name),
                kind: PublishErrorKind::Unavailable,
                error,
            } if self.alone => Some((name, error)),
            _ => None,
        }
    }
}
