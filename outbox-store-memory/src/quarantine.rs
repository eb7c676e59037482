//! Moves events into the quarantine and back.

use crate::state::{Key, KeyState, QuarantinedEvent, Row, State};
use outbox_core::{DeadLetter, DlqEntry, QuarantineOutcome};
use std::collections::BTreeMap;
use std::time::SystemTime;

impl State {
    pub(crate) fn quarantine(
        &mut self,
        entries: &[DlqEntry],
        now: SystemTime,
        blocks: bool,
    ) -> Vec<QuarantineOutcome> {
        self.expire(now);
        let outcomes = entries
            .iter()
            .map(|entry| self.quarantine_one(entry, now, blocks))
            .collect();
        self.keys.retain(|_, key| !key.rows.is_empty());
        outcomes
    }

    fn quarantine_one(
        &mut self,
        entry: &DlqEntry,
        now: SystemTime,
        blocks: bool,
    ) -> QuarantineOutcome {
        let Some(&number) = self.ids.get(&entry.id) else {
            return QuarantineOutcome::Missing;
        };
        let Some(row) = self.log.get(&number) else {
            return QuarantineOutcome::Missing;
        };
        let key = self.keys.get(&Key::of(&row.event));
        let claim = key
            .and_then(|key| key.claim)
            .and_then(|token| self.claims.get(&token));
        let in_flight = claim.is_some_and(|claim| claim.rows.contains(&number));
        // A dead letter blocks its key from its row number on. An event beyond the cursor is not in the
        // order of its key yet.
        if in_flight || (blocks && number > self.cursor) {
            return QuarantineOutcome::Busy;
        }
        let failed = key.is_some_and(|key| key.rows.first() == Some(&number) && key.attempts > 0);
        if row.replays > 0 && !failed {
            return QuarantineOutcome::Missing;
        }
        self.move_to_dead_letters(number, now, blocks, |dead_letter| {
            dead_letter.failure_count = entry.failure_count;
            dead_letter.last_error.clone_from(&entry.last_error);
            dead_letter.first_failed_at = entry.first_failed_at;
            dead_letter.last_failed_at = entry.last_failed_at;
        });
        QuarantineOutcome::Moved
    }

    pub(crate) fn move_to_dead_letters(
        &mut self,
        number: u64,
        now: SystemTime,
        blocks: bool,
        fill: impl FnOnce(&mut DeadLetter),
    ) {
        let Some(row) = self.remove(number, now) else {
            return;
        };
        let id = row.event.id;
        let same = |dead_letter: &&QuarantinedEvent| dead_letter.about.id == id;
        if let Some(earlier) = self.dead_letters.values().find(same).cloned() {
            self.dead_letters.remove(&earlier.about.position);
            self.unblock(&earlier);
        }
        if let (true, key @ Key::Ordering(_)) = (blocks, Key::of(&row.event)) {
            self.blocked.entry(key).or_default().insert(number, id);
        }
        self.last_dead_letter += 1;
        let mut about = DeadLetter::new(self.last_dead_letter, &row.event, now);
        about.replays = row.replays;
        fill(&mut about);
        let event = row.event;
        let dead_letter = QuarantinedEvent { about, event };
        self.dead_letters.insert(self.last_dead_letter, dead_letter);
    }

    /// Moves a dead letter back to the log: to its old row number if it blocked its key, else to the end. It
    /// stays if its id is in the outbox.
    pub(crate) fn restore(&mut self, dead_letter: QuarantinedEvent, now: SystemTime) -> bool {
        if self.ids.contains_key(&dead_letter.event.id) {
            self.dead_letters
                .insert(dead_letter.about.position, dead_letter);
            return false;
        }
        let blocked = self.unblock(&dead_letter);
        let replays = dead_letter.about.replays.saturating_add(1);
        let Some(place) = blocked else {
            self.push(dead_letter.event, replays);
            return true;
        };
        let key = self
            .keys
            .entry(Key::of(&dead_letter.event))
            .or_insert_with(|| KeyState::waiting(now));
        key.rows.insert(place);
        if key.rows.first() == Some(&place) {
            key.reset(now);
        }
        self.ids.insert(dead_letter.event.id, place);
        let event = dead_letter.event;
        self.log.insert(place, Row { event, replays });
        true
    }

    /// A dead letter no longer blocks its key. Returns its row number in the log if it did.
    pub(crate) fn unblock(&mut self, dead_letter: &QuarantinedEvent) -> Option<u64> {
        let key = Key::of(&dead_letter.event);
        let blocking = self.blocked.get_mut(&key)?;
        let mut places = blocking.iter();
        let place = *places.find(|(_, id)| **id == dead_letter.event.id)?.0;
        blocking.remove(&place);
        if blocking.is_empty() {
            self.blocked.remove(&key);
        }
        Some(place)
    }

    /// S9: no event of the key behind this row number may be claimed.
    pub(crate) fn blocked_from(&self, key: &Key) -> u64 {
        let first = self.blocked.get(key).and_then(BTreeMap::first_key_value);
        first.map_or(u64::MAX, |(place, _)| *place)
    }

    pub(crate) fn is_blocked(&self, name: &Key, key: &KeyState) -> bool {
        let blocked_from = self.blocked_from(name);
        key.rows.first().is_none_or(|first| *first > blocked_from)
    }
}
