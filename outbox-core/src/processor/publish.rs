//! Publishing one claim: concurrent across keys, in order within a key.
//!
//! A claim goes out in rounds of one event a key, or in a single round if the transport keeps order.

use crate::object::{ErrorText, Event, EventId};
use crate::shutdown::Stop;
use crate::storage::ClaimedEvent;
use crate::transport::{PublishError, PublishErrorKind, Transport};
use futures_util::FutureExt;
use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use tokio::time::{Duration, Instant, sleep};

/// The result of publishing one event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    Published,
    Rejected(ErrorText),
    Permanent {
        event_type: String,
        reason: ErrorText,
    },
    Unavailable(ErrorText),
    Throttled(Duration),
    /// Not sent: a worker was lost while it held this event alone.
    Lost(ErrorText),
    /// Not sent, or cancelled at shutdown.
    Untried,
}

/// One event of the claim, without its payload.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: EventId,
    pub(super) attempts: u32,
    pub(super) verdict: Verdict,
    key: usize,
}

/// Events of one call: the nth event of each key, or all events of the claim if the transport keeps
/// order.
#[derive(Debug, Default)]
struct Round {
    events: Vec<Event>,
    slots: Vec<usize>,
}

/// A claim, arranged for publishing.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) slots: Vec<Slot>,
    rounds: Vec<Round>,
    /// For each key, whether an event of it failed, so that its successors must wait.
    closed: Vec<bool>,
    /// Whether a permanent failure closes its key too.
    blocks_key: bool,
    /// Whether all events go out in one round.
    keeps_order: bool,
}

impl Plan {
    pub(super) fn new(events: Vec<ClaimedEvent>, blocks_key: bool, keeps_order: bool) -> Self {
        let mut plan = Self {
            slots: Vec::with_capacity(events.len()),
            rounds: Vec::new(),
            closed: Vec::new(),
            blocks_key,
            keeps_order,
        };
        let mut keys = HashMap::new();
        let mut sent = Vec::new();
        for claimed in events {
            let fresh = plan.closed.len();
            let key = match &claimed.event.ordering_key {
                Some(name) => *keys.entry(name.clone()).or_insert(fresh),
                None => fresh,
            };
            if key == fresh {
                plan.closed.push(false);
                sent.push(0);
            }
            plan.add(claimed, key, &mut sent[key]);
        }
        plan
    }

    fn add(&mut self, claimed: ClaimedEvent, key: usize, sent: &mut usize) {
        let slot = self.slots.len();
        let id = claimed.event.id;
        let verdict = if claimed.worker_lost {
            self.closed[key] = true;
            Verdict::Lost(ErrorText::new("worker lost while it held this event alone"))
        } else {
            let round = if self.keeps_order { 0 } else { *sent };
            if self.rounds.len() == round {
                self.rounds.push(Round::default());
            }
            self.rounds[round].events.push(claimed.event);
            self.rounds[round].slots.push(slot);
            *sent += 1;
            Verdict::Untried
        };
        self.slots.push(Slot {
            id,
            attempts: claimed.attempts,
            verdict,
            key,
        });
    }

    /// Publishes round by round until all events are done, the broker is unavailable, or the time is
    /// over.
    pub(super) async fn publish(&mut self, publisher: &mut Publisher<'_>) {
        for round in std::mem::take(&mut self.rounds) {
            let round = self.open_part(round);
            if round.slots.is_empty() {
                continue;
            }
            let verdicts = publisher.publish(&round.events).await;
            for (slot, verdict) in round.slots.into_iter().zip(verdicts) {
                let slot = &mut self.slots[slot];
                self.closed[slot.key] |= match verdict {
                    Verdict::Published => false,
                    Verdict::Permanent { .. } => self.blocks_key,
                    _ => true,
                };
                slot.verdict = verdict;
            }
            if publisher.halted {
                return;
            }
        }
    }

    /// The events of a round whose keys are not closed.
    fn open_part(&self, round: Round) -> Round {
        let mut open = Round::default();
        for (event, slot) in round.events.into_iter().zip(round.slots) {
            if !self.closed[self.slots[slot].key] {
                open.events.push(event);
                open.slots.push(slot);
            }
        }
        open
    }
}

/// Calls a transport, with a timeout and with its panics caught.
#[derive(Debug)]
pub(super) struct Publisher<'a> {
    pub(super) transport: &'a dyn Transport,
    pub(super) timeout: Duration,
    /// The most bytes of one call with several events.
    pub(super) bytes: usize,
    /// When the lease of the claim runs out.
    pub(super) lease_end: Instant,
    pub(super) stop: &'a mut Stop,
    /// Set when no further call makes sense in this pass.
    pub(super) halted: bool,
}

enum Answer {
    Results(Vec<Result<(), PublishError>>),
    /// The call failed as a whole: it panicked, or its answers do not fit its events.
    Broken(ErrorText),
    TimedOut,
    Stopped,
}

