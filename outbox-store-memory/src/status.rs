//! What waits, and until when.

use crate::state::State;
use outbox_core::Backlog;
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
