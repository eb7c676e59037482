//! The heap of the cases that check a store together with the processors. It is as small as the
//! contract allows, so that these cases blame the store and not a heap.

use async_trait::async_trait;
use outbox_core::{Clock, DlqEntry, DlqHeap, EventId, FailedAttempt, HeapSize, OutboxError};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Entries behind one lock, with the time at which the lease of each ends.
#[derive(Debug)]
pub(crate) struct SmallHeap {
    entries: Mutex<BTreeMap<EventId, (DlqEntry, SystemTime)>>,
    clock: Clock,
}

impl SmallHeap {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            entries: Mutex::default(),
            clock,
        }
    }

    /// Adds an entry that is not leased.
    pub(crate) fn restore(&self, entry: DlqEntry) {
        let (id, now) = (entry.id, self.clock.now());
        self.entries().insert(id, (entry, now));
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<EventId, (DlqEntry, SystemTime)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl DlqHeap for SmallHeap {
    async fn record_failure(&self, id: EventId) -> Result<(), OutboxError> {
        self.record_failures(&[FailedAttempt::new(id)]).await
    }

    async fn record_success(&self, id: EventId) -> Result<(), OutboxError> {
        self.forget(&[id]).await
    }

    async fn drain_exceeded(&self, threshold: u32) -> Result<Vec<DlqEntry>, OutboxError> {
        let leased = self.lease_exceeded(threshold, usize::MAX, Duration::ZERO);
        let drained = leased.await?;
        let ids: Vec<EventId> = drained.iter().map(|entry| entry.id).collect();
        self.forget(&ids).await?;
        Ok(drained)
    }

    async fn record_failures(&self, failures: &[FailedAttempt]) -> Result<(), OutboxError> {
        let now = self.clock.now();
        let mut entries = self.entries();
        for failure in failures {
            let new = || (DlqEntry::new(failure.id, 0, now, now), now);
            let (entry, _) = entries.entry(failure.id).or_insert_with(new);
            entry.failure_count = entry.failure_count.saturating_add(1);
            entry.last_failed_at = now;
            if failure.error.is_some() {
                entry.last_error.clone_from(&failure.error);
            }
        }
        Ok(())
    }

    async fn forget(&self, ids: &[EventId]) -> Result<(), OutboxError> {
        self.entries().retain(|id, _| !ids.contains(id));
        Ok(())
    }

    async fn lease_exceeded(
        &self,
        threshold: u32,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<DlqEntry>, OutboxError> {
        let now = self.clock.now();
        let mut entries = self.entries();
        let exceeded = entries.values_mut().filter(|(entry, leased_until)| {
            entry.failure_count >= threshold.max(1) && *leased_until <= now
        });
        let leased = exceeded.take(limit).map(|(entry, leased_until)| {
            *leased_until = now + lease;
            entry.clone()
        });
        Ok(leased.collect())
    }

    async fn size(&self) -> Result<Option<HeapSize>, OutboxError> {
        let entries = self.entries();
        let oldest = entries.values().map(|(entry, _)| entry.first_failed_at);
        Ok(Some(HeapSize::new(entries.len() as u64, oldest.min())))
    }
}
