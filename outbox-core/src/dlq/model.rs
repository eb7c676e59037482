//! The data of a heap: its entries, its size, and the failures that it counts.

use crate::object::{ErrorText, EventId};
use std::time::SystemTime;

/// The failures of one event, as counted by a heap.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct DlqEntry {
    /// The event.
    pub id: EventId,
    /// Failed attempts, at least 1. Saturates at `u32::MAX`.
    pub failure_count: u32,
    /// The latest error text that was given.
    pub last_error: Option<ErrorText>,
    /// The first of these failures, by the heap's clock.
    pub first_failed_at: SystemTime,
    /// The latest of these failures, by the heap's clock; never before the first.
    pub last_failed_at: SystemTime,
}

impl DlqEntry {
    /// An entry without an error text.
    #[must_use]
    pub fn new(
        id: EventId,
        failure_count: u32,
        first_failed_at: SystemTime,
        last_failed_at: SystemTime,
    ) -> Self {
        Self {
            id,
            failure_count,
            last_error: None,
            first_failed_at,
            last_failed_at,
        }
    }

    /// Sets the latest error text.
    #[must_use]
    pub fn with_error(mut self, error: Option<ErrorText>) -> Self {
        self.last_error = error;
        self
    }
}

/// One failed attempt to publish an event.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct FailedAttempt {
    /// The event.
    pub id: EventId,
    /// The error text, if it is known.
    pub error: Option<ErrorText>,
}

impl FailedAttempt {
    /// A failed attempt without an error text.
    #[must_use]
    pub fn new(id: EventId) -> Self {
        Self { id, error: None }
    }

    /// Sets the error text.
    #[must_use]
    pub fn with_error(mut self, error: ErrorText) -> Self {
        self.error = Some(error);
        self
    }
}

/// The number of entries of a heap.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct HeapSize {
    /// Entries, also leased ones.
    pub entries: u64,
    /// The oldest first failure among them.
    pub oldest: Option<SystemTime>,
}

impl HeapSize {
    /// A heap of `entries` events.
    #[must_use]
    pub fn new(entries: u64, oldest: Option<SystemTime>) -> Self {
        Self { entries, oldest }
    }
}
