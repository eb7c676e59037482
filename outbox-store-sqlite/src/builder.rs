//! A claim while it is built: the events that it takes, and the keys that they belong to.
//!
//! The short columns of an event decide whether the claim takes it. Only then its payload is read
//! (S11).

use crate::claims::{self, InFlight};
use crate::row::{Key, event};
use crate::steps::{Cursor, Failures, History, cursor, move_to_dead_letters};
use outbox_core::{ClaimLimit, ClaimMark, ClaimToken, ClaimedEvent, ErrorText, Event};
use rusqlite::{Connection, Result};
use std::collections::HashMap;

/// What to claim, and when.
#[derive(Clone, Copy)]
pub(crate) struct ClaimOrder {
    pub(crate) limit: ClaimLimit,
    pub(crate) now: i64,
    /// Microseconds.
    pub(crate) lease: i64,
    /// S9: an event that cannot be read blocks its key.
    pub(crate) blocks: bool,
    /// Of the token.
    pub(crate) mark: ClaimMark,
}

/// How much one phase of the claim may add.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    /// The most events of one key.
    pub(crate) share: usize,
    /// Whether a first event may be larger than `bytes`.
    pub(crate) oversize: bool,
}

/// Why a claim takes no further event of a key.
pub(crate) enum End {
    /// The next one does not fit, or the key has had its share.
    NoRoom,
    /// The event with that row number must wait until that time.
    Waits(i64, i64),
    NoMore,
}

/// An event by its short columns.
pub(crate) struct Candidate {
    pub(crate) seq: i64,
    pub(crate) size: usize,
    /// When it may be published, if that is in the future.
    pub(crate) delayed: Option<i64>,
}

/// A key of this claim.
pub(crate) struct ClaimedKey {
    pub(crate) last_seq: i64,
    pub(crate) history: History,
    /// How many of its events the claim has.
    pub(crate) taken: usize,
    /// No earlier event of it was left behind, so the claim may take a fresh one.
    pub(crate) open: bool,
    /// It had its share, and may have more events behind `last_seq`.
    pub(crate) more: bool,
    /// It has a row in `outbox_keys`, or gets one: an event of it waits or has waited.
    pub(crate) has_row: bool,
    /// S9: no event behind this row number may be claimed.
    blocked_from: Option<i64>,
}

impl ClaimedKey {
    pub(crate) fn fresh() -> Self {
        Self {
            last_seq: 0,
            history: History::default(),
            taken: 0,
            open: true,
            more: false,
            has_row: false,
            blocked_from: None,
        }
    }

    pub(crate) fn due(history: History, blocked_from: Option<i64>) -> Self {
        Self {
            history,
            open: blocked_from.is_none(),
            has_row: true,
            blocked_from,
            ..Self::fresh()
        }
    }
}

pub(crate) struct ClaimBuilder<'c> {
    pub(crate) connection: &'c Connection,
    pub(crate) token: ClaimToken,
    pub(crate) order: ClaimOrder,
    pub(crate) cursor: Cursor,
    /// The events and keys of all open claims, which must not be claimed twice.
    pub(crate) in_flight: InFlight,
    /// The events of this claim, with their row numbers.
    pub(crate) taken: Vec<(i64, ClaimedEvent)>,
    /// How many events were read, and their bytes.
    reads: usize,
    bytes: usize,
    pub(crate) keys: HashMap<Key, ClaimedKey>,
    /// There are further events to look at.
    pub(crate) unfinished: bool,
}

impl<'c> ClaimBuilder<'c> {
    pub(crate) fn new(connection: &'c Connection, order: ClaimOrder) -> Result<Self> {
        Ok(Self {
            connection,
            token: ClaimToken::with_mark(order.mark),
            order,
            cursor: cursor(connection)?,
            in_flight: claims::in_flight(connection)?,
            taken: Vec::new(),
            reads: 0,
            bytes: 0,
            keys: HashMap::new(),
            unfinished: false,
        })
    }

    /// Whether no further event can be taken, or none may be read.
    pub(crate) fn is_full(&self, room: Room) -> bool {
        self.taken.len() >= room.events || (self.reads > 0 && self.bytes >= room.bytes)
    }

    pub(crate) fn fits(&self, size: usize, room: Room) -> bool {
        (self.reads == 0 && room.oversize) || self.bytes.saturating_add(size) <= room.bytes
    }

