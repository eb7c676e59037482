//! The contents of a claim: which events it took, and from where.

use outbox_core::{ClaimedEvent, ErrorText, Event, EventId};
use outbox_driver_postgres::PgTime;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

/// A row of the log or of the retries, as a claim reads it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) lane: i16,
    pub(crate) place: Place,
    pub(crate) id: EventId,
    pub(crate) key: Option<String>,
    /// The event, or why it cannot be read. None: it must wait, so it was not read.
    pub(crate) event: Option<Result<Event, ErrorText>>,
    pub(crate) attempts: u32,
    pub(crate) suspicion: Suspicion,
}

/// S7: what is known from the claims of lost workers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Suspicion {
    /// The event was in such a claim.
    pub(crate) suspect: bool,
    /// It was alone in it.
    pub(crate) worker_lost: bool,
}

/// Where an event is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// In the log, by its `seq`.
    Log(i64),
    /// In the retries, by its `place`.
    Waiting(i64),
}

/// An event of a claim, without its payload.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) lane: i16,
    pub(crate) place: Place,
    pub(crate) id: EventId,
    pub(crate) key: Option<String>,
    pub(crate) attempts: u32,
    pub(crate) suspicion: Suspicion,
    pub(crate) part: Part,
}

/// The part that an event has in a claim.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// The worker gets it.
    Given,
    /// It must wait, so the worker does not get it.
    Behind,
    /// It cannot be read, and becomes a dead letter.
    Unreadable(ErrorText),
}

/// How far the log of a lane is read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reach {
    pub(crate) read_to: Option<i64>,
    pub(crate) ends: bool,
}

/// A claim.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// The events that the worker gets.
    pub(crate) given: Vec<ClaimedEvent>,
    /// All events that were read, in the order of each key.
    pub(crate) held: Vec<Held>,
    pub(crate) lanes: BTreeMap<i16, Reach>,
    pub(crate) lease: Duration,
    /// The worker gets a single event.
    pub(crate) is_lone: bool,
    /// S22: when the lease of the events ends that a settlement kept. Then the claim has these events, and
    /// no lane.
    pub(crate) kept_until: Option<PgTime>,
    bytes: usize,
    /// Keys of which no later event may be given.
    closed: HashSet<String>,
    ids: HashSet<EventId>,
}

impl Draft {
    /// Adds events of the retries, in their order. With `blocks`, a dead letter of this handle blocks its
    /// key.
    pub(crate) fn add_waiting(&mut self, rows: Vec<Row>, blocks: bool) {
        for row in rows {
            self.lanes.entry(row.lane).or_default();
            self.add(row, blocks);
        }
    }

    /// Adds rows of the log, in the order of each lane. `blocks` as in `add_waiting`.
    pub(crate) fn add_log(&mut self, read: LogRead, blocks: bool) {
        for (lane, ends) in read.lanes {
            self.lanes.entry(lane).or_default().ends = ends;
        }
        self.given.reserve(read.rows.len());
        self.held.reserve(read.rows.len());
        self.ids.reserve(read.rows.len());
        for (seq, row) in read.rows {
            self.lanes.entry(row.lane).or_default().read_to = Some(seq);
            self.add(row, blocks);
        }
    }

    /// Takes the events for the worker: first those of the retries, then those of the log in the order
    /// of the log.
    pub(crate) fn take_given(&mut self) -> Vec<ClaimedEvent> {
        let is_given = |held: &&Held| matches!(held.part, Part::Given);
        let turns = self
            .held
            .iter()
            .filter(is_given)
            .map(|held| match held.place {
                Place::Waiting(_) => i64::MIN,
                Place::Log(seq) => seq,
            });
        let given = std::mem::take(&mut self.given);
        if turns.clone().is_sorted() {
            return given;
        }
        let mut given: Vec<_> = turns.zip(given).collect();
        given.sort_by_key(|(turn, _)| *turn);
        given.into_iter().map(|(_, event)| event).collect()
    }

    /// S22: the claim of the `kept` events until `until`. `places` has those that were in the log.
    pub(crate) fn keeping(
        &self,
        kept: &[Held],
        places: &HashMap<EventId, i64>,
        until: PgTime,
    ) -> Self {
        let place = |held: &Held| match held.place {
            // A row that was deleted by hand has no place.
            Place::Log(_) => places.get(&held.id).copied().unwrap_or_default(),
            Place::Waiting(place) => place,
        };
        let held = kept.iter().map(|held| Held {
            place: Place::Waiting(place(held)),
            ..held.clone()
        });
        Self {
            held: held.collect(),
            lease: self.lease,
            is_lone: self.is_lone,
            kept_until: Some(until),
            ..Self::default()
        }
    }

