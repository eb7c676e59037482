//! From the outcomes of a claim to the changes of its settlement. It is pure, so that it can be read
//! alone.

use crate::draft::{Draft, Held, Part, Place, Reach, Suspicion};
use outbox_core::{ClaimToken, ErrorText, EventId, Outcome, Settlement};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
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
    /// S22: events that stay in the claim. They are in `park` or `again` too.
    pub(crate) kept: Vec<Held>,
}

/// How long an event waits, and why.
#[derive(Debug, Default)]
pub(crate) struct Wait {
    /// The time until it is due. None: it waits for an earlier event of its key.
    pub(crate) delay: Option<Duration>,
    pub(crate) attempts: u32,
    pub(crate) suspicion: Suspicion,
    /// S23: the destination for which it is held.
    pub(crate) held_for: Option<Arc<str>>,
    /// The error of the attempt that failed.
    pub(crate) error: Option<ErrorText>,
    /// S22: the claim that keeps it.
    pub(crate) kept_by: Option<ClaimToken>,
}

#[derive(Debug)]
pub(crate) struct Park {
    pub(crate) lane: i16,
    pub(crate) seq: i64,
    pub(crate) id: EventId,
    pub(crate) wait: Wait,
}

#[derive(Debug)]
pub(crate) struct Again {
    pub(crate) place: i64,
    pub(crate) id: EventId,
    /// An earlier event of its key may wait too.
    pub(crate) in_turn: bool,
    pub(crate) wait: Wait,
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
    /// The changes that `settlements` of the claim `token` ask for.
    pub(crate) fn new(
        draft: &Draft,
        token: ClaimToken,
        settlements: &[Settlement],
    ) -> Result<Self, Mismatch> {
        let mut outcomes = outcomes(draft, settlements)?;
        let mut plan = Self::of_lanes(draft);
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
                    match outcome {
                        Some(Outcome::Kept) => plan.keep(draft, token, held),
                        outcome => plan.wait(draft, held, outcome.filter(|_| first)),
                    }
                }
            }
        }
        Ok(plan)
    }

    /// Moves the cursors only.
    pub(crate) fn of_lanes(draft: &Draft) -> Self {
        Self {
            lanes: draft.lanes.clone(),
            ..Self::default()
        }
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

    /// S22: the event stays in the claim for another lease.
    fn keep(&mut self, draft: &Draft, token: ClaimToken, held: &Held) {
        let suspicion = Suspicion {
            suspect: true,
            worker_lost: held.suspicion.worker_lost || draft.is_lone,
        };
        let wait = Wait {
            delay: Some(draft.lease),
            attempts: held.attempts,
            suspicion,
            kept_by: Some(token),
            ..Wait::default()
        };
        self.kept.push(held.clone());
        self.put_back(held, wait, true);
    }

    /// Of the events of a key that remain, the first waits for its time, and its attempt is counted. The
    /// later ones wait for it.
    fn wait(&mut self, draft: &Draft, held: &Held, outcome: Option<&Outcome>) {
        let mut wait = Wait {
            attempts: held.attempts,
            suspicion: held.suspicion,
            ..Wait::default()
        };
        match outcome {
            Some(Outcome::Retry { delay, error }) => {
                wait.delay = Some(*delay);
                wait.error = Some(error.clone());
                wait.attempts = held.attempts.saturating_add(1);
                wait.suspicion = Suspicion::default();
            }
            Some(Outcome::Released { delay }) => wait.delay = Some(*delay),
            Some(Outcome::Held { destination, delay }) => {
                wait.delay = Some(*delay);
                wait.held_for = Some(Arc::clone(destination));
            }
            // In the log its producer may have delayed it, but no attempt did.
            _ => {
                let waits_alone = held.key.is_none() && matches!(held.place, Place::Waiting(_));
                wait.delay = waits_alone.then_some(Duration::ZERO);
            }
        }
        self.put_back(held, wait, draft.kept_until.is_some());
    }

    /// `in_turn`: an earlier event of the key may wait too.
    fn put_back(&mut self, held: &Held, wait: Wait, in_turn: bool) {
        self.keys.extend(held.key.clone());
        let id = held.id;
        match held.place {
            Place::Log(seq) => self.park.push(Park {
                lane: held.lane,
                seq,
                id,
                wait,
            }),
            Place::Waiting(place) => self.again.push(Again {
                place,
                id,
                in_turn,
                wait,
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
            wait: Wait::default(),
        }
    }
}

/// Whether each event of the claim was read from the log, was given, and is settled as published in the
/// order of the claim. That is most settlements, and this costs less than to look up each outcome by its id.
pub(crate) fn only_moves_cursors(draft: &Draft, settlements: &[Settlement]) -> bool {
    let same = |(held, settlement): (&Held, &Settlement)| {
        held.id == settlement.id
            && matches!(settlement.outcome, Outcome::Published)
            && matches!(held.part, Part::Given)
            && matches!(held.place, Place::Log(_))
    };
    draft.held.len() == settlements.len() && draft.held.iter().zip(settlements).all(same)
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
