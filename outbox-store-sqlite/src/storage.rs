//! The worker's side: each call of [`OutboxStorage`] as one transaction of the connection thread.

use crate::SqliteOutbox;
use crate::claim::{self, Step};
use crate::keys::during;
use crate::status::{self, Outlook};
use crate::{quarantine, settle};
use async_trait::async_trait;
use outbox_core::{
    Backlog, Claim, ClaimLimit, ClaimToken, DlqEntry, OutboxError, OutboxStorage,
    QuarantineOutcome, Settlement,
};
use outbox_driver_sqlite::micros;
use std::time::Duration;

/// How often an idle worker looks for new commits: soon after work, then ever less often.
const SHORTEST_LOOK: Duration = Duration::from_millis(2);
const LONGEST_LOOK: Duration = Duration::from_millis(25);

#[async_trait]
impl OutboxStorage for SqliteOutbox {
    async fn claim(&self, limit: ClaimLimit, lease: Duration) -> Result<Claim, OutboxError> {
        const CLAIM: &str = "claim";
        if limit.events == 0 {
            let allowed = "at least 1";
            return Err(OutboxError::invalid("sqlite", CLAIM, "limit", 0, allowed));
        }
        let holds = self.holds_keys;
        loop {
            let clock = self.clock.clone();
            let look = move |connection: &_| {
                during(CLAIM, status::has_work(connection, micros(clock.now())))
            };
            if !self.driver.read(CLAIM, look).await? {
                return Ok(Claim::empty());
            }
            let clock = self.clock.clone();
            let take = move |connection: &_| {
                let now = micros(clock.now());
                let until = settle::later(now, lease);
                during(
                    CLAIM,
                    claim::claim(connection, limit.events, now, until, holds),
                )
            };
            if let Step::Done(claim) = self.driver.write(CLAIM, take).await? {
                return Ok(claim);
            }
        }
    }

    async fn settle(
        &self,
        token: ClaimToken,
        settlements: &[Settlement],
    ) -> Result<(), OutboxError> {
        let settlements = settlements.to_vec();
        let (clock, holds) = (self.clock.clone(), self.holds_keys);
        self.driver
            .write("settle", move |connection| {
                settle::settle(connection, token, &settlements, micros(clock.now()), holds)
            })
            .await
    }

    async fn quarantine_events(
        &self,
        entries: &[DlqEntry],
    ) -> Result<Vec<QuarantineOutcome>, OutboxError> {
        const QUARANTINE: &str = "quarantine_events";
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let entries = entries.to_vec();
        let (clock, holds) = (self.clock.clone(), self.holds_keys);
        self.driver
            .write(QUARANTINE, move |connection| {
                let now = micros(clock.now());
                during(
                    QUARANTINE,
                    quarantine::quarantine(connection, &entries, now, holds),
                )
            })
            .await
    }

    fn holds_keys(&self) -> bool {
        self.holds_keys
    }

    /// Looks again after 2 to 25 milliseconds: a commit of another process wakes nobody.
    async fn wait_for_work(&self, at_most: Duration) -> Result<(), OutboxError> {
        const WAIT: &str = "wait_for_work";
        let start = tokio::time::Instant::now();
        let mut pause = SHORTEST_LOOK;
        loop {
            let now = micros(self.clock.now());
            let look = move |connection: &_| during(WAIT, status::outlook(connection, now));
            let Outlook::Until(due) = self.driver.read(WAIT, look).await? else {
                return Ok(());
            };
            let rest = at_most.saturating_sub(start.elapsed());
            if rest.is_zero() {
                return Ok(());
            }
            let until_due = due.map_or(rest, |due| {
                let wait = u64::try_from(due.saturating_sub(now)).unwrap_or_default();
                Duration::from_micros(wait.max(1))
            });
            tokio::time::sleep(pause.min(rest).min(until_due)).await;
            pause = (pause * 2).min(LONGEST_LOOK);
        }
    }

    /// `pending` is exact up to 100,000 events; beyond that a quarantine of fresh events may make
    /// it a little too high. `oldest_pending` is the time of the first event in the log.
    async fn backlog(&self) -> Result<Backlog, OutboxError> {
        const BACKLOG: &str = "backlog";
        let now = micros(self.clock.now());
        self.driver
            .read(BACKLOG, move |connection| {
                during(BACKLOG, status::backlog(connection, now))
            })
            .await
    }

    async fn clean_up(&self, limit: usize) -> Result<usize, OutboxError> {
        const CLEAN_UP: &str = "clean_up";
        let retention = i64::try_from(self.token_retention.as_micros()).unwrap_or(i64::MAX);
        let before = micros(self.clock.now()).saturating_sub(retention);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.driver
            .write(CLEAN_UP, move |connection| {
                during(CLEAN_UP, status::clean_up(connection, before, limit))
            })
            .await
    }
}
