//! The log, the keys that are claimed or wait, and the rules between them.

mod quarantine;

use outbox_core::{
    Backlog, Claim, ClaimLimit, ClaimToken, ClaimedEvent, DeadLetter, ErrorKind, ErrorText, Event,
    EventId, OutboxError, Outcome, Settlement,
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

/// A dead letter with its event.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) about: DeadLetter,
    pub(crate) event: Event,
}

/// A claim while it is put together.
#[derive(Debug)]
struct Draft {
    token: ClaimToken,
    limit: ClaimLimit,
    now: SystemTime,
    rows: BTreeSet<u64>,
    /// Of each key, how many events were taken.
    taken: HashMap<Key, usize>,
    /// Keys whose fresh events were all taken so far.
    open: HashSet<Key>,
    bytes: usize,
    /// What may be taken in this step: of the whole, and of one key.
    events_now: usize,
    bytes_now: usize,
    of_a_key: usize,
}

impl Draft {
    fn new(token: ClaimToken, limit: ClaimLimit, now: SystemTime) -> Self {
        Self {
            token,
            limit,
            now,
            rows: BTreeSet::new(),
            taken: HashMap::new(),
            open: HashSet::new(),
            bytes: 0,
            events_now: limit.events,
            bytes_now: limit.bytes,
            of_a_key: limit.events,
        }
    }

    /// Sets which part of the claim may be filled from now on, and which part of it by one key.
    fn share(&mut self, part: usize, of_a_key: usize) {
        self.events_now = self.limit.events.div_ceil(part);
        self.bytes_now = self.limit.bytes / part;
        self.of_a_key = self.limit.events.div_ceil(of_a_key).max(2);
    }

    /// S11: a single event may be larger than the bytes.
    fn is_full(&self, event: &Event) -> bool {
        self.rows.len() >= self.events_now
            || !self.rows.is_empty() && self.bytes + event.size() > self.bytes_now
    }

    /// Whether the event is of this claim now.
    fn take(&mut self, number: u64, key: &Key, event: &Event) -> bool {
        let taken = self.taken.entry(key.clone()).or_default();
        if *taken >= self.of_a_key {
            return false;
        }
        *taken += 1;
        let full = self.is_full(event);
        if !full {
            self.rows.insert(number);
            self.bytes += event.size();
        }
        !full
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
    /// The dead letters that hold their key, by their place in the log.
    holds: HashMap<Key, BTreeMap<u64, EventId>>,
    pub(crate) dead_letters: BTreeMap<u64, Letter>,
    pub(crate) last_dead_letter: u64,
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
        limit: ClaimLimit,
        lease: Duration,
        now: SystemTime,
    ) -> Result<Claim, OutboxError> {
        if limit.events == 0 {
            let problem = "limit of events is 0, but must be at least 1";
            return Err(OutboxError::invalid(BACKEND, "claim", problem));
        }
        self.expire(now);
        self.turn += 1;
        let token = ClaimToken::new();
        let mut draft = Draft::new(token, limit, now);
        self.fill(&mut draft);
        if draft.rows.is_empty() {
            return Ok(Claim::empty());
        }
        let rows = draft.rows;
        let events = rows.iter().filter_map(|row| self.claimed(*row)).collect();
        let leased_until = now + lease.min(LONGEST);
        self.claims.insert(token, ClaimState { leased_until, rows });
        Ok(Claim::new(token, events))
    }

    /// S6: what waits and what is fresh have half of the claim each, by turns the first half, and
    /// either takes what the other leaves. S13: a key has a quarter, but two events at least, until no other key has an event.
    fn fill(&mut self, draft: &mut Draft) {
        let even = self.turn.is_multiple_of(2);
        let due = self.due_keys(draft);
        if let (true, Some((key, true))) = (even, due.first()) {
            return self.take_alone(key, draft);
        }
        draft.share(2, 4);
        if even {
            self.take_waiting(&due, draft);
            draft.share(1, 4);
            self.take_fresh(draft);
        } else {
            self.take_fresh(draft);
            draft.share(1, 4);
        }
        self.take_waiting(&due, draft);
        self.take_fresh(draft);
        draft.share(1, 1);
        let due = self.due_keys(draft);
        self.take_waiting(&due, draft);
        if let (true, Some((key, _))) = (draft.rows.is_empty(), due.iter().find(|key| key.1)) {
            self.take_alone(key, draft);
        }
    }

    /// The keys of which the claim may take more, the longest due first, and whether each is suspect.
    fn due_keys(&self, draft: &Draft) -> Vec<(Key, bool)> {
        let free = |key: &KeyState| key.claim.is_none_or(|token| token == draft.token);
        let mut due: Vec<_> = self
            .keys
            .iter()
            .filter(|(name, key)| free(key) && key.due <= draft.now && !self.is_held(name, key))
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

    fn take_alone(&mut self, key: &Key, draft: &mut Draft) {
        if let Some(state) = self.keys.get_mut(key) {
            state.claim = Some(draft.token);
            draft.rows.extend(state.rows.first());
        }
    }

    fn take_waiting(&mut self, due: &[(Key, bool)], draft: &mut Draft) {
        for (name, _) in due.iter().filter(|(_, suspect)| !suspect) {
            let hold = self.hold_of(name);
            let Some(key) = self.keys.get_mut(name) else {
                continue;
            };
            for number in key.rows.range(..hold) {
                let Some(row) = self.log.get(number) else {
                    continue;
                };
                if let Some(at) = row.event.available_at.filter(|at| *at > draft.now) {
                    if key.claim.is_none() {
                        key.due = at;
                    }
                    break;
                }
                if !draft.rows.contains(number) && !draft.take(*number, name, &row.event) {
                    break;
                }
                key.claim = Some(draft.token);
            }
        }
    }

    fn take_fresh(&mut self, draft: &mut Draft) {
        for (&number, row) in self.log.range(self.cursor + 1..) {
            if draft.is_full(&row.event) {
                break;
            }
            self.cursor = number;
            let name = Key::of(&row.event);
            let due = row.event.available_at.filter(|at| *at > draft.now);
            let known = self.keys.contains_key(&name) || self.holds.contains_key(&name);
            let key = self
                .keys
                .entry(name.clone())
                .or_insert_with(|| KeyState::waiting(due.unwrap_or(draft.now)));
            key.rows.insert(number);
            // Of a key that was known before, what follows waits behind what is there.
            let open = !known || draft.open.contains(&name);
            if open && due.is_none() && draft.take(number, &name, &row.event) {
                key.claim = Some(draft.token);
                draft.open.insert(name);
            } else {
                // An event that is left behind closes its key for those behind it.
                draft.open.remove(&name);
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
                self.bury(number, now, holds, |dead_letter| {
                    dead_letter.failure_count = attempts.saturating_add(1);
                    dead_letter.last_error = Some(reason.clone());
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
        backlog.dead_letters = self.dead_letters.len() as u64;
        backlog
    }
}

fn invalid_settlement(
    value: impl std::fmt::Display,
    allowed: impl std::fmt::Display,
) -> OutboxError {
    let problem = format!("settlement is {value}, but must be {allowed}");
    OutboxError::invalid(BACKEND, "settle", problem)
}

/// The key under which dead letters are grouped.
pub(crate) type Group = (String, Option<ErrorText>);
