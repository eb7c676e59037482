#![doc = include_str!("../README.md")]

mod dead_letters;
mod state;

use async_trait::async_trait;
use outbox_core::{
    Backlog, Claim, ClaimLimit, ClaimToken, Clock, DlqEntry, Event, OutboxError, OutboxStorage,
    QuarantineOutcome, Settlement,
};
use state::State;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// An outbox in memory. Clones share the events.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    clock: Clock,
    holds_keys: bool,
}

impl MemoryStore {
    /// An empty outbox on tokio's clock.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Arc::default(),
            changed: Arc::default(),
            clock: Clock::tokio(),
            holds_keys: false,
        }
    }

    /// Replaces the clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Lets an event that is quarantined through this handle hold its key: the successors wait
    /// until the dead letter is replayed before them, or purged. Default: they go on.
    #[must_use]
    pub fn block_key_on_dead_letter(mut self) -> Self {
        self.holds_keys = true;
        self
    }

    /// Begins a transaction. Its events appear when it commits; dropping it rolls back.
    pub fn begin(&self) -> MemoryTransaction {
        MemoryTransaction {
            outbox: self.clone(),
            events: Vec::new(),
        }
    }

    /// Appends events in a transaction of their own.
    ///
    /// # Errors
    ///
    /// As [`MemoryTransaction::commit`].
    pub fn append(&self, events: &[Event]) -> Result<(), OutboxError> {
        let mut transaction = self.begin();
        transaction.append(events)?;
        transaction.commit()
    }

    /// No call panics while it holds the lock, so a poisoned one is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

/// Events that are not committed yet.
#[derive(Debug)]
#[must_use = "dropping a transaction rolls it back"]
pub struct MemoryTransaction {
    outbox: MemoryStore,
    events: Vec<Event>,
}

impl MemoryTransaction {
    /// Adds events to the transaction.
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) for a field outside the limits of
    /// [`Event::validate`]; none is added then.
    pub fn append(&mut self, events: &[Event]) -> Result<(), OutboxError> {
        events.iter().try_for_each(Event::validate)?;
        self.events.extend_from_slice(events);
        Ok(())
    }

    /// Makes the events visible, in the order of the commits.
    ///
    /// # Errors
    ///
    /// [`Duplicate`](outbox_core::ErrorKind::Duplicate) if an id or an idempotency token is
    /// taken; nothing is appended then.
    pub fn commit(self) -> Result<(), OutboxError> {
        self.outbox.lock().append(self.events)?;
        self.outbox.changed.notify_waiters();
        Ok(())
    }
}

#[async_trait]
impl OutboxStorage for MemoryStore {
    async fn claim(&self, limit: ClaimLimit, lease: Duration) -> Result<Claim, OutboxError> {
        let now = self.clock.now();
        self.lock().claim(limit, lease, now)
    }

    async fn settle(
        &self,
        token: ClaimToken,
        settlements: &[Settlement],
    ) -> Result<(), OutboxError> {
        let now = self.clock.now();
        self.lock()
            .settle(token, settlements, now, self.holds_keys)?;
        self.changed.notify_waiters();
        Ok(())
    }

    async fn quarantine_events(
        &self,
        entries: &[DlqEntry],
    ) -> Result<Vec<QuarantineOutcome>, OutboxError> {
        let now = self.clock.now();
        let outcomes = self.lock().quarantine(entries, now, self.holds_keys);
        self.changed.notify_waiters();
        Ok(outcomes)
    }

    fn blocks_key_on_dead_letter(&self) -> bool {
        self.holds_keys
    }

    async fn wait_for_work(&self, at_most: Duration) -> Result<(), OutboxError> {
        let deadline = tokio::time::Instant::now() + at_most;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Listens before it looks, so that no change falls in between.
            changed.as_mut().enable();
            let now = self.clock.now();
            let next = self.lock().next_work(now);
            if next.is_some_and(|at| at <= now) {
                return Ok(());
            }
            let rest = next.and_then(|at| at.duration_since(now).ok());
            let due = rest.map_or(deadline, |rest| {
                deadline.min(tokio::time::Instant::now() + rest)
            });
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(due) => {
                    if due == deadline {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn backlog(&self) -> Result<Backlog, OutboxError> {
        Ok(self.lock().backlog())
    }
}
