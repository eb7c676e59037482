//! The operator's side: list, replay, purge.

use crate::MemoryStore;
use crate::state::{QuarantinedEvent, State};
use async_trait::async_trait;
use outbox_core::{
    DeadLetter, DeadLetterFilter, DeadLetterGroup, DeadLetters, Event, EventId, OutboxError,
};
use std::collections::HashMap;

fn matches(filter: &DeadLetterFilter, dead_letter: &DeadLetter) -> bool {
    let error = dead_letter.last_error.as_deref().unwrap_or_default();
    filter
        .ids
        .as_ref()
        .is_none_or(|ids| ids.contains(&dead_letter.id))
        && filter
            .event_type
            .as_ref()
            .is_none_or(|name| *name == dead_letter.event_type)
        && (filter.ordering_key.is_none() || filter.ordering_key == dead_letter.ordering_key)
        && filter
            .error_contains
            .as_ref()
            .is_none_or(|text| error.contains(text.as_str()))
        && filter
            .before
            .is_none_or(|time| dead_letter.quarantined_at < time)
}

impl State {
    /// Removes up to `limit` dead letters that match, oldest first. `keep` says of each whether it counts.
    fn take(
        &mut self,
        filter: &DeadLetterFilter,
        limit: usize,
        mut keep: impl FnMut(&mut Self, QuarantinedEvent) -> bool,
    ) -> Vec<EventId> {
        let matching = self
            .dead_letters
            .iter()
            .filter(|(_, dead_letter)| matches(filter, &dead_letter.about));
        let positions: Vec<u64> = matching
            .take(limit)
            .map(|(position, _)| *position)
            .collect();
        let mut taken = Vec::new();
        for position in positions {
            let Some(dead_letter) = self.dead_letters.remove(&position) else {
                continue;
            };
            let id = dead_letter.event.id;
            if keep(self, dead_letter) {
                taken.push(id);
            }
        }
        taken
    }
}

#[async_trait]
impl DeadLetters for MemoryStore {
    async fn list(
        &self,
        filter: &DeadLetterFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, OutboxError> {
        let state = self.lock();
        let later = state
            .dead_letters
            .range(after.map_or(0, |after| after.saturating_add(1))..);
        let matching = later
            .map(|(_, dead_letter)| &dead_letter.about)
            .filter(|about| matches(filter, about));
        Ok(matching.take(limit).cloned().collect())
    }

    async fn find(&self, id: EventId) -> Result<Option<(DeadLetter, Event)>, OutboxError> {
        let state = self.lock();
        let dead_letter = state
            .dead_letters
            .values()
            .find(|dead_letter| dead_letter.about.id == id);
        Ok(dead_letter.map(|dead_letter| (dead_letter.about.clone(), dead_letter.event.clone())))
    }

    async fn replay(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<EventId>, OutboxError> {
        let now = self.clock.now();
        let restore = |state: &mut State, dead_letter| state.restore(dead_letter, now);
        let replayed = self.lock().take(filter, limit, restore);
        self.changed.notify_waiters();
        Ok(replayed)
    }

    async fn purge(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<EventId>, OutboxError> {
        let remove = |state: &mut State, dead_letter| {
            state.unblock(&dead_letter);
            true
        };
        let purged = self.lock().take(filter, limit, remove);
        self.changed.notify_waiters();
        Ok(purged)
    }

    async fn statistics(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<DeadLetterGroup>, OutboxError> {
        let state = self.lock();
        let mut groups: HashMap<_, DeadLetterGroup> = HashMap::new();
        for dead_letter in state
            .dead_letters
            .values()
            .map(|dead_letter| &dead_letter.about)
            .filter(|about| matches(filter, about))
        {
            let at = dead_letter.quarantined_at;
            let key = (
                dead_letter.event_type.clone(),
                dead_letter.last_error.clone(),
            );
            let group = groups
                .entry(key.clone())
                .or_insert_with(|| DeadLetterGroup::new(key.0, key.1, 0, at, at));
            group.count += 1;
            group.oldest = group.oldest.min(at);
            group.newest = group.newest.max(at);
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by(|a, b| {
            b.count
                .cmp(&a.count)
                .then_with(|| a.event_type.cmp(&b.event_type))
        });
        groups.truncate(limit);
        Ok(groups)
    }
}
