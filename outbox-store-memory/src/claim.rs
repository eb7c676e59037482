//! Fills a claim from the keys that are due and from fresh events.

use crate::state::{BACKEND, ClaimState, Key, KeyState, LONGEST, State};
use outbox_core::{Claim, ClaimLimit, ClaimMark, ClaimToken, ClaimedEvent, Event, OutboxError};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, SystemTime};

/// A claim while it is built.
#[derive(Debug)]
struct ClaimBuilder {
    token: ClaimToken,
    limit: ClaimLimit,
    now: SystemTime,
    rows: BTreeSet<u64>,
    /// How many events of each key the claim has.
    taken: HashMap<Key, usize>,
    /// Keys of which no fresh event was left behind.
    open: HashSet<Key>,
    bytes: usize,
    /// How much the claim may have at the end of this phase, and the most events of one key.
    most_events: usize,
    most_bytes: usize,
    most_of_a_key: usize,
}

impl ClaimBuilder {
    fn new(token: ClaimToken, limit: ClaimLimit, now: SystemTime) -> Self {
        Self {
            token,
            limit,
            now,
            rows: BTreeSet::new(),
            taken: HashMap::new(),
            open: HashSet::new(),
            bytes: 0,
            most_events: limit.events,
            most_bytes: limit.bytes,
            most_of_a_key: limit.events,
        }
    }

    /// From now on the claim may have one `part`-th of its limit, and one `share`-th of one key.
    fn fill_to(&mut self, part: usize, share: usize) {
        self.most_events = self.limit.events.div_ceil(part);
        self.most_bytes = self.limit.bytes / part;
        self.most_of_a_key = self.limit.events.div_ceil(share).max(2);
    }

    /// S11: a single event may be larger than the bytes.
    fn is_full(&self, event: &Event) -> bool {
        self.rows.len() >= self.most_events
            || !self.rows.is_empty() && self.bytes + event.size() > self.most_bytes
    }

    fn has_share(&self, key: &Key) -> bool {
        let taken = self.taken.get(key).copied().unwrap_or_default();
        taken < self.most_of_a_key
    }

    fn take(&mut self, number: u64, key: &Key, event: &Event) {
        *self.taken.entry(key.clone()).or_default() += 1;
        self.rows.insert(number);
        self.bytes += event.size();
    }
}

impl State {
    pub(crate) fn claim(
        &mut self,
        limit: ClaimLimit,
        lease: Duration,
        now: SystemTime,
        mark: ClaimMark,
    ) -> Result<Claim, OutboxError> {
        limit.validate(BACKEND)?;
        self.expire(now);
        self.turn += 1;
        let token = ClaimToken::with_mark(mark);
        let mut builder = ClaimBuilder::new(token, limit, now);
        self.fill(&mut builder);
        if builder.rows.is_empty() {
            return Ok(Claim::empty());
        }
        let rows = builder.rows;
        let events = rows.iter().filter_map(|row| self.claimed(*row)).collect();
        let lease = lease.min(LONGEST);
        let claim = ClaimState {
            lease,
            leased_until: now + lease,
            is_lone: rows.len() == 1,
            rows,
        };
        self.claims.insert(token, claim);
        Ok(Claim::new(token, events))
    }

    /// S6: the waiting and the fresh events have half of the claim each. They take turns to come first,
    /// and each takes what the other leaves. A key has a quarter, but at least two events, until no other
    /// key has an event.
    fn fill(&mut self, builder: &mut ClaimBuilder) {
        let even = self.turn.is_multiple_of(2);
        let due = self.due_keys(builder);
        if let (true, Some((key, true))) = (even, due.first()) {
            return self.take_alone(key, builder);
        }
        builder.fill_to(2, 4);
        if even {
            self.take_waiting(&due, builder);
            builder.fill_to(1, 4);
            self.take_fresh(builder);
        } else {
            self.take_fresh(builder);
            builder.fill_to(1, 4);
        }
        self.take_waiting(&due, builder);
        self.take_fresh(builder);
        builder.fill_to(1, 1);
        let due = self.due_keys(builder);
        self.take_waiting(&due, builder);
        if let (true, Some((key, _))) = (builder.rows.is_empty(), due.iter().find(|key| key.1)) {
            self.take_alone(key, builder);
        }
    }

    /// The keys of which the claim may take events, in the order of their due times, and whether each is a
    /// suspect.
    fn due_keys(&self, builder: &ClaimBuilder) -> Vec<(Key, bool)> {
        let free = |key: &KeyState| key.claim.is_none_or(|token| token == builder.token);
        let mut due: Vec<_> = self
            .keys
            .iter()
            .filter(|(name, key)| {
                free(key) && key.due <= builder.now && !self.is_blocked(name, key)
            })
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

    fn take_alone(&mut self, key: &Key, builder: &mut ClaimBuilder) {
        if let Some(state) = self.keys.get_mut(key) {
            state.claim = Some(builder.token);
            builder.rows.extend(state.rows.first());
        }
    }

    fn take_waiting(&mut self, due: &[(Key, bool)], builder: &mut ClaimBuilder) {
        for (name, _) in due.iter().filter(|(_, suspect)| !suspect) {
            let blocked_from = self.blocked_from(name);
            let Some(key) = self.keys.get_mut(name) else {
                continue;
            };
            for number in key.rows.range(..blocked_from) {
                let Some(row) = self.log.get(number) else {
                    continue;
                };
                if let Some(at) = row.event.available_at.filter(|at| *at > builder.now) {
                    if key.claim.is_none() {
                        key.due = at;
                    }
                    break;
                }
                if !builder.rows.contains(number) {
                    if !builder.has_share(name) || builder.is_full(&row.event) {
                        break;
                    }
                    builder.take(*number, name, &row.event);
                }
                key.claim = Some(builder.token);
            }
        }
    }

    fn take_fresh(&mut self, builder: &mut ClaimBuilder) {
        for (&number, row) in self.log.range(self.cursor + 1..) {
            if builder.is_full(&row.event) {
                break;
            }
            self.cursor = number;
            let name = Key::of(&row.event);
            let due = row.event.available_at.filter(|at| *at > builder.now);
            let known = self.keys.contains_key(&name) || self.blocked.contains_key(&name);
            let key = self
                .keys
                .entry(name.clone())
                .or_insert_with(|| KeyState::waiting(due.unwrap_or(builder.now)));
            key.rows.insert(number);
            // If the key was known before, its fresh events wait for its earlier ones.
            let open = !known || builder.open.contains(&name);
            if open && due.is_none() && builder.has_share(&name) {
                builder.take(number, &name, &row.event);
                key.claim = Some(builder.token);
                builder.open.insert(name);
            } else {
                // The later events of the key wait for the one that is left behind.
                builder.open.remove(&name);
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
}
