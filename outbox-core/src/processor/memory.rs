//! What a worker remembers of single events.

use crate::object::EventId;
use std::collections::HashMap;
use std::sync::Arc;

/// The most events that are remembered because they were alone when their destination failed.
const SUSPECTS: usize = 10_000;

/// The most events whose destination is remembered because only an error named it.
const LEARNT: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Memory {
    suspects: HashMap<EventId, Suspect>,
    learnt: HashMap<EventId, Arc<str>>,
}

/// An event that was alone when its destination failed.
#[derive(Debug)]
struct Suspect {
    /// None: the whole broker.
    destination: Option<Arc<str>>,
    /// Whether the destination has worked since.
    cleared: bool,
}

impl Memory {
    /// Notes that an event was alone when its destination failed. Returns whether it is the cause: the
    /// destination has worked since the last time.
    pub(super) fn blame(&mut self, event: EventId, destination: Option<&Arc<str>>) -> bool {
        if self.suspects.len() >= SUSPECTS {
            self.suspects.clear();
        }
        let suspect = Suspect {
            destination: destination.cloned(),
            cleared: false,
        };
        let before = self.suspects.insert(event, suspect);
        before.is_some_and(|before| before.cleared)
    }

    /// Notes that a destination that had failed works.
    pub(super) fn works(&mut self, destination: Option<&Arc<str>>) {
        for suspect in self.suspects.values_mut() {
            suspect.cleared |= suspect.destination.as_ref() == destination;
        }
    }

    /// Notes that an error named the destination of an event.
    pub(super) fn learn(&mut self, event: EventId, destination: &Arc<str>) {
        if self.learnt.len() < LEARNT || self.learnt.contains_key(&event) {
            self.learnt.insert(event, Arc::clone(destination));
        }
    }

    /// The destinations that errors named, of these events.
    pub(super) fn learnt(
        &self,
        events: impl Iterator<Item = EventId>,
    ) -> HashMap<EventId, Arc<str>> {
        if self.learnt.is_empty() {
            return HashMap::new();
        }
        let known = events.filter_map(|event| Some((event, self.learnt.get(&event)?.clone())));
        known.collect()
    }

    /// Forgets the events of a destination that has no problem.
    pub(super) fn forget_destination(&mut self, destination: &str) {
        self.learnt.retain(|_, learnt| **learnt != *destination);
    }

    /// Forgets events for which the broker has answered.
    pub(super) fn answered(&mut self, events: impl Iterator<Item = EventId>) {
        if self.suspects.is_empty() && self.learnt.is_empty() {
            return;
        }
        for event in events {
            self.suspects.remove(&event);
            self.learnt.remove(&event);
        }
    }
}
