#![doc = include_str!("../README.md")]

use async_trait::async_trait;
use outbox_core::{Clock, DlqEntry, DlqHeap, EventId, FailedAttempt, HeapSize, OutboxError};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// The longest lease: a thousand years. A clock cannot tell the end of one that never ends.
const LONGEST: Duration = Duration::from_secs(1000 * 365 * 24 * 3600);

/// A dead-letter heap in memory. Clones share the counts.
#[derive(Clone, Debug)]
pub struct MemoryDlqHeap {
    state: Arc<Mutex<State>>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<EventId, Tracked>,
    /// Who is next: a number given at the first failure, and a new one at each lease.
    turns: BTreeMap<u64, EventId>,
    next_turn: u64,
}

#[derive(Debug)]
struct Tracked {
    entry: DlqEntry,
    turn: u64,
    leased_until: Option<SystemTime>,
}

impl MemoryDlqHeap {
    /// An empty heap on tokio's clock.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Arc::default(),
            clock: Clock::tokio(),
        }
    }

    /// Replaces the clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Puts an entry in, as another heap or a test had it. Replaces that of the same id.
    pub fn restore(&self, entry: DlqEntry) {
        let mut state = self.lock();
        state.remove(entry.id);
        let turn = state.turn(entry.id);
        let leased_until = None;
        state.entries.insert(
            entry.id,
            Tracked {
                entry,
                turn,
                leased_until,
            },
        );
    }

    /// No call panics while it holds the lock, so a poisoned one is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryDlqHeap {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn turn(&mut self, id: EventId) -> u64 {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.turns.insert(turn, id);
        turn
    }

    fn record(&mut self, failure: &FailedAttempt, now: SystemTime) {
        if let Some(tracked) = self.entries.get_mut(&failure.id) {
            let entry = &mut tracked.entry;
            entry.failure_count = entry.failure_count.saturating_add(1);
            entry.last_failed_at = entry.last_failed_at.max(now);
            if failure.error.is_some() {
                entry.last_error.clone_from(&failure.error);
            }
            return;
        }
        let entry = DlqEntry::new(failure.id, 1, now, now).with_error(failure.error.clone());
        let turn = self.turn(failure.id);
        let leased_until = None;
        self.entries.insert(
            failure.id,
            Tracked {
                entry,
                turn,
                leased_until,
            },
        );
    }

    fn remove(&mut self, id: EventId) -> Option<DlqEntry> {
        let tracked = self.entries.remove(&id)?;
        self.turns.remove(&tracked.turn);
        Some(tracked.entry)
    }

    /// The ids that may leave, in their turn.
    fn exceeded(&self, threshold: u32, limit: usize, now: SystemTime) -> Vec<EventId> {
        let free = |id: &&EventId| {
            self.entries.get(id).is_some_and(|tracked| {
                tracked.entry.failure_count >= threshold
                    && tracked.leased_until.is_none_or(|until| until <= now)
            })
        };
        self.turns
            .values()
            .filter(free)
            .take(limit)
            .copied()
            .collect()
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
        let mut state = self.lock();
        let ids = state.exceeded(threshold, usize::MAX, now);
        Ok(ids.into_iter().filter_map(|id| state.remove(id)).collect())
    }

    async fn record_failures(&self, failures: &[FailedAttempt]) -> Result<(), OutboxError> {
        let now = self.clock.now();
        let mut state = self.lock();
        for failure in failures {
            state.record(failure, now);
        }
        Ok(())
    }

    async fn forget(&self, ids: &[EventId]) -> Result<(), OutboxError> {
        let mut state = self.lock();
        for id in ids {
            state.remove(*id);
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
        let mut state = self.lock();
        let mut leased = Vec::new();
        for id in state.exceeded(threshold, limit, now) {
            let turn = state.turn(id);
            if let Some(tracked) = state.entries.get_mut(&id) {
                tracked.leased_until = Some(now + lease.min(LONGEST));
                let before = std::mem::replace(&mut tracked.turn, turn);
                leased.push(tracked.entry.clone());
                state.turns.remove(&before);
            }
        }
        Ok(leased)
    }

    async fn size(&self) -> Result<Option<HeapSize>, OutboxError> {
        let state = self.lock();
        let oldest = state
            .entries
            .values()
            .map(|tracked| tracked.entry.first_failed_at)
            .min();
        Ok(Some(HeapSize::new(state.entries.len() as u64, oldest)))
    }

    async fn prune(&self, age: Duration, limit: usize) -> Result<usize, OutboxError> {
        let now = self.clock.now();
        let mut state = self.lock();
        let old = |tracked: &&Tracked| {
            tracked.leased_until.is_none_or(|until| until <= now)
                && now
                    .duration_since(tracked.entry.last_failed_at)
                    .is_ok_and(|since| since > age)
        };
        let ids: Vec<EventId> = state
            .entries
            .values()
            .filter(old)
            .take(limit)
            .map(|tracked| tracked.entry.id)
            .collect();
        Ok(ids.into_iter().filter_map(|id| state.remove(id)).count())
    }
}