impl Publisher<'_> {
    /// One verdict per event. A call that fails as a whole is split until the culprit is alone, and so
    /// is one with an event behind another of its key that was not taken.
    async fn publish(&mut self, events: &[Event]) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(events.len());
        let mut closed = HashSet::new();
        let mut parts = within(events, self.bytes);
        parts.reverse();
        while let Some(part) = parts.pop() {
            if self.halted || !self.may_call() {
                self.halted = true;
                verdicts.extend(part.iter().map(|_| Verdict::Untried));
                continue;
            }
            if part.iter().any(|event| is_closed(&closed, event)) {
                match part {
                    [_] => verdicts.push(Verdict::Untried),
                    part => parts.extend(halves(part)),
                }
                continue;
            }
            match self.call(part).await {
                Answer::Results(results) => {
                    for (event, result) in part.iter().zip(results) {
                        verdicts.push(self.judge(event, result, &mut closed));
                    }
                }
                Answer::Broken(text) if part.len() == 1 => {
                    closed.extend(part[0].ordering_key.as_deref());
                    verdicts.push(Verdict::Rejected(text));
                }
                Answer::Broken(_) => parts.extend(halves(part)),
                Answer::TimedOut => {
                    self.halted = true;
                    let text = format!("no answer within {:?}", self.timeout);
                    let verdict = Verdict::Unavailable(ErrorText::new(&text));
                    verdicts.extend(part.iter().map(|_| verdict.clone()));
                }
                Answer::Stopped => {
                    self.halted = true;
                    verdicts.extend(part.iter().map(|_| Verdict::Untried));
                }
            }
        }
        verdicts
    }

    /// A call must be able to time out before another worker may take the claim over.
    fn may_call(&self) -> bool {
        !self.stop.requested() && Instant::now() + self.timeout < self.lease_end
    }

    async fn call(&mut self, events: &[Event]) -> Answer {
        let transport = self.transport;
        // A panic may leave the transport in an inconsistent state, which its author must handle. The
        // worker changes no state during the call.
        let publish = AssertUnwindSafe(async { transport.publish(events).await }).catch_unwind();
        tokio::select! {
            biased;
            results = publish => match results {
                Ok(results) if results.len() == events.len() => Answer::Results(results),
                Ok(results) => Answer::Broken(ErrorText::new(&format!(
                    "the transport gave {} answers for {} events", results.len(), events.len()
                ))),
                Err(panic) => Answer::Broken(panic_text(&*panic)),
            },
            () = sleep(self.timeout) => Answer::TimedOut,
            () = self.stop.grace_over() => Answer::Stopped,
        }
    }

    /// The verdict of an answer. An error after an event of the same key that was not accepted is
    /// ignored.
    fn judge<'e>(
        &mut self,
        event: &'e Event,
        result: Result<(), PublishError>,
        closed: &mut HashSet<&'e str>,
    ) -> Verdict {
        let Err(error) = result else {
            return Verdict::Published;
        };
        if is_closed(closed, event) {
            return Verdict::Untried;
        }
        closed.extend(event.ordering_key.as_deref());
        let text = ErrorText::from_error(&error);
        match error.kind() {
            PublishErrorKind::Rejected => Verdict::Rejected(text),
            PublishErrorKind::Permanent => Verdict::Permanent {
                event_type: event.event_type.clone(),
                reason: text,
            },
            PublishErrorKind::Unavailable | PublishErrorKind::Misconfigured => {
                self.halted = true;
                Verdict::Unavailable(text)
            }
            PublishErrorKind::Throttled(after) => {
                self.halted = true;
                Verdict::Throttled(after)
            }
        }
    }
}

fn is_closed(closed: &HashSet<&str>, event: &Event) -> bool {
    let key = event.ordering_key.as_deref();
    key.is_some_and(|key| closed.contains(key))
}

/// Both halves, the second one first, because the parts are a stack.
fn halves(part: &[Event]) -> [&[Event]; 2] {
    let (first, second) = part.split_at(part.len() / 2);
    [second, first]
}

/// Cuts `events` into parts that have at most `bytes` each, or are a single event.
fn within(mut events: &[Event], bytes: usize) -> Vec<&[Event]> {
    let mut parts = Vec::new();
    while !events.is_empty() {
        let mut size = 0_usize;
        let fits = |event: &&Event| {
            size = size.saturating_add(event.size());
            size <= bytes
        };
        let count = events.iter().take_while(fits).count().max(1);
        let (part, rest) = events.split_at(count);
        parts.push(part);
        events = rest;
    }
    parts
}

fn panic_text(panic: &(dyn Any + Send)) -> ErrorText {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    ErrorText::new(&format!("the transport panicked: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_as_many_events_as_fit_but_at_least_one() {
        let sizes = [3, 3, 4, 11, 10, 0, 1, 9];
        let events = sizes.map(|size| Event::new("x", vec![0; size]));
        let parts: Vec<Vec<usize>> = within(&events, 10)
            .into_iter()
            .map(|part| part.iter().map(Event::size).collect())
            .collect();
        assert_eq!(parts, [vec![3, 3, 4], vec![11], vec![10, 0], vec![1, 9]]);
        assert!(within(&[], 10).is_empty());
    }
}