    /// Takes the next events of a key that the cursor has passed.
    pub(crate) fn extend(
        &mut self,
        key: &Key,
        claimed: &mut ClaimedKey,
        history_of: Option<i64>,
        room: Room,
    ) -> Result<End> {
        let most = room.events.saturating_sub(self.taken.len());
        let most = most.min(room.share.saturating_sub(claimed.taken));
        let candidates = self.candidates(key, claimed.last_seq, most.saturating_add(1))?;
        claimed.more = candidates.len() > most;
        claimed.open &= !claimed.more;
        for candidate in candidates {
            let seq = candidate.seq;
            if claimed.blocked_from.is_some_and(|blocked| blocked < seq) {
                claimed.more = false;
                break;
            }
            let leased = self.in_flight.events.get(&seq).copied();
            if let Some(until) = candidate.delayed.or(leased) {
                (claimed.open, claimed.more) = (false, false);
                return Ok(End::Waits(seq, until));
            }
            let has_share = claimed.taken < room.share;
            if !has_share || self.is_full(room) || !self.fits(candidate.size, room) {
                (claimed.open, claimed.more) = (false, true);
                return Ok(End::NoRoom);
            }
            if claimed.taken == 0 && history_of.is_some_and(|known| known != seq) {
                claimed.history = History::default();
            }
            let event = self.read(seq)?;
            if !self.take(claimed, &candidate, event)? && self.order.blocks {
                (claimed.open, claimed.more) = (false, false);
                break;
            }
        }
        Ok(End::NoMore)
    }

    /// Up to `limit` waiting events of a key behind `after`, in order.
    fn candidates(&self, key: &Key, after: i64, limit: usize) -> Result<Vec<Candidate>> {
        let sql = include_str!("sql/key_events.sql");
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query((key, self.cursor.position, after))?;
        let mut candidates = Vec::new();
        while candidates.len() < limit
            && let Some(row) = rows.next()?
        {
            candidates.push(self.candidate(row.get(0)?, row.get(1)?, row.get(2)?));
        }
        Ok(candidates)
    }

    pub(crate) fn candidate(&self, seq: i64, size: i64, available_at: Option<i64>) -> Candidate {
        Candidate {
            seq,
            size: usize::try_from(size).unwrap_or_default(),
            delayed: available_at.filter(|&at| at > self.order.now),
        }
    }

    /// Adds an event to the claim. Returns `false` if the event cannot be read; it is quarantined then.
    pub(crate) fn take(
        &mut self,
        claimed: &mut ClaimedKey,
        candidate: &Candidate,
        event: std::result::Result<Event, String>,
    ) -> Result<bool> {
        self.reads += 1;
        self.bytes = self.bytes.saturating_add(candidate.size);
        let is_first = claimed.taken == 0;
        match event {
            Ok(event) => {
                // Only the first event of a key has a history.
                let history = if is_first {
                    claimed.history
                } else {
                    History::default()
                };
                let event = ClaimedEvent::new(event, history.attempts, history.worker_lost);
                claimed.last_seq = candidate.seq;
                claimed.taken += 1;
                self.taken.push((candidate.seq, event));
                Ok(true)
            }
            Err(reason) => {
                if is_first {
                    claimed.history = History::default();
                }
                self.quarantine_unreadable(candidate.seq, &reason)?;
                Ok(false)
            }
        }
    }

    pub(crate) fn read(&self, seq: i64) -> Result<std::result::Result<Event, String>> {
        self.connection
            .prepare_cached(include_str!("sql/event.sql"))?
            .query_row([seq], |row| Ok(event(row)))
    }

    /// S13: a row that cannot be read goes into the quarantine as it is, so that it does not block the
    /// other events.
    fn quarantine_unreadable(&self, seq: i64, reason: &str) -> Result<()> {
        let error = ErrorText::new(&format!("cannot be read: {reason}"));
        let now = self.order.now;
        let failures = Failures {
            count: 1,
            error: Some(&error),
            first_at: now,
            last_at: now,
            blocks: self.order.blocks,
        };
        let id = move_to_dead_letters(self.connection, seq, &failures, now)?;
        tracing::warn!(
            %id, seq, reason,
            "event quarantined, as its row cannot be read; `outbox dlq show {id}` shows it"
        );
        Ok(())
    }

    /// S3: the key belongs to this claim.
    pub(crate) fn claim_key(&self, key: &Key, claimed: &ClaimedKey) -> Result<()> {
        claims::claim_key(
            self.connection,
            self.token,
            key,
            claimed.last_seq,
            self.order.now,
            claimed.history,
        )
    }
}
