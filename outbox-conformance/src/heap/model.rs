//! The reference for one event: its state by the contract, and the effect of each call. Scripts
//! compare a heap with it, and it explains histories.

use outbox_core::{DlqEntry, ErrorText};
use std::time::Duration;

/// One event in a heap. Times are since the start of the test.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Tracked {
    /// Failed attempts; 0 is an event without an entry.
    pub(crate) count: u32,
    pub(crate) error: Option<ErrorText>,
    pub(crate) first: Duration,
    pub(crate) last: Duration,
    /// When its lease runs out; zero is none.
    pub(crate) leased_until: Duration,
}

impl Tracked {
    /// H1, H3, H10: one more failure; it does not end a lease.
    pub(crate) fn fail(&mut self, error: Option<&ErrorText>, now: Duration) {
        if self.count == 0 {
            self.first = now;
        }
        self.count = self.count.saturating_add(1);
        self.last = now;
        if error.is_some() {
            self.error = error.cloned();
        }
    }

    /// H4, H5: no count, and no lease.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// H2, H8: whether a drain or a lease at `threshold` may return it.
    pub(crate) fn is_due(&self, threshold: u32, now: Duration) -> bool {
        self.count >= threshold.max(1) && self.is_free(now)
    }

    /// Whether a prune forgets it.
    pub(crate) fn is_older(&self, age: Duration, now: Duration) -> bool {
        self.count > 0 && self.is_free(now) && now.saturating_sub(self.last) > age
    }

    fn is_free(&self, now: Duration) -> bool {
        self.leased_until <= now
    }

    /// Whether a heap that returned `entry` counted as this does.
    pub(crate) fn counts_as(&self, entry: &DlqEntry) -> bool {
        self.count == entry.failure_count && self.error == entry.last_error
    }

    /// From the first failure to the last.
    pub(crate) fn failing_for(&self) -> Duration {
        self.last.saturating_sub(self.first)
    }

    /// The count and the error, for a person.
    pub(crate) fn counted(&self) -> String {
        let count = self.count;
        match &self.error {
            Some(error) => format!("count {count} {:?}", error.as_str()),
            None => format!("count {count}"),
        }
    }
}
