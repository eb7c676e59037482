//! The log, the keys that are claimed or wait, and the steps that claim, settle and quarantine share.

use outbox_core::{
    ClaimToken, DeadLetter, ErrorKind, ErrorText, Event, EventId, OutboxError, RelayRecord,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(crate) const BACKEND: &str = "memory";

/// The longest lease or delay: a thousand years. The end of a longer one may not be a valid time.
pub(crate) const LONGEST: Duration = Duration::from_secs(1000 * 365 * 24 * 3600);

/// The events with one key are published in order: an ordering key, or the id of an event without one.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Key {
    Ordering(String),
    Event(EventId),
}

impl Key {
    pub(crate) fn of(event: &Event) -> Self {
        match &event.ordering_key {
            Some(name) => Self::Ordering(name.clone()),
            None => Self::Event(event.id),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) event: Event,
    pub(crate) replays: u32,
}

/// A key that is claimed or waits. All its events wait for the first.
#[derive(Debug)]
pub(crate) struct KeyState {
    /// Its events that the cursor has passed, in order. Never empty.
    pub(crate) rows: BTreeSet<u64>,
    pub(crate) claim: Option<ClaimToken>,
    pub(crate) due: SystemTime,
    /// The failed attempts of its first event.
    pub(crate) attempts: u32,
    /// Events up to this row number were in a claim whose worker was lost.
    pub(crate) suspect: u64,
    pub(crate) worker_lost: bool,
    /// S23: the destination for which its first event is held.
    pub(crate) held_for: Option<Arc<str>>,
    /// The error of the last failed attempt of its first event.
    pub(crate) last_error: Option<ErrorText>,
}

impl KeyState {
    pub(crate) fn waiting(due: SystemTime) -> Self {
        Self {
            rows: BTreeSet::new(),
            claim: None,
            due,
            attempts: 0,
            suspect: 0,
            worker_lost: false,
            held_for: None,
            last_error: None,
        }
    }

    /// Another event is the first. It is due now, with no attempts.
    pub(crate) fn reset(&mut self, now: SystemTime) {
        self.attempts = 0;
        self.worker_lost = false;
        self.held_for = None;
        self.last_error = None;
        self.due = now;
    }

    pub(crate) fn is_suspect(&self) -> bool {
        self.rows.first().is_some_and(|head| *head <= self.suspect)
    }
}

/// A dead letter with its event.
#[derive(Clone, Debug)]
pub(crate) struct QuarantinedEvent {
    pub(crate) about: DeadLetter,
    pub(crate) event: Event,
}

#[derive(Debug)]
pub(crate) struct ClaimState {
    pub(crate) lease: Duration,
    pub(crate) leased_until: SystemTime,
    pub(crate) rows: BTreeSet<u64>,
    /// It was made for a single event.
    pub(crate) is_lone: bool,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) log: BTreeMap<u64, Row>,
    pub(crate) ids: HashMap<EventId, u64>,
    pub(crate) tokens: HashMap<String, EventId>,
    pub(crate) last_row: u64,
    /// A claim has read every event up to this row number.
    pub(crate) cursor: u64,
    pub(crate) turn: u64,
    pub(crate) keys: HashMap<Key, KeyState>,
    pub(crate) claims: HashMap<ClaimToken, ClaimState>,
    /// The dead letters that block each key, by their row numbers in the log.
    pub(crate) blocked: HashMap<Key, BTreeMap<u64, EventId>>,
    pub(crate) dead_letters: BTreeMap<u64, QuarantinedEvent>,
    pub(crate) last_dead_letter: u64,
    pub(crate) relays: Vec<RelayRecord>,
}

pub(crate) fn failed(kind: ErrorKind, operation: &'static str) -> OutboxError {
    OutboxError::new(kind, BACKEND, operation)
}

impl State {
    pub(crate) fn push(&mut self, event: Event, replays: u32) {
        self.last_row += 1;
        self.ids.insert(event.id, self.last_row);
        self.log.insert(self.last_row, Row { event, replays });
    }

    /// S7: ends the claims whose lease has ended. Their events are suspects from now on.
    pub(crate) fn expire(&mut self, now: SystemTime) {
        let expired: Vec<ClaimToken> = self
            .claims
            .iter()
            .filter(|(_, claim)| claim.leased_until <= now)
            .map(|(token, _)| *token)
            .collect();
        for token in expired {
            let Some(claim) = self.claims.remove(&token) else {
                continue;
            };
            let events = claim.rows.len();
            tracing::info!(events, "took over a claim whose lease had ended");
            for key in self
                .keys
                .values_mut()
                .filter(|key| key.claim == Some(token))
            {
                key.claim = None;
                if key
                    .rows
                    .first()
                    .is_some_and(|head| claim.rows.contains(head))
                {
                    key.due = now;
                    key.held_for = None;
                }
                let last = key.rows.intersection(&claim.rows).last();
                key.suspect = last.copied().unwrap_or(0).max(key.suspect);
                key.worker_lost = claim.is_lone;
            }
        }
    }

    /// Removes an event from the log. The next event of its key is due now, with no attempts.
    pub(crate) fn remove(&mut self, number: u64, now: SystemTime) -> Option<Row> {
        let row = self.log.remove(&number)?;
        self.ids.remove(&row.event.id);
        if let Some(key) = self.keys.get_mut(&Key::of(&row.event)) {
            if key.rows.first() == Some(&number) {
                key.reset(now);
            }
            key.rows.remove(&number);
        }
        Some(row)
    }
}
