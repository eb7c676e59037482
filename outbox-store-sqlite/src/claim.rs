//! One claim: due keys and fresh events, in one write transaction.
//!
//! The claim is decided by the short columns of its events. A payload is read only of an event that
//! is taken (S11).

use crate::housekeeping::rescue;
use crate::keys::{
    Cursor, Failures, Head, Result, Wait, claimed_bytes, cursor, expire, front, in_flight,
    move_to_dead_letters, park, park_or_free, run,
};
use crate::row::{Key, count, event};
use outbox_core::{Claim, ClaimLimit, ClaimToken, ClaimedEvent, ErrorText, Event};
use rusqlite::{Connection, OptionalExtension};
use std::collections::HashMap;

/// The most fresh events that one transaction looks at, so that a long run of them that must wait
/// does not keep the producers waiting: a tenth of a second.
const PAGE: i64 = 100_000;

/// The most keys that one transaction parks: each is a row to write.
const PARKED: usize = 10_000;

/// One key may have so small a part of a claim, while events of others are due.
const SHARES: usize = 8;

/// What a transaction came to.
pub(crate) enum Step {
    Done(Claim),
    /// Nothing was taken, and there is more to look at.
    GoOn,
}

/// What to claim, and when.
#[derive(Clone, Copy)]
pub(crate) struct Order {
    pub(crate) limit: ClaimLimit,
    pub(crate) now: i64,
    /// Microseconds.
    pub(crate) lease: i64,
    /// S9: rows that cannot be read hold their key.
    pub(crate) holds: bool,
}

/// A due key.
struct Due {
    key: Key,
    at: i64,
    head: Head,
    /// The event that `head` is about, if it is known.
    first: Option<i64>,
}

/// How much one phase of the claim may add.
#[derive(Clone, Copy)]
struct Room {
    events: usize,
    bytes: usize,
    /// The most events of one key.
    share: usize,
    /// Whether a first event may be larger than all of `bytes`.
    oversize: bool,
}

/// Where the events that a claim takes of a key end.
enum End {
    /// The next one does not fit, or the key has had its share.
    NoRoom,
    /// The event must wait until that time.
    Waits(i64, i64),
    Done,
}

/// An event by its short columns.
struct Row {
    seq: i64,
    size: usize,
    /// In the future; `None` if it may be published now.
    delayed: Option<i64>,
}

/// An event that the claim takes.
struct Taken {
    seq: i64,
    event: ClaimedEvent,
}

/// A key of this claim.
struct Held {
    last_seq: i64,
    head: Head,
    /// Events of it so far.
    taken: usize,
    /// No event of it was left behind, so a fresh one of it is the next.
    open: bool,
    /// It had its share, and may have more behind `last_seq`.
    more: bool,
    /// S9: none of its events from here on may be claimed.
    hold: Option<i64>,
}

impl Held {
    fn new(head: Head, hold: Option<i64>) -> Self {
        Self {
            last_seq: 0,
            head,
            taken: 0,
            open: hold.is_none(),
            more: false,
            hold,
        }
    }
}

/// What the scan of fresh events came to, written after it.
#[derive(Default)]
struct Fresh {
    keys: Vec<Key>,
    /// Keys that wait from now on: for their first event's time, or for a dead letter.
    waiting: HashMap<Key, (i64, Option<i64>)>,
}

/// A claim while it is put together.
struct Draft<'c> {
    connection: &'c Connection,
    token: ClaimToken,
    order: Order,
    cursor: Cursor,
    /// What must not be claimed twice, until the end of each lease.
    in_flight: HashMap<i64, i64>,
    taken: Vec<Taken>,
    /// Events that were read, and their bytes.
    reads: usize,
    read: usize,
    held: HashMap<Key, Held>,
    /// There is more to look at.
    unfinished: bool,
}

/// Takes events within the limit.
pub(crate) fn claim(connection: &Connection, order: Order) -> Result<Step> {
    expire(connection, order.now)?;
    let mut draft = Draft {
        connection,
        token: ClaimToken::new(),
        order,
        cursor: cursor(connection)?,
        in_flight: in_flight(connection)?,
        taken: Vec::new(),
        reads: 0,
        read: 0,
        held: HashMap::new(),
        unfinished: false,
    };
    draft.fill()?;
    draft.finish()
}

