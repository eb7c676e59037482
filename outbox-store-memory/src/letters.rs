//! The quarantine.

use crate::MemoryOutbox;
use crate::state::{Group, Letter, State};
use async_trait::async_trait;
use outbox_core::{
    DeadLetter, DeadLetterFilter, DeadLetterGroup, DeadLetters, Event, EventId, OutboxError,
};
use std::collections::HashMap;

fn matches(filter: &DeadLetterFilter, letter: &DeadLetter) -> bool {
    let error = letter.last_error.as_deref().unwrap_or_default();
    filter
        .ids
        .as_ref()
        .is_none_or(|ids| ids.contains(&letter.id))
        && filter
            .event_type
            .as_ref()
            .is_none_or(|name| *name == letter.event_type)
        && (filter.ordering_key.is_none() || filter.ordering_key == letter.ordering_key)
        && filter
            .error_contains
            .as_ref()
            .is_none_or(|text| error.contains(text.as_str()))
        && filter
            .before
            .is_none_or(|time| letter.quarantined_at < time)
}

impl State {
    fn take(
        &mut self,
        filter: &DeadLetterFilter,
        limit: usize,
        mut keep: impl FnMut(&mut Self, Letter) -> bool,
    ) -> Vec<EventId> {
        let matching = self
            .letters
            .iter()
            .filter(|(_, letter)| matches(filter, &letter.about));
        let positions: Vec<u64> = matching
            .take(limit)
            .map(|(position, _)| *position)
            .collect();
        let mut taken = Vec::new();
        for position in positions {
            let Some(letter) = self.letters.remove(&position) else {
                continue;
            };
            let id = letter.event.id;
            if keep(self, letter) {
                taken.push(id);
            }
        }
        taken
    }
}

#[async_trait]
impl DeadLetters for MemoryOutbox {
    async fn list(
        &self,
        filter: &DeadLetterFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, OutboxError> {
        let state = self.lock();
        let later = state
            .letters
            .range(after.map_or(0, |after| after.saturating_add(1))..);
        let matching = later
            .map(|(_, letter)| &letter.about)
            .filter(|about| matches(filter, about));
        Ok(matching.take(limit).cloned().collect())
    }

    async fn find(&self, id: EventId) -> Result<Option<(DeadLetter, Event)>, OutboxError> {
        let state = self.lock();
        let letter = state.letters.values().find(|letter| letter.about.id == id);
        Ok(letter.map(|letter| (letter.about.clone(), letter.event.clone())))
    }

    async fn replay(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<EventId>, OutboxError> {
        let now = self.clock.now();
        let restore = |state: &mut State, letter| state.restore(letter, now);
        let replayed = self.lock().take(filter, limit, restore);
        self.changed.notify_waiters();
        Ok(replayed)
    }

    async fn purge(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<EventId>, OutboxError> {
        let release = |state: &mut State, letter| {
            state.release(&letter);
            true
        };
        let purged = self.lock().take(filter, limit, release);
        self.changed.notify_waiters();
        Ok(purged)
    }

    async fn statistics(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<DeadLetterGroup>, OutboxError> {
        let state = self.lock();
        let mut groups: HashMap<Group, DeadLetterGroup> = HashMap::new();
        for letter in state
            .letters
            .values()
            .map(|letter| &letter.about)
            .filter(|about| matches(filter, about))
        {
            let at = letter.quarantined_at;
            let key = (letter.event_type.clone(), letter.last_error.clone());
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
