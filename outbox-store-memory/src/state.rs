//! The log, the keys that are claimed or wait, and the rules between them.

mod quarantine;

use outbox_core::{
    Backlog, Claim, ClaimToken, ClaimedEvent, DeadLetter, ErrorKind, ErrorText, Event, EventId,
    OutboxError, Outcome, Settlement,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, SystemTime};

pub(crate) const BACKEND: &str = "memory";

/// The longest lease or delay: a thousand years. A clock cannot tell the end of one that never ends.
const LONGEST: Duration = Duration::from_secs(1000 * 365 * 24 * 3600);

/// What orders events: their ordering key, or themselves.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Key {
    Named(String),
    Alone(EventId),
}

impl Key {
    fn of(event: &Event) -> Self {
        match &event.ordering_key {
            Some(name) => Self::Named(name.clone()),
            None => Self::Alone(event.id),
        }
    }
}

#[derive(Debug)]
struct Row {
    event: Event,
    replays: u32,
}

/// A key that is claimed or waits. Its other events wait with it.
#[derive(Debug)]
struct KeyState {
    /// Its events up to the cursor that have not left, in order. Never empty.
    rows: BTreeSet<u64>,
    claim: Option<ClaimToken>,
    due: SystemTime,
    /// Failed attempts of its first event.
    attempts: u32,
    /// Events up to here were in a claim whose worker was lost.
    suspect: u64,
    worker_lost: bool,
}

impl KeyState {
    fn waiting(due: SystemTime) -> Self {
        Self {
            rows: BTreeSet::new(),
            claim: None,
            due,
            attempts: 0,
            suspect: 0,
            worker_lost: false,
        }
    }

    /// Its first event is a new one.
    fn begin_anew(&mut self, now: SystemTime) {
        self.attempts = 0;
        self.worker_lost = false;
        self.due = now;
    }

    fn is_suspect(&self) -> bool {
        self.rows.first().is_some_and(|head| *head <= self.suspect)
    }
}

#[derive(Debug)]
struct ClaimState {
    leased_until: SystemTime,
    rows: BTreeSet<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    log: BTreeMap<u64, Row>,
    ids: HashMap<EventId, u64>,
    tokens: HashMap<String, EventId>,
    last_row: u64,
    /// Every event up to here has been taken up once.
    cursor: u64,
    turn: u64,
    keys: HashMap<Key, KeyState>,
    claims: HashMap<ClaimToken, ClaimState>,
    /// The letters that hold their key, by their place in the log.
    holds: HashMap<Key, BTreeMap<u64, EventId>>,
    pub(crate) letters: BTreeMap<u64, DeadLetter>,
    pub(crate) last_letter: u64,
}

fn error(kind: ErrorKind, operation: &'static str) -> OutboxError {
    OutboxError::new(kind, BACKEND, operation)
}

impl State {
    pub(crate) fn append(&mut self, events: Vec<Event>) -> Result<(), OutboxError> {
        let mut ids = HashSet::new();
        let mut tokens = HashSet::new();
        for event in &events {
            if self.ids.contains_key(&event.id) || !ids.insert(event.id) {
                let source = format!("event id {} is already in the outbox", event.id);
                return Err(error(ErrorKind::Duplicate, "append").with_source(source));
            }
            let Some(token) = &event.idempotency_token else {
                continue;
            };
            if self.tokens.contains_key(token) || !tokens.insert(token) {
                let source = format!("idempotency token {token:?} was used before");
                return Err(error(ErrorKind::Duplicate, "append").with_source(source));
            }
        }
        for event in events {
            if let Some(token) = &event.idempotency_token {
                self.tokens.insert(token.clone(), event.id);
            }
            self.push(event, 0);
        }
        Ok(())
    }

    fn push(&mut self, event: Event, replays: u32) {
        self.last_row += 1;
        self.ids.insert(event.id, self.last_row);
        self.log.insert(self.last_row, Row { event, replays });
    }

