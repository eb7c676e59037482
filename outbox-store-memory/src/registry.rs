//! Who works on the outbox, and what waits: [`RelayRegistry`].

use crate::MemoryStore;
use crate::state::{Key, KeyState, Row, State};
use async_trait::async_trait;
use outbox_core::{
    BlockedKey, ClaimMark, OpenClaim, OutboxError, Overview, RelayId, RelayRecord, RelayRegistry,
    RelayReport, WaitingEvent,
};
use std::collections::HashSet;
use std::time::SystemTime;

#[async_trait]
impl RelayRegistry for MemoryStore {
    async fn report(&self, report: &RelayReport) -> Result<(), OutboxError> {
        let now = self.clock.now();
        self.lock().report(report, self.mark, now);
        Ok(())
    }

    async fn withdraw(&self, id: RelayId) -> Result<(), OutboxError> {
        self.lock().relays.retain(|relay| relay.id != id);
        Ok(())
    }

    async fn overview(&self, limit: usize) -> Result<Overview, OutboxError> {
        let now = self.clock.now();
        Ok(self.lock().overview(limit, now))
    }
}

impl State {
    /// The relays are kept in the order in which they were heard, the last one first.
    fn report(&mut self, report: &RelayReport, mark: ClaimMark, now: SystemTime) {
        let mut same = self.relays.iter().filter(|relay| relay.id == report.id);
        let since = same.next().map_or(now, |relay| relay.since);
        let is_silent = |relay: &RelayRecord| {
            let silence = now.duration_since(relay.heard).unwrap_or_default();
            silence > RelayReport::SILENCE
        };
        self.relays
            .retain(|relay| relay.id != report.id && !is_silent(relay));
        self.relays
            .insert(0, RelayRecord::new(report, mark, since, now));
        self.relays.truncate(RelayReport::MAX_RELAYS);
    }

    fn overview(&self, limit: usize, now: SystemTime) -> Overview {
        let mut overview = Overview::new(now);
        overview.relays = self.relays.iter().take(limit).cloned().collect();
        let claims = self.claims.iter();
        overview.claims = claims
            .map(|(token, claim)| {
                OpenClaim::new(*token, claim.rows.len() as u64, claim.leased_until)
            })
            .collect();
        overview.claims.sort_by_key(|claim| claim.until);
        overview.claims.truncate(limit);
        overview.waiting = self.waiting(now);
        overview.waiting.truncate(limit);
        overview.blocked = self.blocked_keys();
        overview.blocked.truncate(limit);
        overview
    }

    fn waiting(&self, now: SystemTime) -> Vec<WaitingEvent> {
        let waits =
            |(name, key): &(&Key, &KeyState)| key.claim.is_none() && !self.is_blocked(name, key);
        let known = self.keys.iter().filter(waits);
        let known = known.filter_map(|(_, key)| {
            let row = self.log.get(key.rows.first()?)?;
            let mut event = waiting_event(row, key.due);
            event.attempts = key.attempts;
            event.last_error.clone_from(&key.last_error);
            event.held_for.clone_from(&key.held_for);
            Some(event)
        });
        let mut first = HashSet::new();
        let fresh = self.log.range(self.cursor + 1..).map(|(_, row)| row);
        let fresh = fresh.filter(|row| {
            let name = Key::of(&row.event);
            !self.keys.contains_key(&name) && first.insert(name)
        });
        let fresh = fresh.map(|row| waiting_event(row, row.event.available_at.unwrap_or(now)));
        let mut waiting: Vec<WaitingEvent> = known.chain(fresh).collect();
        waiting.sort_by_key(|event| (event.created_at, event.id));
        waiting
    }

    fn blocked_keys(&self) -> Vec<BlockedKey> {
        let first = |(key, blocking): (&Key, &std::collections::BTreeMap<u64, _>)| {
            let Key::Ordering(name) = key else {
                return None;
            };
            let id = *blocking.first_key_value()?.1;
            let mut dead_letters = self.dead_letters.values();
            let about = &dead_letters.find(|one| one.about.id == id)?.about;
            let mut blocked = BlockedKey::new(name.clone(), id, about.quarantined_at);
            blocked.last_error.clone_from(&about.last_error);
            Some(blocked)
        };
        let mut blocked: Vec<BlockedKey> = self.blocked.iter().filter_map(first).collect();
        blocked.sort_by_key(|key| (key.since, key.dead_letter));
        blocked
    }
}

fn waiting_event(row: &Row, due_at: SystemTime) -> WaitingEvent {
    let event = &row.event;
    let event_type = event.event_type.clone();
    let mut waiting = WaitingEvent::new(event.id, event_type, event.created_at, due_at);
    waiting.ordering_key.clone_from(&event.ordering_key);
    waiting
}
