//! Into the quarantine and back.

use super::{Key, KeyState, Letter, Row, State};
use outbox_core::{DeadLetter, DlqEntry, QuarantineOutcome};
use std::collections::BTreeMap;
use std::time::SystemTime;

impl State {
    pub(crate) fn quarantine(
        &mut self,
        entries: &[DlqEntry],
        now: SystemTime,
        holds: bool,
    ) -> Vec<QuarantineOutcome> {
        self.expire(now);
        let outcomes = entries
            .iter()
            .map(|entry| self.quarantine_one(entry, now, holds))
            .collect();
        self.keys.retain(|_, key| !key.rows.is_empty());
        outcomes
    }

    fn quarantine_one(
        &mut self,
        entry: &DlqEntry,
        now: SystemTime,
        holds: bool,
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
        // A dead letter holds from its place in the log; events beyond the cursor have none yet.
        if in_flight || (holds && number > self.cursor) {
            return QuarantineOutcome::Busy;
        }
        let failed = key.is_some_and(|key| key.rows.first() == Some(&number) && key.attempts > 0);
        if row.replays > 0 && !failed {
            return QuarantineOutcome::Missing;
        }
        self.bury(number, now, holds, |dead_letter| {
            dead_letter.failure_count = entry.failure_count;
            dead_letter.last_error.clone_from(&entry.last_error);
            dead_letter.first_failed_at = entry.first_failed_at;
            dead_letter.last_failed_at = entry.last_failed_at;
        });
        QuarantineOutcome::Moved
    }

    pub(super) fn bury(
        &mut self,
        number: u64,
        now: SystemTime,
        holds: bool,
        fill: impl FnOnce(&mut DeadLetter),
    ) {
        let Some(row) = self.remove(number, now) else {
            return;
        };
        let id = row.event.id;
        let same = |dead_letter: &&Letter| dead_letter.about.id == id;
        if let Some(earlier) = self.dead_letters.values().find(same).cloned() {
            self.dead_letters.remove(&earlier.about.position);
            self.release(&earlier);
        }
        if let (true, key @ Key::Named(_)) = (holds, Key::of(&row.event)) {
            self.holds.entry(key).or_default().insert(number, id);
        }
        self.last_dead_letter += 1;
        let mut about = DeadLetter::new(self.last_dead_letter, &row.event, now);
        about.replays = row.replays;
        fill(&mut about);
        let event = row.event;
        let dead_letter = Letter { about, event };
        self.dead_letters.insert(self.last_dead_letter, dead_letter);
    }

    /// Brings a dead letter back as the last event of its key, or to its old place if it held the key.
    /// It stays if its id is in the outbox.
    pub(crate) fn restore(&mut self, dead_letter: Letter, now: SystemTime) -> bool {
        if self.ids.contains_key(&dead_letter.event.id) {
            self.dead_letters
                .insert(dead_letter.about.position, dead_letter);
            return false;
        }
        let held = self.release(&dead_letter);
        let replays = dead_letter.about.replays.saturating_add(1);
        let Some(place) = held else {
            self.push(dead_letter.event, replays);
            return true;
        };
        let key = self
            .keys
            .entry(Key::of(&dead_letter.event))
            .or_insert_with(|| KeyState::waiting(now));
        key.rows.insert(place);
        if key.rows.first() == Some(&place) {
            key.begin_anew(now);
        }
        self.ids.insert(dead_letter.event.id, place);
        let event = dead_letter.event;
        self.log.insert(place, Row { event, replays });
        true
    }

    /// Ends the hold of a dead letter on its key, and returns the dead letter's place in the log if it had
    /// one.
    pub(crate) fn release(&mut self, dead_letter: &Letter) -> Option<u64> {
        let key = Key::of(&dead_letter.event);
        let holds = self.holds.get_mut(&key)?;
        let mut places = holds.iter();
        let place = *places.find(|(_, id)| **id == dead_letter.event.id)?.0;
        holds.remove(&place);
        if holds.is_empty() {
            self.holds.remove(&key);
        }
        Some(place)
    }

    /// The place in the log behind which no event of the key may be claimed.
    pub(super) fn hold_of(&self, key: &Key) -> u64 {
        let first = self.holds.get(key).and_then(BTreeMap::first_key_value);
        first.map_or(u64::MAX, |(place, _)| *place)
    }

    pub(super) fn is_held(&self, name: &Key, key: &KeyState) -> bool {
        let hold = self.hold_of(name);
        key.rows.first().is_none_or(|first| *first > hold)
    }
}