    /// Takes over the claims whose lease ran out: their events are suspects from now on.
    fn expire(&mut self, now: SystemTime) {
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
            for key in self
                .keys
                .values_mut()
                .filter(|key| key.claim == Some(token))
            {
                key.claim = None;
                key.due = now;
                let held = key.rows.intersection(&claim.rows).last();
                key.suspect = held.copied().unwrap_or(0).max(key.suspect);
                key.worker_lost = claim.rows.len() == 1;
            }
        }
    }

    pub(crate) fn claim(
        &mut self,
        limit: usize,
        lease: Duration,
        now: SystemTime,
    ) -> Result<Claim, OutboxError> {
        if limit == 0 {
            return Err(OutboxError::invalid(
                BACKEND,
                "claim",
                "limit",
                0,
                "at least 1",
            ));
        }
        self.expire(now);
        self.turn += 1;
        let even = self.turn.is_multiple_of(2);
        let token = ClaimToken::new();
        let due = self.due_keys(now);
        let mut rows = BTreeSet::new();
        match due.first() {
            Some((key, true)) if even => self.take_alone(key, token, &mut rows),
            _ => {
                let share = if even { limit.div_ceil(2) } else { limit / 2 };
                self.take_waiting(&due, share, token, now, &mut rows);
                self.take_fresh(limit, token, now, &mut rows);
                self.take_waiting(&due, limit, token, now, &mut rows);
                if let (true, Some((key, _))) = (rows.is_empty(), due.iter().find(|key| key.1)) {
                    self.take_alone(key, token, &mut rows);
                }
            }
        }
        if rows.is_empty() {
            return Ok(Claim::empty());
        }
        let events = rows.iter().filter_map(|row| self.claimed(*row)).collect();
        let leased_until = now + lease.min(LONGEST);
        self.claims.insert(token, ClaimState { leased_until, rows });
        Ok(Claim::new(token, events))
    }

    /// The keys that may be claimed, the longest due first, and whether each is suspect.
    fn due_keys(&self, now: SystemTime) -> Vec<(Key, bool)> {
        let mut due: Vec<_> = self
            .keys
            .iter()
            .filter(|(name, key)| key.claim.is_none() && key.due <= now && !self.is_held(name, key))
            .map(|(name, key)| {
                (
                    key.due,
                    key.rows.first().copied(),
                    name.clone(),
                    key.is_suspect(),
                )
            })
            .collect();
        due.sort();
        due.into_iter()
            .map(|(_, _, name, suspect)| (name, suspect))
            .collect()
    }

    fn take_alone(&mut self, key: &Key, token: ClaimToken, rows: &mut BTreeSet<u64>) {
        if let Some(state) = self.keys.get_mut(key) {
            state.claim = Some(token);
            rows.extend(state.rows.first());
        }
    }

    fn take_waiting(
        &mut self,
        due: &[(Key, bool)],
        limit: usize,
        token: ClaimToken,
        now: SystemTime,
        rows: &mut BTreeSet<u64>,
    ) {
        for (name, _) in due.iter().filter(|(_, suspect)| !suspect) {
            let hold = self.hold_of(name);
            let Some(key) = self.keys.get_mut(name) else {
                continue;
            };
            if rows.len() >= limit || key.claim.is_some() {
                continue;
            }
            for row in key.rows.range(..hold) {
                let available = self.log.get(row).and_then(|row| row.event.available_at);
                if let Some(at) = available.filter(|at| *at > now) {
                    if key.claim.is_none() {
                        key.due = at;
                    }
                    break;
                }
                if rows.len() >= limit {
                    break;
                }
                rows.insert(*row);
                key.claim = Some(token);
            }
        }
    }

    fn take_fresh(
        &mut self,
        limit: usize,
        token: ClaimToken,
        now: SystemTime,
        rows: &mut BTreeSet<u64>,
    ) {
        // Keys taken as waiting end before the cursor; what follows of them waits behind.
        let mut fresh = HashSet::new();
        for (&number, row) in self.log.range(self.cursor + 1..) {
            if rows.len() >= limit {
                break;
            }
            self.cursor = number;
            let name = Key::of(&row.event);
            let due = row.event.available_at.filter(|at| *at > now);
            let known = self.keys.contains_key(&name) || self.holds.contains_key(&name);
            let key = self
                .keys
                .entry(name.clone())
                .or_insert_with(|| KeyState::waiting(due.unwrap_or(now)));
            key.rows.insert(number);
            let open = !known || fresh.contains(&name);
            if open && due.is_none() {
                key.claim = Some(token);
                rows.insert(number);
                fresh.insert(name);
            } else {
                // A delayed event closes its key for those behind it.
                fresh.remove(&name);
            }
        }
    }

    fn claimed(&self, number: u64) -> Option<ClaimedEvent> {
        let row = self.log.get(&number)?;
        let key = self.keys.get(&Key::of(&row.event))?;
        let head = key.rows.first() == Some(&number);
        let attempts = if head { key.attempts } else { 0 };
        Some(ClaimedEvent::new(
            row.event.clone(),
            attempts,
            head && key.worker_lost,
        ))
    }

    pub(crate) fn settle(
        &mut self,
        token: ClaimToken,
        settlements: &[Settlement],
        now: SystemTime,
        holds: bool,
    ) -> Result<(), OutboxError> {
        let claim = self
            .claims
            .get(&token)
            .ok_or_else(|| error(ErrorKind::LeaseLost, "settle"))?;
        let mut outcomes = BTreeMap::new();
        for settlement in settlements {
            let row = self
                .ids
                .get(&settlement.id)
                .filter(|row| claim.rows.contains(row));
            let new = row.is_some_and(|row| outcomes.insert(*row, &settlement.outcome).is_none());
            if !new {
                let allowed = "each event of the claim, once";
                return Err(invalid_settlement(settlement.id, allowed));
            }
        }
        if outcomes.len() != claim.rows.len() {
            let allowed = format!("as many as the claim has events: {}", claim.rows.len());
            return Err(invalid_settlement(outcomes.len(), allowed));
        }
        self.claims.remove(&token);
        for (row, outcome) in outcomes {
            self.apply(row, outcome, now, holds);
        }
        for key in self
            .keys
            .values_mut()
            .filter(|key| key.claim == Some(token))
        {
            key.claim = None;
        }
        self.keys.retain(|_, key| !key.rows.is_empty());
        Ok(())
    }

    fn apply(&mut self, number: u64, outcome: &Outcome, now: SystemTime, holds: bool) {
        let Some(row) = self.log.get(&number) else {
            return;
        };
        let Some(key) = self.keys.get_mut(&Key::of(&row.event)) else {
            return;
        };
        let head = key.rows.first() == Some(&number);
        match outcome {
            Outcome::Published => drop(self.remove(number, now)),
            Outcome::Dead { reason } => {
                let attempts = if head { key.attempts } else { 0 };
                self.bury(number, now, holds, |letter| {
                    letter.failure_count = attempts.saturating_add(1);
                    letter.last_error = Some(reason.clone());
                });
            }
            Outcome::Retry { delay, .. } if head => {
                key.attempts = key.attempts.saturating_add(1);
                key.worker_lost = false;
                key.due = now + (*delay).min(LONGEST);
            }
            Outcome::Released { delay } if head => key.due = now + (*delay).min(LONGEST),
            // Not the first of its key: it waits behind the first, whose delay counts.
            _ => {}
        }
    }

    /// Takes an event out of the outbox; its key begins anew with the next one.
    fn remove(&mut self, number: u64, now: SystemTime) -> Option<Row> {
        let row = self.log.remove(&number)?;
        self.ids.remove(&row.event.id);
        if let Some(key) = self.keys.get_mut(&Key::of(&row.event)) {
            if key.rows.first() == Some(&number) {
                key.begin_anew(now);
            }
            key.rows.remove(&number);
        }
        Some(row)
    }

    /// When there is work again: at once, at the next due time, or when the next lease runs out.
    pub(crate) fn next_work(&self, now: SystemTime) -> Option<SystemTime> {
        if self.log.range(self.cursor + 1..).next().is_some() {
            return Some(now);
        }
        let due = self
            .keys
            .iter()
            .filter(|(name, key)| key.claim.is_none() && !self.is_held(name, key))
            .map(|(_, key)| key.due);
        due.chain(self.claims.values().map(|claim| claim.leased_until))
            .min()
    }

    pub(crate) fn backlog(&self) -> Backlog {
        let mut backlog = Backlog::default();
        backlog.pending = self.log.len() as u64;
        backlog.oldest_pending = self.log.values().next().map(|row| row.event.created_at);
        backlog.in_flight = self
            .claims
            .values()
            .map(|claim| claim.rows.len() as u64)
            .sum();
        backlog.waiting = self.keys.values().filter(|key| key.claim.is_none()).count() as u64;
        backlog.dead_letters = self.letters.len() as u64;
        backlog
    }
}

fn invalid_settlement(
    value: impl std::fmt::Display,
    allowed: impl std::fmt::Display,
) -> OutboxError {
    OutboxError::invalid(BACKEND, "settle", "settlement", value, allowed)
}

/// The key under which letters are grouped.
pub(crate) type Group = (String, Option<ErrorText>);
