//! The worker's side: [`OutboxStorage`].

use crate::PostgresStore;
use async_trait::async_trait;
use outbox_core::{
    Backlog, Claim, ClaimLimit, ClaimToken, DlqEntry, OutboxError, OutboxStorage,
    QuarantineOutcome, Settlement,
};
use std::time::Duration;
use tokio::time::Instant;

/// How often a worker polls without a wake-up: soon after work, then less and less often.
const SHORTEST_LOOK: Duration = Duration::from_millis(5);
const LONGEST_LOOK: Duration = Duration::from_millis(100);

#[async_trait]
impl OutboxStorage for PostgresStore {
    async fn claim(&self, limit: ClaimLimit, lease: Duration) -> Result<Claim, OutboxError> {
        limit.validate("postgres")?;
        self.take(limit, lease).await
    }

    async fn settle(
        &self,
        token: ClaimToken,
        settlements: &[Settlement],
    ) -> Result<(), OutboxError> {
        self.settle_claim(token, settlements).await
    }

    async fn quarantine_events(
        &self,
        entries: &[DlqEntry],
    ) -> Result<Vec<QuarantineOutcome>, OutboxError> {
        self.quarantine(entries).await
    }

    fn blocks_key_on_dead_letter(&self) -> bool {
        self.holds_keys
    }

    /// Sleeps until a producer's commit rings, the next event is due, or a lease runs out. Without
    /// a connection that listens it looks every 5 to 100 milliseconds; for what may commit unheard, as
    /// it was appended before this worker fell asleep, it looks ever less often.
    async fn wait_for_work(&self, at_most: Duration) -> Result<(), OutboxError> {
        let start = Instant::now();
        let mut pause = SHORTEST_LOOK;
        loop {
            // From here a commit is heard, so what is looked for next cannot be missed.
            let rung = self.bell.listen(self).await?;
            let rest = at_most.saturating_sub(start.elapsed());
            if rest.is_zero() {
                // The claim that follows looks.
                return Ok(());
            }
            let outlook = match self.memory.take_answer() {
                Some((outlook, mark)) if rung.is_quiet_since(mark) => outlook,
                _ => self.outlook().await?,
            };
            if outlook.has_work() {
                self.memory.will_find(outlook);
                return Ok(());
            }
            let mut sleep = outlook.next_in.unwrap_or(rest).min(rest);
            if !rung.hears(outlook.oldest_open) {
                sleep = sleep.min(pause);
                pause = pause.saturating_mul(2);
                if !rung.is_listening() {
                    pause = pause.min(LONGEST_LOOK);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(sleep) => {}
                () = rung.wait() => {}
            }
        }
    }

    /// `pending` is exact up to 100,000 events in each of the 16 lanes.
    async fn backlog(&self) -> Result<Backlog, OutboxError> {
        self.waiting().await
    }

    async fn clean_up(&self, limit: usize) -> Result<usize, OutboxError> {
        self.remove_consumed(limit).await
    }
}
