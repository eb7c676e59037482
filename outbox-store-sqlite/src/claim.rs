//! One claim: due keys and fresh events, in one write transaction.

use crate::keys::{
    Cursor, Failures, HELD, Head, Result, cursor, expire, front, move_to_letters, park,
    park_or_free, run,
};
use crate::row::{Key, available_at, count, event, ordering_key};
use outbox_core::{Claim, ClaimToken, ClaimedEvent, ErrorText, Event};
use rusqlite::{Connection, OptionalExtension};
use std::collections::HashMap;

/// The most events of held keys that one transaction passes over, so that a long run of them does
/// not keep the producers waiting.
const PASSED_OVER: usize = 1_000;

/// What a transaction came to.
pub(crate) enum Step {
    Done(Claim),
    /// Many events of held keys were passed over and there is more behind them: once more.
    GoOn,
}

/// A due key.
struct Due {
    key: Key,
    at: i64,
    head: Head,
}

/// An event that the claim takes.
struct Taken {
    seq: i64,
    event: ClaimedEvent,
}

/// A key of this claim. It is closed once one of its events was left behind: then none after that
/// may be taken.
struct Held {
    last_seq: i64,
    head: Head,
    open: bool,
}

/// A row that cannot be read.
struct Unreadable {
    seq: i64,
    reason: String,
    /// S9: its letter holds its key.
    holds: bool,
}

/// The first events of a due key.
struct Run {
    held: Held,
    events: Vec<Taken>,
    unreadable: Vec<Unreadable>,
    /// The event at which the run ends because it is not available before that time.
    delayed: Option<(i64, i64)>,
}

impl Run {
    fn new(head: Head) -> Self {
        Self {
            held: Held {
                last_seq: 0,
                head,
                open: true,
            },
            events: Vec::new(),
            unreadable: Vec::new(),
            delayed: None,
        }
    }

    /// Only the first event of a key has attempts; if it cannot be read the next begins anew.
    fn add(&mut self, seq: i64, event: std::result::Result<Event, String>, holds: bool) {
        let is_first = self.events.is_empty();
        match event {
            Ok(event) => {
                let own = if is_first {
                    self.held.head
                } else {
                    Head::default()
                };
                self.held.last_seq = seq;
                let event = ClaimedEvent::new(event, own.attempts, own.worker_lost);
                self.events.push(Taken { seq, event });
            }
            Err(reason) => {
                if is_first {
                    self.held.head = Head::default();
                }
                self.held.open &= !holds;
                self.unreadable.push(Unreadable { seq, reason, holds });
            }
        }
    }
}

/// A claim while it is put together.
struct Draft<'c> {
    connection: &'c Connection,
    token: ClaimToken,
    now: i64,
    limit: usize,
    /// S9: rows that cannot be read hold their key.
    holds: bool,
    cursor: Cursor,
    taken: Vec<Taken>,
    held: HashMap<Key, Held>,
    /// The scan of fresh events ended because too many were passed over.
    unfinished: bool,
}

/// Takes up to `limit` events until `leased_until`.
pub(crate) fn claim(
    connection: &Connection,
    limit: usize,
    now: i64,
    leased_until: i64,
    holds: bool,
) -> Result<Step> {
    expire(connection, now)?;
    let mut draft = Draft {
        connection,
        token: ClaimToken::new(),
        now,
        limit,
        holds,
        cursor: cursor(connection)?,
        taken: Vec::new(),
        held: HashMap::new(),
        unfinished: false,
    };
    draft.fill()?;
    draft.finish(leased_until)
}

