//! What the observers of a worker see of its claims.

use super::OutboxProcessor;
use super::call::Verdict;
use super::publish::Slot;
use crate::observer::{Observation, Observer, Observers};
use crate::storage::{Outcome, Settlement};
use crate::transport::PublishErrorKind;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

/// A call of the transport that has ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) destination: Option<Arc<str>>,
    pub(super) took: Duration,
    pub(super) at: SystemTime,
}

/// A claim that counts as open, until it is dropped.
pub(super) struct Open<'w>(&'w OutboxProcessor);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let before = self.0.open.fetch_sub(1, Ordering::Relaxed);
        let in_flight = before.saturating_sub(1);
        self.0.observers.notify(Observation::Claims { in_flight });
    }
}

impl OutboxProcessor {
    /// Adds an observer of this worker.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    pub(crate) fn with_observers(mut self, observers: Observers) -> Self {
        self.observers = observers;
        self
    }

    /// Counts a claim as open.
    pub(super) fn open_claim(&self) -> Open<'_> {
        let in_flight = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.observers.notify(Observation::Claims { in_flight });
        Open(self)
    }

    /// Reports the breakers that have opened or closed.
    pub(super) fn note_breakers(&self) {
        if self.observers.is_empty() {
            return;
        }
        for (destination, kind) in self.pauses.changes() {
            self.observers.notify(Observation::Breaker {
                destination: destination.as_deref(),
                kind,
            });
        }
    }

    /// Reports settled events.
    pub(super) fn note_settled(&self, slots: &[Slot], settlements: &[Settlement], calls: &[Ended]) {
        if self.observers.is_empty() {
            return;
        }
        self.note_published(slots, calls);
        self.note_failed(slots, calls);
        self.note_waiting(slots, settlements);
    }

    fn note_published(&self, slots: &[Slot], calls: &[Ended]) {
        let published = slots.iter().filter_map(|slot| {
            let call = calls.get(slot.call)?;
            let delay = call.at.duration_since(slot.created_at).unwrap_or_default();
            (slot.verdict == Verdict::Published).then_some((slot.call, delay))
        });
        let mut published: Vec<(usize, Duration)> = published.collect();
        published.sort_by_key(|(call, _)| *call);
        let mut delays = Vec::with_capacity(published.len());
        for group in published.chunk_by(|(one, _), (other, _)| one == other) {
            let call = &calls[group[0].0];
            delays.clear();
            delays.extend(group.iter().map(|(_, delay)| *delay));
            self.observers.notify(Observation::Published {
                destination: call.destination.as_deref(),
                took: call.took,
                delays: &delays,
            });
        }
    }

    fn note_failed(&self, slots: &[Slot], calls: &[Ended]) {
        let mut failed: HashMap<(Option<&str>, &str), (PublishErrorKind, usize)> = HashMap::new();
        for slot in slots {
            let Some((kind, destination)) = failure(&slot.verdict) else {
                continue;
            };
            let of_call = || calls.get(slot.call)?.destination.as_deref();
            let destination = destination.map(|name| &**name).or_else(of_call);
            let group = failed
                .entry((destination, kind.name()))
                .or_insert((kind, 0));
            group.1 += 1;
        }
        for ((destination, _), (kind, events)) in failed {
            self.observers.notify(Observation::Failed {
                destination,
                kind,
                events,
            });
            if kind == PublishErrorKind::Permanent {
                let quarantined = Observation::Quarantined { kind, events };
                self.observers.notify(quarantined);
            }
        }
    }

    /// Events that were not sent, or whose broker did not answer.
    fn note_waiting(&self, slots: &[Slot], settlements: &[Settlement]) {
        let is_lost = |slot: &&Slot| matches!(slot.verdict, Verdict::Lost(_));
        let taken_over = slots.iter().filter(is_lost).count();
        let mut released = 0;
        let mut held: HashMap<&str, usize> = HashMap::new();
        for settlement in settlements {
            match &settlement.outcome {
                Outcome::Released { .. } => released += 1,
                Outcome::Held { destination, .. } => *held.entry(destination).or_default() += 1,
                _ => {}
            }
        }
        if taken_over > 0 {
            let events = taken_over;
            self.observers.notify(Observation::TakenOver { events });
        }
        if released > 0 {
            let events = released;
            self.observers.notify(Observation::Released { events });
        }
        for (destination, events) in held {
            self.observers.notify(Observation::Held {
                destination,
                events,
            });
        }
    }
}

/// Why the broker did not accept an event, and the destination that its error named.
fn failure(verdict: &Verdict) -> Option<(PublishErrorKind, Option<&Arc<str>>)> {
    match verdict {
        Verdict::Rejected(_) => Some((PublishErrorKind::Rejected, None)),
        Verdict::Permanent { .. } => Some((PublishErrorKind::Permanent, None)),
        Verdict::Unavailable {
            destination, kind, ..
        } => Some((*kind, destination.as_ref())),
        Verdict::Throttled {
            destination, after, ..
        } => Some((PublishErrorKind::Throttled(*after), destination.as_ref())),
        Verdict::Published | Verdict::Paused(_) | Verdict::Lost(_) | Verdict::Untried => None,
    }
}
