#![doc = include_str!("../README.md")]

use async_trait::async_trait;
use outbox_core::{Clock, DlqEntry, DlqHeap, EventId, FailedAttempt, HeapSize, OutboxError};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// The longest lease: a thousand years. The end of a longer one may not be a valid time.
const LONGEST_LEASE: Duration = Duration::from_secs(1000 * 365 * 24 * 60 * 60);

/// A [`DlqHeap`] in memory. Clones share the entries.
#[derive(Clone, Debug)]
pub struct MemoryDlqHeap {
    entries: Arc<Mutex<Entries>>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Entries {
    by_id: HashMap<EventId, Tracked>,
    next_turn: u64,
}

#[derive(Debug)]
struct Tracked {
    entry: DlqEntry,
    /// Orders the leases: given at the first failure, and again at each lease.
    turn: u64,
    leased_until: Option<SystemTime>,
}

impl MemoryDlqHeap {
    /// An empty heap on the clock of tokio.
    #[must_use]
    pub fn new() -> Self {
        Self {
            entries: Arc::default(),
            clock: Clock::tokio(),
        }
    }

    /// Replaces the clock. Default: the clock of tokio, which a test can pause.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Adds an entry from another heap or from a test. Replaces the entry with the same id.
    pub fn restore(&self, entry: DlqEntry) {
        self.lock().track(entry);
    }

    /// No call panics while it holds the lock, so a poisoned one is consistent.
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryDlqHeap {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl DlqHeap for MemoryDlqHeap {
    async fn record_failure(&self, id: EventId) -> Result<(), OutboxError> {
        self.record_failures(&[FailedAttempt::new(id)]).await
    }

    async fn record_success(&self, id: EventId) -> Result<(), OutboxError> {
        self.forget(&[id]).await
    }

    async fn drain_exceeded(&self, threshold: u32) -> Result<Vec<DlqEntry>, OutboxError> {
        let now = self.clock.now();
        let mut entries = self.lock();
        let ids = entries.exceeded(threshold, usize::MAX, now).into_iter();
        let drained = ids.filter_map(|id| entries.by_id.remove(&id));
        Ok(drained.map(|tracked| tracked.entry).collect())
    }

    async fn record_failures(&self, failures: &[FailedAttempt]) -> Result<(), OutboxError> {
        let now = self.clock.now();
        let mut entries = self.lock();
        for failure in failures {
            entries.record(failure, now);
        }
        Ok(())
    }

    async fn forget(&self, ids: &[EventId]) -> Result<(), OutboxError> {
        let mut entries = self.lock();
        for id in ids {
            entries.by_id.remove(id);
        }
        Ok(())
    }

    async fn lease_exceeded(
        &self,
        threshold: u32,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<DlqEntry>, OutboxError> {
        let now = self.clock.now();
        let until = now + lease.min(LONGEST_LEASE);
        let mut entries = self.lock();
        let ids = entries.exceeded(threshold, limit, now).into_iter();
        Ok(ids.filter_map(|id| entries.lease(id, until)).collect())
    }

    async fn size(&self) -> Result<Option<HeapSize>, OutboxError> {
        let entries = self.lock();
        let first_failures = entries.by_id.values().map(|it| it.entry.first_failed_at);
        let count = entries.by_id.len() as u64;
        Ok(Some(HeapSize::new(count, first_failures.min())))
    }

    async fn prune(&self, age: Duration, limit: usize) -> Result<usize, OutboxError> {
        let now = self.clock.now();
        let mut entries = self.lock();
        let is_old = |tracked: &&Tracked| {
            let since = now.duration_since(tracked.entry.last_failed_at);
            tracked.is_free(now) && since.is_ok_and(|since| since > age)
        };
        let old = entries.by_id.values().filter(is_old).take(limit);
        let ids: Vec<EventId> = old.map(|tracked| tracked.entry.id).collect();
        for id in &ids {
            entries.by_id.remove(id);
        }
        Ok(ids.len())
    }
}

impl Entries {
    fn record(&mut self, failure: &FailedAttempt, now: SystemTime) {
        let Some(Tracked { entry, .. }) = self.by_id.get_mut(&failure.id) else {
            let entry = DlqEntry::new(failure.id, 1, now, now);
            return self.track(entry.with_error(failure.error.clone()));
        };
        entry.failure_count = entry.failure_count.saturating_add(1);
        entry.last_failed_at = entry.last_failed_at.max(now);
        if failure.error.is_some() {
            entry.last_error.clone_from(&failure.error);
        }
    }

    fn track(&mut self, entry: DlqEntry) {
        let tracked = Tracked {
            turn: self.turn(),
            leased_until: None,
            entry,
        };
        self.by_id.insert(tracked.entry.id, tracked);
    }

    /// Leases an entry and puts it behind all others.
    fn lease(&mut self, id: EventId, until: SystemTime) -> Option<DlqEntry> {
        let turn = self.turn();
        let tracked = self.by_id.get_mut(&id)?;
        tracked.turn = turn;
        tracked.leased_until = Some(until);
        Some(tracked.entry.clone())
    }

    fn turn(&mut self) -> u64 {
        self.next_turn += 1;
        self.next_turn
    }

    /// The ids of up to `limit` entries that have the threshold and no lease, by their turn.
    fn exceeded(&self, threshold: u32, limit: usize, now: SystemTime) -> Vec<EventId> {
        let is_exceeded = |tracked: &&Tracked| tracked.entry.failure_count >= threshold;
        let exceeded = self.by_id.values().filter(is_exceeded);
        let free = exceeded.filter(|tracked| tracked.is_free(now));
        let mut free: Vec<_> = free.map(|it| (it.turn, it.entry.id)).collect();
        if limit < free.len() {
            // A page of many needs no order of the others.
            free.select_nth_unstable(limit);
            free.truncate(limit);
        }
        free.sort_unstable();
        free.into_iter().map(|(_, id)| id).collect()
    }
}

impl Tracked {
    fn is_free(&self, now: SystemTime) -> bool {
        self.leased_until.is_none_or(|until| until <= now)
    }
}