impl Draft<'_> {
    /// S6: the due keys have half of the claim to themselves, the fresh events the other half, and
    /// either takes what the other leaves. The odd place changes hands with the turn.
    fn fill(&mut self) -> Result<()> {
        let even = self.cursor.turn % 2 == 0;
        if even && self.suspect_is_first()? && self.take_suspect()? {
            return Ok(());
        }
        let share = if even {
            self.limit.div_ceil(2)
        } else {
            self.limit / 2
        };
        self.take_due(share)?;
        self.take_fresh()?;
        self.take_due(self.limit)?;
        if self.taken.is_empty() {
            self.take_suspect()?;
        }
        Ok(())
    }

    fn finish(mut self, leased_until: i64) -> Result<Step> {
        let turn = i64::from(!self.taken.is_empty());
        run(
            self.connection,
            include_str!("sql/move_cursor.sql"),
            (self.cursor.position, turn),
        )?;
        if self.taken.is_empty() {
            let empty = || Step::Done(Claim::empty());
            return Ok(if self.unfinished { Step::GoOn } else { empty() });
        }
        run(
            self.connection,
            include_str!("sql/open_claim.sql"),
            (
                self.token.as_uuid().as_bytes(),
                leased_until,
                i64::try_from(self.taken.len()).unwrap_or(i64::MAX),
            ),
        )?;
        self.taken.sort_unstable_by_key(|taken| taken.seq);
        let events = self.taken.into_iter().map(|taken| taken.event).collect();
        Ok(Step::Done(Claim::new(self.token, events)))
    }

    /// Whether the key that is due the longest is a suspect.
    fn suspect_is_first(&self) -> Result<bool> {
        let suspect = self.due(include_str!("sql/due_suspect.sql"))?;
        let other = self.due(include_str!("sql/due_key.sql"))?;
        Ok(match (suspect, other) {
            (Some(suspect), Some(other)) => suspect.at <= other.at,
            (suspect, _) => suspect.is_some(),
        })
    }

    /// S7: the first event of a suspect key, alone.
    fn take_suspect(&mut self) -> Result<bool> {
        while let Some(due) = self.due(include_str!("sql/due_suspect.sql"))? {
            if self.take_run(due, 1)? > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Events of keys that are due, until the claim has `most`.
    fn take_due(&mut self, most: usize) -> Result<()> {
        while self.taken.len() < most {
            let Some(due) = self.due(include_str!("sql/due_key.sql"))? else {
                break;
            };
            self.take_run(due, most - self.taken.len())?;
        }
        Ok(())
    }

    fn due(&self, sql: &str) -> Result<Option<Due>> {
        self.connection
            .prepare_cached(sql)?
            .query_row([self.now], |row| {
                let head = Head {
                    attempts: count(row.get(2)?),
                    worker_lost: row.get(3)?,
                };
                Ok(Due {
                    key: row.get(0)?,
                    at: row.get(1)?,
                    head,
                })
            })
            .optional()
    }

    /// The first events of a due key, at most `most`; returns how many. The key is then held, or
    /// waits for its first event's time, or is gone: it is due no longer in any case.
    fn take_run(&mut self, due: Due, most: usize) -> Result<usize> {
        let mut run = self.read_run(&due, most)?;
        self.set_aside(&run.unreadable)?;
        let taken = run.events.len();
        if taken > 0 {
            self.taken.append(&mut run.events);
            self.hold(&due.key, &run.held)?;
            self.held.insert(due.key, run.held);
        } else if let Some((first, at)) = run.delayed {
            park(self.connection, &due.key, first, at, run.held.head)?;
        } else {
            let position = self.cursor.position;
            park_or_free(self.connection, &due.key, position, self.now, run.held.head)?;
        }
        Ok(taken)
    }

    fn read_run(&self, due: &Due, most: usize) -> Result<Run> {
        let sql = match due.key {
            Key::Ordered(_) => include_str!("sql/key_events.sql"),
            Key::Lone(_) => include_str!("sql/lone_event.sql"),
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query((&due.key, self.cursor.position))?;
        let mut run = Run::new(due.head);
        let hold = front(self.connection, &due.key, self.cursor.position)?.hold;
        run.held.open = hold.is_none();
        while let Some(row) = rows.next()? {
            let seq = row.get(0)?;
            if hold.is_some_and(|hold| hold < seq) {
                break;
            }
            let delayed = available_at(row).filter(|&at| at > self.now);
            if run.events.len() == most || delayed.is_some() {
                run.held.open = false;
                run.delayed = delayed.map(|at| (seq, at));
                break;
            }
            run.add(seq, event(row), self.holds);
            if self.holds && !run.unreadable.is_empty() {
                break;
            }
        }
        Ok(run)
    }

    /// S1: events beyond the cursor. Those of keys that are held or wait are passed over: their
    /// key leads to them later.
    fn take_fresh(&mut self) -> Result<()> {
        let connection = self.connection;
        let mut statement = connection.prepare_cached(include_str!("sql/fresh_events.sql"))?;
        let mut rows = statement.query([self.cursor.position])?;
        let (mut fresh, mut unreadable) = (Vec::new(), Vec::new());
        let mut waiting: HashMap<Key, (i64, i64)> = HashMap::new();
        let mut passed_over = 0;
        while self.taken.len() < self.limit {
            if passed_over == PASSED_OVER {
                self.unfinished = true;
                break;
            }
            let Some(row) = rows.next()? else { break };
            let seq: i64 = row.get(0)?;
            self.cursor.position = seq;
            let event = match event(row) {
                Ok(event) => event,
                Err(reason) => {
                    passed_over += 1;
                    let key = ordering_key(row).filter(|_| self.holds);
                    let holds = key.is_some();
                    unreadable.push(Unreadable { seq, reason, holds });
                    if let Some(key) = key {
                        self.hold_behind(key, seq, row.get(10)?, &mut waiting);
                    }
                    continue;
                }
            };
            let key = Key::of(&event);
            let delayed = available_at(row).filter(|&at| at > self.now);
            match (self.held.get_mut(&key), delayed) {
                (Some(held), None) if held.open => held.last_seq = seq,
                (Some(held), _) => {
                    held.open = false;
                    passed_over += 1;
                    continue;
                }
                // Looked up in the table as it was when the scan began, and in what waits since.
                (None, _) if row.get(10)? || waiting.contains_key(&key) => {
                    passed_over += 1;
                    continue;
                }
                (None, Some(at)) => {
                    waiting.insert(key, (seq, at));
                    passed_over += 1;
                    continue;
                }
                (None, None) => {
                    let held = Held {
                        last_seq: seq,
                        head: Head::default(),
                        open: true,
                    };
                    self.held.insert(key.clone(), held);
                }
            }
            fresh.push(key);
            let event = ClaimedEvent::new(event, 0, false);
            self.taken.push(Taken { seq, event });
        }
        drop(rows);
        self.write_fresh(fresh, waiting, &unreadable)
    }

    /// S9: nothing of the key behind `seq`, which cannot be read, is taken by this claim or later.
    fn hold_behind(
        &mut self,
        key: Key,
        seq: i64,
        known: bool,
        waiting: &mut HashMap<Key, (i64, i64)>,
    ) {
        match self.held.get_mut(&key) {
            Some(held) => held.open = false,
            // It leads to what the letter holds when it is due, as it is.
            None if known => {}
            None => drop(waiting.entry(key).or_insert((seq, HELD))),
        }
    }

    /// What the scan found; written after it, because a scan must not meet its own writes.
    fn write_fresh(
        &self,
        mut fresh: Vec<Key>,
        waiting: HashMap<Key, (i64, i64)>,
        unreadable: &[Unreadable],
    ) -> Result<()> {
        self.set_aside(unreadable)?;
        for (key, (first, at)) in waiting {
            park(self.connection, &key, first, at, Head::default())?;
        }
        fresh.sort_unstable();
        fresh.dedup();
        for key in fresh {
            if let Some(held) = self.held.get(&key) {
                self.hold(&key, held)?;
            }
        }
        Ok(())
    }

    fn hold(&self, key: &Key, held: &Held) -> Result<()> {
        run(
            self.connection,
            include_str!("sql/hold_key.sql"),
            (
                key,
                self.token.as_uuid().as_bytes(),
                held.last_seq,
                self.now,
                held.head.attempts,
                held.head.worker_lost,
            ),
        )?;
        Ok(())
    }

    /// Rows that cannot be read go into the quarantine as they stand: nothing is lost, and their
    /// neighbours go on.
    fn set_aside(&self, unreadable: &[Unreadable]) -> Result<()> {
        for Unreadable { seq, reason, holds } in unreadable {
            let text = ErrorText::new(&format!("cannot be read: {reason}"));
            tracing::warn!(seq, reason, "an event that cannot be read is quarantined");
            let failures = Failures {
                count: 1,
                error: Some(&text),
                first_at: self.now,
                last_at: self.now,
                holds: *holds,
            };
            move_to_letters(self.connection, *seq, &failures, self.now)?;
        }
        Ok(())
    }
}
