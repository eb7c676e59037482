//! The worker's side: [`OutboxStorage`].

use crate::PostgresStore;
use async_trait::async_trait;
use outbox_core::{
    Backlog, Claim, ClaimLimit, ClaimToken, DlqEntry, OutboxError, OutboxStorage,
    QuarantineOutcome, Settlement,
};
use std::time::Duration;
use tokio::time::Instant;

/// The longest pause between two looks without a connection that listens.
const LONGEST_LOOK: Duration = Duration::from_millis(100);

const WAIT: &str = "wait_for_work";

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

    async fn resume(&self, destination: &str, limit: usize) -> Result<usize, OutboxError> {
        self.resume_held(destination, limit).await
    }

    async fn quarantine_events(
        &self,
        entries: &[DlqEntry],
    ) -> Result<Vec<QuarantineOutcome>, OutboxError> {
        self.quarantine(entries).await
    }

    fn blocks_key_on_dead_letter(&self) -> bool {
        self.blocks_keys
    }

    /// Sleeps until a producer's commit notifies it, the next event is due, or a lease ends. Without
    /// a connection that listens, it polls every 5 to 100 milliseconds. The commit of a transaction that
    /// appended before this worker fell asleep may not notify, so it polls for those less and less often.
    async fn wait_for_work(&self, at_most: Duration) -> Result<(), OutboxError> {
        let start = Instant::now();
        if !self.share_is_free(at_most).await? {
            return Ok(());
        }
        loop {
            // A commit from here on is heard, so the look that follows cannot miss one.
            let rung = self.bell.listen(self).await?;
            let rest = at_most.saturating_sub(start.elapsed());
            if rest.is_zero() {
                // The next claim looks.
                return Ok(());
            }
            let outlook = match self.pace.take_answer() {
                Some((outlook, mark)) if rung.is_quiet_since(mark) => outlook,
                _ => self.outlook(WAIT).await?,
            };
            if outlook.has_work() {
                self.pace.will_find(outlook);
                return Ok(());
            }
            let mut sleep = outlook.next_in.unwrap_or(rest).min(rest);
            if !rung.hears(outlook.oldest_open) {
                let longest = if rung.is_listening() {
                    at_most
                } else {
                    LONGEST_LOOK
                };
                sleep = sleep.min(self.pace.next_pause(longest));
            }
            tokio::select! {
                () = tokio::time::sleep(sleep) => {}
                () = rung.wait() => {}
            }
        }
    }

    /// At most 100,000 events of the log are counted: see [`Backlog::pending_is_capped`].
    async fn backlog(&self) -> Result<Backlog, OutboxError> {
        self.read_backlog().await
    }

    async fn clean_up(&self, limit: usize) -> Result<usize, OutboxError> {
        self.remove_consumed(limit).await
    }
}
