//! The worker's side: each call of [`OutboxStorage`] as one transaction of the connection thread.

use crate::SqliteStore;
use crate::claim::{self, Order, Step};
use crate::keys::during;
use crate::settle::micros_of;
use crate::status::{self, Outlook};
use crate::{housekeeping, quarantine, settle};
use async_trait::async_trait;
use outbox_core::{
    Backlog, Claim, ClaimLimit, ClaimToken, DlqEntry, OutboxError, OutboxStorage,
    QuarantineOutcome, Settlement,
};
use outbox_driver_sqlite::micros;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often an idle worker looks for new commits: soon after work, then ever less often.
const SHORTEST_LOOK: Duration = Duration::from_millis(2);
const LONGEST_LOOK: Duration = Duration::from_millis(25);

/// For how long one claim passes over events that must wait.
const LONGEST_SEARCH: Duration = Duration::from_secs(1);

#[async_trait]
impl OutboxStorage for SqliteStore {
    async fn claim(&self, limit: ClaimLimit, lease: Duration) -> Result<Claim, OutboxError> {
        const CLAIM: &str = "claim";
        if limit.events == 0 {
            let problem = "limit of events is 0, but must be at least 1";
            return Err(OutboxError::invalid("sqlite", CLAIM, problem));
        }
        let (holds, lease) = (self.holds_keys, micros_of(lease));
        let start = Instant::now();
        loop {
            let clock = self.clock.clone();
            let look = move |connection: &_| {
                during(CLAIM, status::may_claim(connection, micros(clock.now())))
            };
            if !self.driver.read(CLAIM, look).await? {
                return Ok(Claim::empty());
            }
            let clock = self.clock.clone();
            let take = move |connection: &_| {
                let order = Order {
                    limit,
                    now: micros(clock.now()),
                    lease,
                    holds,
                };
                during(CLAIM, claim::claim(connection, order))
            };
            match self.driver.write(CLAIM, take).await? {
                Step::Done(claim) => return Ok(claim),
                // There is work all the same, as `wait_for_work` says.
                Step::GoOn if start.elapsed() > LONGEST_SEARCH => return Ok(Claim::empty()),
                Step::GoOn => {}
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

    fn blocks_key_on_dead_letter(&self) -> bool {
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

    /// Also asks whether "no work" can be true: it repairs, with a warning through `tracing`, what
    /// rows that somebody deleted or changed, or a clock that was wrong for a moment, would have held
    /// up.
    async fn clean_up(&self, limit: usize) -> Result<usize, OutboxError> {
        const CLEAN_UP: &str = "clean_up";
        self.repair(CLEAN_UP).await?;
        let before = micros(self.clock.now()).saturating_sub(micros_of(self.token_retention));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.driver
            .write(CLEAN_UP, move |connection| {
                during(CLEAN_UP, status::clean_up(connection, before, limit))
            })
            .await
    }
}

impl SqliteStore {
    async fn repair(&self, operation: &'static str) -> Result<(), OutboxError> {
        let now = micros(self.clock.now());
        self.driver
            .write(operation, move |connection| {
                during(operation, housekeeping::repair(connection, now))
            })
            .await?;
        // The next page of the events that were taken up, in turns.
        let after = self.looked_at.load(Ordering::Relaxed);
        let look = move |connection: &_| {
            let end = housekeeping::page_end(connection, after)?;
            let found = housekeeping::any_unled(connection, after, end.unwrap_or(i64::MAX))?;
            Ok((end, found))
        };
        let look = move |connection: &_| during(operation, look(connection));
        let (end, found) = self.driver.read(operation, look).await?;
        self.looked_at.store(end.unwrap_or(0), Ordering::Relaxed);
        if !found {
            return Ok(());
        }
        let end = end.unwrap_or(i64::MAX);
        self.driver
            .write(operation, move |connection| {
                let led = housekeeping::lead_to_events(connection, after, end, now);
                during(operation, led)
            })
            .await
    }
}
