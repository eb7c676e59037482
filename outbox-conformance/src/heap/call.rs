//! A call of a heap as a value: what scripts are made of, and what a history keeps.

use outbox_core::{DlqEntry, DlqHeap, EventId, FailedAttempt, HeapSize, OutboxError};
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// A call of one of the methods of [`DlqHeap`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Call {
    /// [`DlqHeap::record_failure`].
    RecordFailure(EventId),
    /// [`DlqHeap::record_failures`].
    RecordFailures(Vec<FailedAttempt>),
    /// [`DlqHeap::record_success`].
    RecordSuccess(EventId),
    /// [`DlqHeap::forget`].
    Forget(Vec<EventId>),
    /// [`DlqHeap::drain_exceeded`].
    Drain {
        /// The least count that leaves.
        threshold: u32,
    },
    /// [`DlqHeap::lease_exceeded`].
    Lease {
        /// The least count that is leased.
        threshold: u32,
        /// The most entries.
        limit: usize,
        /// How long they are hidden.
        lease: Duration,
    },
    /// [`DlqHeap::size`].
    Size,
    /// [`DlqHeap::prune`].
    Prune {
        /// What is older goes.
        age: Duration,
        /// The most entries.
        limit: usize,
    },
}

/// What a call returned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Ok, and no more.
    Done,
    /// The entries that were drained or leased.
    Entries(Vec<DlqEntry>),
    /// How much is tracked.
    Size(Option<HeapSize>),
    /// How many entries were pruned.
    Pruned(usize),
}

impl Call {
    /// Calls the heap.
    ///
    /// # Errors
    ///
    /// Those of the heap.
    pub async fn run(&self, heap: &dyn DlqHeap) -> Result<Answer, OutboxError> {
        Ok(match self {
            Self::RecordFailure(id) => heap.record_failure(*id).await?.into(),
            Self::RecordFailures(failures) => heap.record_failures(failures).await?.into(),
            Self::RecordSuccess(id) => heap.record_success(*id).await?.into(),
            Self::Forget(ids) => heap.forget(ids).await?.into(),
            Self::Drain { threshold } => heap.drain_exceeded(*threshold).await?.into(),
            Self::Lease {
                threshold,
                limit,
                lease,
            } => {
                let leased = heap.lease_exceeded(*threshold, *limit, *lease).await?;
                leased.into()
            }
            Self::Size => heap.size().await?.into(),
            Self::Prune { age, limit } => heap.prune(*age, *limit).await?.into(),
        })
    }
}

impl Call {
    /// The same call of other events.
    pub(crate) fn rename(mut self, other: impl Fn(EventId) -> EventId) -> Self {
        match &mut self {
            Self::RecordFailure(id) | Self::RecordSuccess(id) => *id = other(*id),
            Self::RecordFailures(failures) => {
                for failure in failures {
                    failure.id = other(failure.id);
                }
            }
            Self::Forget(ids) => {
                for id in ids {
                    *id = other(*id);
                }
            }
            Self::Drain { .. } | Self::Lease { .. } | Self::Size | Self::Prune { .. } => {}
        }
        self
    }
}

impl From<()> for Answer {
    fn from((): ()) -> Self {
        Self::Done
    }
}

impl From<Vec<DlqEntry>> for Answer {
    fn from(entries: Vec<DlqEntry>) -> Self {
        Self::Entries(entries)
    }
}

impl From<Option<HeapSize>> for Answer {
    fn from(size: Option<HeapSize>) -> Self {
        Self::Size(size)
    }
}

impl From<usize> for Answer {
    fn from(pruned: usize) -> Self {
        Self::Pruned(pruned)
    }
}

impl Answer {
    /// The same answer about other events.
    pub(crate) fn rename(mut self, other: impl Fn(EventId) -> EventId) -> Self {
        if let Self::Entries(entries) = &mut self {
            for entry in entries {
                entry.id = other(entry.id);
            }
        }
        self
    }

    /// The entry of an event among those that were returned.
    pub(crate) fn entry(&self, id: EventId) -> Option<&DlqEntry> {
        match self {
            Self::Entries(entries) => entries.iter().find(|entry| entry.id == id),
            _ => None,
        }
    }
}

impl Display for Call {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::RecordFailure(id) => write!(f, "record_failure({id})"),
            Self::RecordFailures(failures) => {
                f.write_str("record_failures(")?;
                for (place, failure) in failures.iter().enumerate() {
                    let comma = if place == 0 { "" } else { ", " };
                    write!(f, "{comma}{}", failure.id)?;
                    if let Some(error) = &failure.error {
                        write!(f, " {:?}", error.as_str())?;
                    }
                }
                f.write_str(")")
            }
            Self::RecordSuccess(id) => write!(f, "record_success({id})"),
            Self::Forget(ids) => {
                let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                write!(f, "forget({})", ids.join(", "))
            }
            Self::Drain { threshold } => write!(f, "drain_exceeded({threshold})"),
            Self::Lease {
                threshold,
                limit,
                lease,
            } => write!(f, "lease_exceeded({threshold}, {limit}, {lease:?})"),
            Self::Size => f.write_str("size()"),
            Self::Prune { age, limit } => write!(f, "prune({age:?}, {limit})"),
        }
    }
}