    /// The bytes of the events that the worker gets.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many events of the log must wait.
    pub(crate) fn waiting_from_log(&self) -> usize {
        let waits =
            |held: &&Held| matches!((&held.part, held.place), (Part::Behind, Place::Log(_)));
        self.held.iter().filter(waits).count()
    }

    /// The places of the events that the claim has from the retries.
    pub(crate) fn waiting_places(&self) -> Vec<i64> {
        let waiting = |held: &Held| match held.place {
            Place::Waiting(place) => Some(place),
            Place::Log(_) => None,
        };
        self.held.iter().filter_map(waiting).collect()
    }

    fn add(&mut self, row: Row, blocks: bool) {
        // A settlement names an event by its id, so a second event of the same id waits.
        let closed = row
            .key
            .as_ref()
            .is_some_and(|key| self.closed.contains(key))
            || !self.ids.insert(row.id);
        let part = match row.event {
            None => {
                self.closed.extend(row.key.clone());
                Part::Behind
            }
            Some(_) if closed => {
                self.closed.extend(row.key.clone());
                Part::Behind
            }
            Some(Ok(event)) => {
                self.bytes = self.bytes.saturating_add(event.size());
                let worker_lost = row.suspicion.worker_lost;
                let claimed = ClaimedEvent::new(event, row.attempts, worker_lost);
                self.given.push(claimed);
                Part::Given
            }
            Some(Err(reason)) => {
                if blocks {
                    self.closed.extend(row.key.clone());
                }
                Part::Unreadable(reason)
            }
        };
        self.held.push(Held {
            lane: row.lane,
            place: row.place,
            id: row.id,
            key: row.key,
            attempts: row.attempts,
            suspicion: row.suspicion,
            part,
        });
    }
}

/// The rows of the log that one statement read.
#[derive(Debug, Default)]
pub(crate) struct LogRead {
    /// The lanes that it leased, with or without rows. True if the window ends with these rows.
    pub(crate) lanes: BTreeMap<i16, bool>,
    /// The rows by their `seq`, in the order of each lane.
    pub(crate) rows: Vec<(i64, Row)>,
    /// How many rows the lanes had, within the limit.
    pub(crate) found: usize,
    /// A lane of which the claim takes fewer rows than it leased, and how many it takes.
    pub(crate) cut: Option<(i16, usize)>,
}

/// With more keys, no key has many events.
const KEYS_OF_RUN: usize = 16;

/// A lane in which a claim found only a run of few keys, and not its end.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) lane: i16,
    /// Its keys, in order.
    pub(crate) keys: Vec<String>,
    pub(crate) rows: usize,
    /// The last row of the claim.
    pub(crate) read_to: i64,
}

impl LogRead {
    /// The lanes where events of other keys may come after a run: it has an eighth as many keys as rows,
    /// and at most [`KEYS_OF_RUN`].
    pub(crate) fn runs(&self) -> Vec<Run> {
        let mut lanes: BTreeMap<i16, (BTreeSet<&str>, usize, i64)> = BTreeMap::new();
        let mut mixed: BTreeSet<i16> = BTreeSet::new();
        for (seq, row) in &self.rows {
            if mixed.contains(&row.lane) {
                continue;
            }
            let (keys, rows, read_to) = lanes.entry(row.lane).or_default();
            let is_mixed = match &row.key {
                Some(key) => keys.insert(key) && keys.len() > KEYS_OF_RUN,
                None => true,
            };
            if is_mixed {
                mixed.insert(row.lane);
            }
            (*rows, *read_to) = (*rows + 1, *seq);
        }
        lanes
            .into_iter()
            .filter(|(lane, _)| self.lanes.get(lane) == Some(&false) && !mixed.contains(lane))
            .filter(|(_, (keys, rows, _))| keys.len() == 1 || keys.len() * 8 <= *rows)
            .map(|(lane, (keys, rows, read_to))| Run {
                lane,
                keys: keys.into_iter().map(str::to_owned).collect(),
                rows,
                read_to,
            })
            .collect()
    }
}
