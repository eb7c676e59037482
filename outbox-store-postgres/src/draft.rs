//! A claim while it is put together and while a worker has it: what it took from where.

use outbox_core::{ClaimedEvent, ErrorText, Event, EventId};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// A row of the log, or of the events that wait, as a claim reads it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) lane: i16,
    pub(crate) place: Place,
    pub(crate) id: EventId,
    pub(crate) key: Option<String>,
    /// The event, or why it cannot be read. None: it must wait, and was not read.
    pub(crate) event: Option<Result<Event, ErrorText>>,
    pub(crate) attempts: u32,
    pub(crate) worker_lost: bool,
}

/// Where an event stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// In the log, by its `seq`.
    Log(i64),
    /// Among the events that wait, by its `place`.
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
    pub(crate) part: Part,
}

/// What the claim does with an event.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// The worker has it.
    Given,
    /// It must wait: the worker does not get it.
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
    /// What the worker gets; handed over once.
    pub(crate) given: Vec<ClaimedEvent>,
    /// All that was read, in the order of each key.
    pub(crate) held: Vec<Held>,
    pub(crate) lanes: BTreeMap<i16, Reach>,
    bytes: usize,
    /// Keys of which nothing more may be given.
    closed: HashSet<String>,
    ids: HashSet<EventId>,
}

impl Draft {
    /// Adds events that waited, in their order. `holds`: a dead letter of this handle holds its key.
    pub(crate) fn add_waiting(&mut self, rows: Vec<Row>, holds: bool) {
        for row in rows {
            self.lanes.entry(row.lane).or_default();
            self.add(row, holds);
        }
    }

    /// Adds rows of the log, in the order of each lane. `holds` as in `add_waiting`.
    pub(crate) fn add_log(&mut self, read: LogRead, holds: bool) {
        for (lane, ends) in read.lanes {
            self.lanes.entry(lane).or_default().ends = ends;
        }
        for (seq, row) in read.rows {
            self.lanes.entry(row.lane).or_default().read_to = Some(seq);
            self.add(row, holds);
        }
    }

    /// What the worker gets: events that waited, then those of the log in its order, whichever lane
    /// was read first.
    pub(crate) fn take_given(&mut self) -> Vec<ClaimedEvent> {
        let is_given = |held: &&Held| matches!(held.part, Part::Given);
        let places = self.held.iter().filter(is_given).map(|held| held.place);
        let mut given: Vec<_> = places.zip(std::mem::take(&mut self.given)).collect();
        given.sort_by_key(|(place, _)| match place {
            Place::Waiting(_) => i64::MIN,
            Place::Log(seq) => *seq,
        });
        given.into_iter().map(|(_, event)| event).collect()
    }

    /// The bytes of what the worker gets.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Events of the log that must wait.
    pub(crate) fn waiting_from_log(&self) -> usize {
        let waits =
            |held: &&Held| matches!((&held.part, held.place), (Part::Behind, Place::Log(_)));
        self.held.iter().filter(waits).count()
    }

    /// The places that the claim has among the events that wait.
    pub(crate) fn waiting_places(&self) -> Vec<i64> {
        let waiting = |held: &Held| match held.place {
            Place::Waiting(place) => Some(place),
            Place::Log(_) => None,
        };
        self.held.iter().filter_map(waiting).collect()
    }

    fn add(&mut self, row: Row, holds: bool) {
        // A settlement names an event by its id, so a second one of the same id waits.
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
                let claimed = ClaimedEvent::new(event, row.attempts, row.worker_lost);
                self.given.push(claimed);
                Part::Given
            }
            Some(Err(reason)) => {
                if holds {
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
            part,
        });
    }
}

/// What one statement read of the log.
#[derive(Debug, Default)]
pub(crate) struct LogRead {
    /// The lanes that it leased, those without a row included. True: the window ends with these rows.
    pub(crate) lanes: BTreeMap<i16, bool>,
    /// The rows by their `seq`, in the order of each lane.
    pub(crate) rows: Vec<(i64, Row)>,
    /// How many rows the lanes had to give.
    pub(crate) found: usize,
    /// A lane that is leased for more rows than the claim takes of it, and how many it takes.
    pub(crate) cut: Option<(i16, usize)>,
}

/// A lane in which a claim found a run of few keys only, and no end of it.
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
    /// Where events of other keys may be behind a run.
    pub(crate) fn runs(&self) -> Vec<Run> {
        let mut lanes: BTreeMap<i16, (BTreeSet<&str>, usize, i64)> = BTreeMap::new();
        let mut mixed: BTreeSet<i16> = BTreeSet::new();
        for (seq, row) in &self.rows {
            let (keys, rows, read_to) = lanes.entry(row.lane).or_default();
            match &row.key {
                Some(key) => drop(keys.insert(key)),
                None => drop(mixed.insert(row.lane)),
            }
            (*rows, *read_to) = (*rows + 1, *seq);
        }
        let runs = lanes.into_iter().map(|(lane, (keys, rows, read_to))| Run {
            lane,
            keys: keys.into_iter().map(str::to_owned).collect(),
            rows,
            read_to,
        });
        runs.filter(|run| self.lanes.get(&run.lane) == Some(&false))
            .filter(|run| !mixed.contains(&run.lane))
            .filter(|run| run.keys.len() == 1 || run.keys.len() * 8 <= run.rows)
            .collect()
    }
}
