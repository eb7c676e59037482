//! Applies the outcome of each event of a claim.

use crate::state::{BACKEND, Key, LONGEST, State, failed};
use outbox_core::{ClaimToken, ErrorKind, OutboxError, Outcome, Settlement};
use std::collections::BTreeMap;
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
            self.apply(row, outcome, now, blocks);
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

    fn apply(&mut self, number: u64, outcome: &Outcome, now: SystemTime, blocks: bool) {
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
                self.move_to_dead_letters(number, now, blocks, |dead_letter| {
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
            // Not the first event of its key: it waits for the first.
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
