//! What waits, and until when.

use crate::state::{Key, KeyState, State};
use outbox_core::{Backlog, Event};
use std::time::SystemTime;

impl State {
    /// When there is work: now, at the next due time, or when the next lease ends.
    pub(crate) fn next_work(&self, now: SystemTime) -> Option<SystemTime> {
        if self.log.range(self.cursor + 1..).next().is_some() {
            return Some(now);
        }
        let due = self
            .keys
            .iter()
            .filter(|(name, key)| key.claim.is_none() && !self.is_blocked(name, key))
            .map(|(_, key)| key.due);
        due.chain(self.claims.values().map(|claim| claim.leased_until))
            .min()
    }

    pub(crate) fn backlog(&self, now: SystemTime) -> Backlog {
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
        let age = |since: SystemTime| now.duration_since(since).unwrap_or_default();
        let fresh = self.log.range(self.cursor + 1..);
        let fresh = fresh.filter_map(|(_, row)| due_since(&row.event, now));
        let known = self.keys.iter();
        let known = known.filter_map(|(name, key)| self.key_due_since(name, key, now));
        backlog.oldest_due = fresh.chain(known).min().map(age);
        let oldest = self.dead_letters.values().next();
        backlog.oldest_dead_letter = oldest.map(|oldest| age(oldest.about.quarantined_at));
        backlog
    }

    /// Since when the first event of a key is due. A delay counts only after a failed attempt.
    fn key_due_since(&self, name: &Key, key: &KeyState, now: SystemTime) -> Option<SystemTime> {
        if key.claim.is_none() && self.is_blocked(name, key) {
            return None;
        }
        if key.attempts > 0 && key.held_for.is_none() {
            return Some(key.due).filter(|due| *due <= now);
        }
        let first = self.log.get(key.rows.first()?)?;
        due_since(&first.event, now)
    }
}

fn due_since(event: &Event, now: SystemTime) -> Option<SystemTime> {
    let at = event.available_at.unwrap_or(event.created_at);
    (at <= now || event.available_at.is_none()).then_some(at.max(event.created_at))
}
