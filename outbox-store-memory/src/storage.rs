//! The worker's side. Each call holds the lock from its start to its end.

use crate::MemoryStore;
use async_trait::async_trait;
use outbox_core::{
    Backlog, Claim, ClaimLimit, ClaimToken, DlqEntry, OutboxError, OutboxStorage,
    QuarantineOutcome, Settlement,
};
use std::time::Duration;

#[async_trait]
impl OutboxStorage for MemoryStore {
    async fn claim(&self, limit: ClaimLimit, lease: Duration) -> Result<Claim, OutboxError> {
        let now = self.clock.now();
        self.lock().claim(limit, lease, now, self.mark)
    }

    async fn settle(
        &self,
        token: ClaimToken,
        settlements: &[Settlement],
    ) -> Result<(), OutboxError> {
        let now = self.clock.now();
        self.lock()
            .settle(token, settlements, now, self.blocks_keys)?;
        self.changed.notify_waiters();
        Ok(())
    }

    async fn resume(&self, destination: &str, limit: usize) -> Result<usize, OutboxError> {
        let now = self.clock.now();
        let resumed = self.lock().resume(destination, limit, now);
        self.changed.notify_waiters();
        Ok(resumed)
    }

    async fn quarantine_events(
        &self,
        entries: &[DlqEntry],
    ) -> Result<Vec<QuarantineOutcome>, OutboxError> {
        let now = self.clock.now();
        let outcomes = self.lock().quarantine(entries, now, self.blocks_keys);
        self.changed.notify_waiters();
        Ok(outcomes)
    }

    fn blocks_key_on_dead_letter(&self) -> bool {
        self.blocks_keys
    }

    async fn wait_for_work(&self, at_most: Duration) -> Result<(), OutboxError> {
        let deadline = tokio::time::Instant::now() + at_most;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Listens before it checks, so that it misses no change in between.
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
        let now = self.clock.now();
        Ok(self.lock().backlog(now))
    }
}
