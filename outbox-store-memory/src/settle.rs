//! Applies the outcome of each event of a claim.

use crate::state::{BACKEND, Key, KeyState, LONGEST, State, failed};
use outbox_core::{ClaimToken, ErrorKind, OutboxError, Outcome, Settlement};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

impl State {
    pub(crate) fn settle(
        &mut self,
        token: ClaimToken,
        settlements: &[Settlement],
        now: SystemTime,
        blocks: bool,
    ) -> Result<(), OutboxError> {
        let claim = self
            .claims
            .get(&token)
            .ok_or_else(|| failed(ErrorKind::LeaseLost, "settle"))?;
        let mut outcomes = BTreeMap::new();
        for settlement in settlements {
            settlement.outcome.validate(BACKEND)?;
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
        let is_kept = |(_, outcome): &(&u64, &&Outcome)| matches!(outcome, Outcome::Kept);
        let kept: BTreeSet<u64> = outcomes
            .iter()
            .filter(is_kept)
            .map(|(row, _)| *row)
            .collect();
        for (row, outcome) in outcomes {
            self.apply(row, outcome, now, blocks);
        }
        self.keep(token, kept, now);
        self.keys.retain(|_, key| !key.rows.is_empty());
        Ok(())
    }

    /// S22: the claim has these events from now on, and their keys wait for them. Without events it ends.
    fn keep(&mut self, token: ClaimToken, kept: BTreeSet<u64>, now: SystemTime) {
        let claimed = |key: &&mut KeyState| key.claim == Some(token);
        for key in self.keys.values_mut().filter(claimed) {
            if key.rows.is_disjoint(&kept) {
                key.claim = None;
            }
        }
        if kept.is_empty() {
            self.claims.remove(&token);
        } else if let Some(claim) = self.claims.get_mut(&token) {
            claim.leased_until = now + claim.lease;
            claim.rows = kept;
        }
    }

    /// S23: makes the first events of keys due that are held for the destination, those whose delay ends first come first.
    pub(crate) fn resume(&mut self, destination: &str, limit: usize, now: SystemTime) -> usize {
        let held = |key: &&mut KeyState| {
            key.claim.is_none() && key.held_for.as_deref() == Some(destination)
        };
        let mut keys: Vec<&mut KeyState> = self.keys.values_mut().filter(held).collect();
        keys.sort_by_key(|key| (key.due, key.rows.first().copied()));
        keys.truncate(limit);
        for key in &mut keys {
            key.due = now;
            key.held_for = None;
        }
        keys.len()
    }

    fn apply(&mut self, number: u64, outcome: &Outcome, now: SystemTime, blocks: bool) {
        let Some(row) = self.log.get(&number) else {
            return;
        };
        let Some(key) = self.keys.get_mut(&Key::of(&row.event)) else {
            return;
        };
        let head = key.rows.first() == Some(&number);
        if head {
            key.held_for = None;
        }
        match outcome {
            Outcome::Published => drop(self.remove(number, now)),
            Outcome::Dead { reason } => {
                let attempts = if head { key.attempts } else { 0 };
                self.move_to_dead_letters(number, now, blocks, |dead_letter| {
                    dead_letter.failure_count = attempts.saturating_add(1);
                    dead_letter.last_error = Some(reason.clone());
                });
            }
            Outcome::Retry { delay, error } if head => {
                key.last_error = Some(error.clone());
                key.attempts = key.attempts.saturating_add(1);
                key.worker_lost = false;
                key.due = now + (*delay).min(LONGEST);
            }
            Outcome::Released { delay } if head => key.due = now + (*delay).min(LONGEST),
            Outcome::Held { destination, delay } if head => {
                key.due = now + (*delay).min(LONGEST);
                key.held_for = Some(Arc::clone(destination));
            }
            // It stays in the claim, or it is not the first event of its key and waits for the first.
            _ => {}
        }
    }
}

fn invalid_settlement(
    value: impl std::fmt::Display,
    allowed: impl std::fmt::Display,
) -> OutboxError {
    let problem = format!("settlement is {value}, but must be {allowed}");
    OutboxError::invalid(BACKEND, "settle", problem)
}
