//! A claim while it is put together and while a worker has it: what it took from where.

use outbox_core::{ClaimedEvent, ErrorText, Event, EventId};
use std::collections::{BTreeMap, HashSet};

/// A row of the log, or of the events that wait, as a claim reads it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) lane: i16,
    pub(crate) place: Place,
    pub(crate) id: EventId,
    pub(crate) key: Option<String>,
    /// The event, or why it cannot be read.
    pub(crate) event: Result<Event, ErrorText>,
    pub(crate) attempts: u32,
    pub(crate) worker_lost: bool,
    pub(crate) delayed: bool,
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
    /// Keys of which nothing more may be given.
    closed: HashSet<String>,
    ids: HashSet<EventId>,
}

impl Draft {
    /// Adds events that waited, in their order. `holds`: a letter of this handle holds its key.
    pub(crate) fn add_waiting(&mut self, rows: Vec<Row>, holds: bool) {
        for row in rows {
            self.lanes.entry(row.lane).or_default();
            self.add(row, holds);
        }
    }

    /// Adds rows of the log: the first `limit` of all lanes by their `seq`. In each lane one more
    /// was read than that, if there is one. Returns the lanes of which less is taken than was
    /// leased, and how much.
    pub(crate) fn add_log(
        &mut self,
        mut read: LogRead,
        limit: usize,
        blocked: HashSet<String>,
        holds: bool,
    ) -> Vec<(i16, usize)> {
        self.closed.extend(blocked);
        read.rows.sort_unstable_by_key(|(seq, _)| *seq);
        let mut found: BTreeMap<i16, usize> = BTreeMap::new();
        for (_, row) in &read.rows {
            *found.entry(row.lane).or_default() += 1;
        }
        let mut taken: BTreeMap<i16, usize> = BTreeMap::new();
        for (seq, row) in read.rows.into_iter().take(limit) {
            *taken.entry(row.lane).or_default() += 1;
            self.lanes.entry(row.lane).or_default().read_to = Some(seq);
            self.add(row, holds);
        }
        let mut less = Vec::new();
        for lane in read.lanes {
            let found = found.get(&lane).copied().unwrap_or_default();
            let taken = taken.get(&lane).copied().unwrap_or_default();
            if taken == found {
                self.lanes.entry(lane).or_default().ends = true;
            } else if taken < limit {
                less.push((lane, taken));
            }
        }
        less
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
            _ if closed || row.delayed => {
                self.closed.extend(row.key.clone());
                Part::Behind
            }
            Ok(event) => {
                let claimed = ClaimedEvent::new(event, row.attempts, row.worker_lost);
                self.given.push(claimed);
                Part::Given
            }
            Err(reason) => {
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
    /// All lanes that it leased, those without a row included.
    pub(crate) lanes: Vec<i16>,
    /// The rows by their `seq`.
    pub(crate) rows: Vec<(i64, Row)>,
    /// There are events that wait, or letters that hold a key: some rows may have to wait behind.
    pub(crate) waiting: bool,
}
