//! From the outcomes of a claim to the changes of its settlement. It is pure, so that it can be read
//! alone.

use crate::draft::{Draft, Held, Part, Place, Reach};
use outbox_core::{ErrorText, EventId, Outcome, Settlement};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

/// What a settlement changes.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) lanes: BTreeMap<i16, Reach>,
    /// Events of the log that must wait.
    pub(crate) park: Vec<Park>,
    /// Events that waited and must wait again.
    pub(crate) again: Vec<Again>,
    /// Places and ids of events that waited and are published.
    pub(crate) remove: Vec<(i64, EventId)>,
    pub(crate) dead: Vec<Dead>,
    /// Keys whose first waiting event may have become due.
    pub(crate) keys: BTreeSet<String>,
}

#[derive(Debug)]
pub(crate) struct Park {
    pub(crate) lane: i16,
    pub(crate) seq: i64,
    pub(crate) id: EventId,
    /// The time until it is due. None: it waits for an earlier event of its key.
    pub(crate) delay: Option<Duration>,
    pub(crate) attempts: u32,
}

#[derive(Debug)]
pub(crate) struct Again {
    pub(crate) place: i64,
    pub(crate) id: EventId,
    pub(crate) delay: Option<Duration>,
    pub(crate) attempts: u32,
    /// This settlement counted a failed attempt.
    pub(crate) charged: bool,
}

#[derive(Debug)]
pub(crate) struct Dead {
    pub(crate) id: EventId,
    /// Its place, if it waited. An event of the log is parked first.
    pub(crate) place: Option<i64>,
    pub(crate) count: u32,
    pub(crate) reason: ErrorText,
    /// Its row cannot be read, so no worker got it.
    pub(crate) is_unreadable: bool,
}

/// Settlements that do not match the claim.
#[derive(Debug, PartialEq)]
pub(crate) enum Mismatch {
    /// Not of the claim, or named twice.
    Unknown(EventId),
    /// Of the claim, and not named.
    Missing(EventId),
}

impl Plan {
    /// The changes that `settlements` ask for.
    pub(crate) fn new(draft: &Draft, settlements: &[Settlement]) -> Result<Self, Mismatch> {
        let mut outcomes = outcomes(draft, settlements)?;
        let mut plan = Self {
            lanes: draft.lanes.clone(),
            ..Self::default()
        };
        let mut waits: HashSet<&str> = HashSet::new();
        for held in &draft.held {
            let outcome = match &held.part {
                Part::Given => outcomes.remove(&held.id),
                Part::Behind => None,
                Part::Unreadable(reason) => {
                    plan.quarantine(held, reason.clone());
                    continue;
                }
            };
            match outcome {
                Some(Outcome::Published) => plan.publish(held),
                Some(Outcome::Dead { reason }) => plan.quarantine(held, reason.clone()),
                outcome => {
                    let first = held.key.as_deref().is_none_or(|key| waits.insert(key));
                    plan.wait(held, outcome.filter(|_| first));
                }
            }
        }
        Ok(plan)
    }

    /// Whether only cursors move.
    pub(crate) fn is_clean(&self) -> bool {
        self.park.is_empty()
            && self.again.is_empty()
            && self.remove.is_empty()
            && self.dead.is_empty()
    }

    fn publish(&mut self, held: &Held) {
        if let Place::Waiting(place) = held.place {
            self.remove.push((place, held.id));
            self.keys.extend(held.key.clone());
        }
    }

    fn quarantine(&mut self, held: &Held, reason: ErrorText) {
        let place = match held.place {
            Place::Waiting(place) => Some(place),
            Place::Log(seq) => {
                self.park.push(Park::behind(held.lane, seq, held.id));
                None
            }
        };
        self.keys.extend(held.key.clone());
        self.dead.push(Dead {
            id: held.id,
            place,
            count: held.attempts.saturating_add(1),
            reason,
            is_unreadable: matches!(held.part, Part::Unreadable(_)),
        });
    }

    /// Of the events of a key that remain, the first waits for its time, and its attempt is counted. The
    /// later ones wait for it.
    fn wait(&mut self, held: &Held, outcome: Option<&Outcome>) {
        let (delay, charged) = match outcome {
            Some(Outcome::Retry { delay, .. }) => (Some(*delay), true),
            Some(Outcome::Released { delay }) => (Some(*delay), false),
            // An event without a key waits for no other event.
            _ => (held.key.is_none().then_some(Duration::ZERO), false),
        };
        let attempts = held.attempts.saturating_add(u32::from(charged));
        self.keys.extend(held.key.clone());
        match held.place {
            // Its producer may have delayed it, but no attempt did.
            Place::Log(seq) if outcome.is_none() => {
                self.park.push(Park::behind(held.lane, seq, held.id));
            }
            Place::Log(seq) => self.park.push(Park {
                lane: held.lane,
                seq,
                id: held.id,
                delay,
                attempts,
            }),
            Place::Waiting(place) => self.again.push(Again {
                place,
                id: held.id,
                delay,
                attempts,
                charged,
            }),
        }
    }
}

impl Park {
    /// An event that waits for the earlier events of its key.
    pub(crate) fn behind(lane: i16, seq: i64, id: EventId) -> Self {
        Self {
            lane,
            seq,
            id,
            delay: None,
            attempts: 0,
        }
    }
}

fn outcomes<'s>(
    draft: &Draft,
    settlements: &'s [Settlement],
) -> Result<HashMap<EventId, &'s Outcome>, Mismatch> {
    let given = |held: &&Held| matches!(held.part, Part::Given);
    let given: HashSet<EventId> = draft
        .held
        .iter()
        .filter(given)
        .map(|held| held.id)
        .collect();
    let mut outcomes = HashMap::with_capacity(settlements.len());
    for settlement in settlements {
        let known = given.contains(&settlement.id);
        if !known
            || outcomes
                .insert(settlement.id, &settlement.outcome)
                .is_some()
        {
            return Err(Mismatch::Unknown(settlement.id));
        }
    }
    match given.iter().find(|id| !outcomes.contains_key(id)) {
        None => Ok(outcomes),
        Some(id) => Err(Mismatch::Missing(*id)),
    }
}