impl Draft<'_> {
    /// S6: the due keys have half of the claim to themselves, the fresh events the other half, and
    /// either takes what the other leaves. The odd place, and a first event that is larger than half,
    /// change hands with the turn.
    fn fill(&mut self) -> Result<()> {
        let even = self.cursor.turn % 2 == 0;
        if even && self.suspect_is_first()? && self.take_suspect()? {
            return Ok(());
        }
        let ClaimLimit { events, bytes, .. } = self.order.limit;
        let all = Room {
            events,
            bytes,
            share: events.div_ceil(SHARES),
            oversize: true,
        };
        let half = Room {
            events: if even { events.div_ceil(2) } else { events / 2 },
            bytes: if even { bytes.div_ceil(2) } else { bytes / 2 },
            oversize: even,
            ..all
        };
        self.take_due(half)?;
        self.take_fresh(all)?;
        self.take_due(all)?;
        self.take_more(all)?;
        if self.taken.is_empty() {
            self.take_suspect()?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Step> {
        let turn = i64::from(!self.taken.is_empty());
        run(
            self.connection,
            include_str!("sql/move_cursor.sql"),
            (self.cursor.position, turn),
        )?;
        if self.taken.is_empty() {
            let again = self.unfinished || rescue(self.connection, self.order.now)?;
            let empty = || Step::Done(Claim::empty());
            return Ok(if again { Step::GoOn } else { empty() });
        }
        self.taken.sort_unstable_by_key(|taken| taken.seq);
        let events = self.taken.iter();
        let events = events.map(|taken| (*taken.event.event.id.as_uuid(), taken.seq));
        run(
            self.connection,
            include_str!("sql/open_claim.sql"),
            (
                self.token.as_uuid().as_bytes(),
                self.order.now.saturating_add(self.order.lease),
                self.order.lease,
                claimed_bytes(events),
            ),
        )?;
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
        let alone = Room {
            events: 1,
            bytes: 0,
            share: 1,
            oversize: true,
        };
        while let Some(due) = self.due(include_str!("sql/due_suspect.sql"))? {
            if self.is_full(alone) {
                self.unfinished = true;
                break;
            }
            if self.take_run(due, alone)?.is_some_and(|taken| taken > 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Events of keys that are due.
    fn take_due(&mut self, room: Room) -> Result<()> {
        while !self.is_full(room) {
            let Some(due) = self.due(include_str!("sql/due_key.sql"))? else {
                break;
            };
            if self.take_run(due, room)?.is_none() {
                // It stays due, and may be larger than what this phase has left.
                self.unfinished = true;
                break;
            }
        }
        Ok(())
    }

    fn due(&self, sql: &str) -> Result<Option<Due>> {
        self.connection
            .prepare_cached(sql)?
            .query_row([self.order.now], |row| {
                let head = Head {
                    attempts: count(row.get(2)?),
                    worker_lost: row.get(3)?,
                };
                Ok(Due {
                    key: row.get(0)?,
                    at: row.get(1)?,
                    head,
                    first: row.get(4)?,
                })
            })
            .optional()
    }

    /// Whether nothing more can be taken, or nothing more may be read.
    fn is_full(&self, room: Room) -> bool {
        self.taken.len() >= room.events || (self.reads > 0 && self.read >= room.bytes)
    }

    fn fits(&self, size: usize, room: Room) -> bool {
        (self.reads == 0 && room.oversize) || self.read.saturating_add(size) <= room.bytes
    }

    /// Shows the events of a key behind `after` that the cursor has passed, in order, until `visit`
    /// says no.
    fn walk(
        &self,
        key: &Key,
        after: i64,
        mut visit: impl FnMut(Row) -> Result<bool>,
    ) -> Result<()> {
        let sql = match key {
            Key::Ordered(_) => include_str!("sql/key_events.sql"),
            Key::Lone(_) => include_str!("sql/lone_events.sql"),
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query((key, self.cursor.position, after))?;
        while let Some(row) = rows.next()? {
            let row = self.row(row)?;
            if !visit(row)? {
                break;
            }
        }
        Ok(())
    }

    fn row(&self, row: &rusqlite::Row<'_>) -> Result<Row> {
        let available_at: Option<i64> = row.get(2)?;
        Ok(Row {
            seq: row.get(0)?,
            size: usize::try_from(row.get::<_, i64>(1)?).unwrap_or_default(),
            delayed: available_at.filter(|&at| at > self.order.now),
        })
    }

    /// The first events of a due key; returns how many, or nothing if there is no room for the first.
    /// Otherwise the key is then held, or waits for its first event's time, or is gone: it is due no
    /// longer.
    fn take_run(&mut self, due: Due, room: Room) -> Result<Option<usize>> {
        let hold = front(self.connection, &due.key, self.cursor.position)?.hold;
        let mut held = Held::new(due.head, hold);
        let end = self.extend(&due.key, &mut held, due.first, room)?;
        let taken = held.taken;
        if taken > 0 {
            self.hold(&due.key, &held)?;
            self.held.insert(due.key, held);
            return Ok(Some(taken));
        }
        let head = held.head;
        let wait = match end {
            End::NoRoom => return Ok(None),
            End::Waits(first, due_at) => Some(Wait {
                first,
                due_at,
                head,
            }),
            End::Done => None,
        };
        let (position, now) = (self.cursor.position, self.order.now);
        park_or_free(self.connection, &due.key, position, now, wait)?;
        Ok(Some(0))
    }

    /// Takes the next events of a key that the cursor has passed.
    fn extend(
        &mut self,
        key: &Key,
        held: &mut Held,
        head_of: Option<i64>,
        room: Room,
    ) -> Result<End> {
        let most = room.events.saturating_sub(self.taken.len());
        let most = most.min(room.share.saturating_sub(held.taken));
        let mut rows = Vec::new();
        self.walk(key, held.last_seq, |row| {
            rows.push(row);
            Ok(rows.len() <= most)
        })?;
        held.more = rows.len() > most;
        held.open &= !held.more;
        for row in rows {
            if held.hold.is_some_and(|hold| hold < row.seq) {
                held.more = false;
                break;
            }
            if let Some(until) = row.delayed.or(self.in_flight.get(&row.seq).copied()) {
                (held.open, held.more) = (false, false);
                return Ok(End::Waits(row.seq, until));
            }
            let has_share = held.taken < room.share;
            if !has_share || self.is_full(room) || !self.fits(row.size, room) {
                (held.open, held.more) = (false, true);
                return Ok(End::NoRoom);
            }
            if held.taken == 0 && head_of.is_some_and(|head| head != row.seq) {
                held.head = Head::default();
            }
            if !self.take(held, &row)? && self.order.holds {
                (held.open, held.more) = (false, false);
                break;
            }
        }
        Ok(End::Done)
    }

    /// Reads the event and adds it to the claim, or sets it aside if it cannot be read.
    fn take(&mut self, held: &mut Held, row: &Row) -> Result<bool> {
        self.reads += 1;
        self.read = self.read.saturating_add(row.size);
        let is_first = held.taken == 0;
        match self.load(row.seq)? {
            Ok(event) => {
                // Only the first event of a key has attempts.
                let own = if is_first { held.head } else { Head::default() };
                let event = ClaimedEvent::new(event, own.attempts, own.worker_lost);
                held.last_seq = row.seq;
                held.taken += 1;
                self.taken.push(Taken {
                    seq: row.seq,
                    event,
                });
                Ok(true)
            }
            Err(reason) => {
                if is_first {
                    held.head = Head::default();
                }
                self.set_aside(row.seq, &reason)?;
                Ok(false)
            }
        }
    }

    fn load(&self, seq: i64) -> Result<std::result::Result<Event, String>> {
        self.connection
            .prepare_cached(include_str!("sql/event.sql"))?
            .query_row([seq], |row| Ok(event(row)))
    }

    /// S1: events beyond the cursor. Those of keys that are held or wait are passed over: their
    /// key leads to them later.
    fn take_fresh(&mut self, room: Room) -> Result<()> {
        let mut found = Fresh::default();
        let connection = self.connection;
        let mut statement = connection.prepare_cached(include_str!("sql/fresh_events.sql"))?;
        let mut rows = statement.query((self.cursor.position, PAGE))?;
        let mut seen = 0;
        self.unfinished = loop {
            if self.is_full(room) || found.waiting.len() >= PARKED {
                break true;
            }
            let Some(row) = rows.next()? else {
                break self.unfinished || seen == PAGE;
            };
            seen += 1;
            let (key, known) = (row.get(3)?, row.get(4)?);
            let row = self.row(row)?;
            if !self.visit(&row, key, known, room, &mut found)? {
                break true;
            }
            self.cursor.position = row.seq;
        };
        drop(rows);
        self.write_fresh(found)
    }

    /// Takes a fresh event or passes it over. `false` if it must stay beyond the cursor, as it is too
    /// large for this claim.
    fn visit(
        &mut self,
        row: &Row,
        key: Key,
        known: bool,
        room: Room,
        found: &mut Fresh,
    ) -> Result<bool> {
        let waits = known || found.waiting.contains_key(&key);
        if self.in_flight.contains_key(&row.seq) {
            // Its settlement leads to what remains of it.
            return Ok(true);
        }
        let Some(mut held) = self.held.remove(&key).or_else(|| {
            (!waits && row.delayed.is_none()).then(|| Held::new(Head::default(), None))
        }) else {
            if !waits {
                found.waiting.insert(key, (row.seq, row.delayed));
            }
            return Ok(true);
        };
        let mut stays = false;
        if row.delayed.is_some() {
            held.open = false;
        } else if held.open && held.taken >= room.share {
            (held.open, held.more) = (false, true);
        } else if held.open && !self.fits(row.size, room) {
            stays = true;
        } else if held.open && !self.take(&mut held, row)? && self.order.holds {
            held.open = false;
            if held.taken == 0 && matches!(key, Key::Ordered(_)) {
                found.waiting.insert(key.clone(), (row.seq, None));
            }
        }
        if held.taken > 0 {
            found.keys.push(key.clone());
            self.held.insert(key, held);
        }
        Ok(!stays)
    }

    /// What the scan found; written after it, because a scan must not meet its own writes.
    fn write_fresh(&self, found: Fresh) -> Result<()> {
        let Fresh { mut keys, waiting } = found;
        for (key, (first, until)) in waiting {
            let wait = Wait {
                first,
                due_at: until.unwrap_or(self.order.now),
                head: Head::default(),
            };
            park(
                self.connection,
                &key,
                &wait,
                until.is_none(),
                self.order.now,
            )?;
        }
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            if let Some(held) = self.held.get(&key) {
                self.hold(&key, held)?;
            }
        }
        Ok(())
    }

    /// What nobody else asks for: further events of the keys that had their share, in turns.
    fn take_more(&mut self, room: Room) -> Result<()> {
        let mut keys: Vec<(i64, Key)> = self
            .held
            .iter()
            .filter(|(_, held)| held.more)
            .map(|(key, held)| (held.last_seq, key.clone()))
            .collect();
        keys.sort_unstable();
        let mut share = room.share;
        while !keys.is_empty() && !self.is_full(room) {
            share = share.saturating_add(room.share);
            let mut rest = Vec::new();
            for (first, key) in keys {
                let Some(mut held) = self.held.remove(&key) else {
                    continue;
                };
                let before = held.taken;
                self.extend(&key, &mut held, None, Room { share, ..room })?;
                if held.more && held.taken > before {
                    rest.push((first, key.clone()));
                }
                if held.taken > before {
                    self.hold(&key, &held)?;
                }
                self.held.insert(key, held);
            }
            keys = rest;
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
                self.order.now,
                held.head.attempts,
                held.head.worker_lost,
            ),
        )?;
        Ok(())
    }

    /// A row that cannot be read goes into the quarantine as it is: nothing is lost, and its
    /// neighbours go on.
    fn set_aside(&self, seq: i64, reason: &str) -> Result<()> {
        let text = ErrorText::new(&format!("cannot be read: {reason}"));
        tracing::warn!(seq, reason, "an event that cannot be read is quarantined");
        let now = self.order.now;
        let failures = Failures {
            count: 1,
            error: Some(&text),
            first_at: now,
            last_at: now,
            holds: self.order.holds,
        };
        move_to_dead_letters(self.connection, seq, &failures, now)
    }
}
