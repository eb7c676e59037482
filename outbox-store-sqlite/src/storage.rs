//! The worker's side: each call of [`OutboxStorage`] is one transaction of the connection thread.

use crate::SqliteStore;
use crate::builder::ClaimOrder;
use crate::claim::{self, Progress};
use crate::settle::Settle;
use crate::status::{self, NextWork};
use crate::steps::run;
use crate::{housekeeping, quarantine};
use async_trait::async_trait;
use outbox_core::{
    Backlog, Claim, ClaimLimit, ClaimToken, DlqEntry, OutboxError, OutboxStorage, Outcome,
    QuarantineOutcome, Settlement,
};
use outbox_driver_sqlite::{interval, micros, sqlite_error};
use rusqlite::Connection;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// After work, a worker looks for new events after short pauses that double.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

/// For how long one claim skips events that must wait.
const LONGEST_SEARCH: Duration = Duration::from_secs(1);

#[async_trait]
impl OutboxStorage for SqliteStore {
    async fn claim(&self, limit: ClaimLimit, lease: Duration) -> Result<Claim, OutboxError> {
        const CLAIM: &str = "claim";
        limit.validate("sqlite")?;
        let (blocks, mark, lease) = (self.blocks_keys, self.mark, interval(lease));
        let start = Instant::now();
        loop {
            let clock = self.clock.clone();
            let check = move |connection: &_| status::may_claim(connection, micros(clock.now()));
            if !self.driver.fetch(CLAIM, check).await? {
                return Ok(Claim::empty());
            }
            let clock = self.clock.clone();
            let take = move |connection: &_| {
                let order = ClaimOrder {
                    limit,
                    now: micros(clock.now()),
                    lease,
                    blocks,
                    mark,
                };
                claim::claim(connection, order).map_err(sqlite_error(CLAIM))
            };
            // A power cut that undoes a claim undoes its settlement, too.
            match self.driver.write_unsynced(CLAIM, take).await? {
                Progress::Done(claim) => return Ok(claim),
                // An empty claim is correct here: `wait_for_work` returns at once.
                Progress::Unfinished if start.elapsed() > LONGEST_SEARCH => {
                    return Ok(Claim::empty());
                }
                Progress::Unfinished => {}
            }
        }
    }

    async fn settle(
        &self,
        token: ClaimToken,
        settlements: &[Settlement],
    ) -> Result<(), OutboxError> {
        let settlements = settlements.to_vec();
        let is_synced = settlements.iter().any(|one| counts(&one.outcome));
        let (clock, blocks) = (self.clock.clone(), self.blocks_keys);
        let settle = move |connection: &Connection| {
            let settle = Settle {
                connection,
                token,
                now: micros(clock.now()),
                blocks,
            };
            settle.run(&settlements)
        };
        if is_synced {
            self.driver.write(SETTLE, settle).await
        } else {
            self.driver.write_unsynced(SETTLE, settle).await
        }
    }

    async fn resume(&self, destination: &str, limit: usize) -> Result<usize, OutboxError> {
        let (now, destination) = (micros(self.clock.now()), destination.to_owned());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let resume = move |connection: &_| {
            run(
                connection,
                include_str!("sql/resume.sql"),
                (now, destination, limit),
            )
            .map_err(sqlite_error("resume"))
        };
        self.driver.write_unsynced("resume", resume).await
    }

    async fn quarantine_events(
        &self,
        entries: &[DlqEntry],
    ) -> Result<Vec<QuarantineOutcome>, OutboxError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let entries = entries.to_vec();
        let (clock, blocks) = (self.clock.clone(), self.blocks_keys);
        let work = move |connection: &_| {
            quarantine::quarantine(connection, &entries, micros(clock.now()), blocks)
        };
        self.driver.execute("quarantine_events", work).await
    }

    fn blocks_key_on_dead_letter(&self) -> bool {
        self.blocks_keys
    }

    /// Checks every 2 to 25 milliseconds whether a commit has changed the file, because a commit of another
    /// process notifies no worker. Only then, and a few times in the three seconds after a commit, it reads the
    /// tables. In a process with more than ten idle files it checks less often: every 50 milliseconds with 20.
    async fn wait_for_work(&self, at_most: Duration) -> Result<(), OutboxError> {
        let start = tokio::time::Instant::now();
        let known = self.idle.lock().ok().and_then(|mut idle| idle.take());
        let (mut changes, mut due) = known.unwrap_or_else(|| (self.driver.changes(), None));
        let mut has_changed = changes.since_last();
        let mut pause = if has_changed {
            SHORTEST_PAUSE
        } else {
            LONGEST_PAUSE * 2
        };
        loop {
            let now = micros(self.clock.now());
            if has_changed || due.is_some_and(|due| due <= now) {
                let next = move |connection: &_| status::next_work(connection, now);
                due = match self.driver.fetch("wait_for_work", next).await? {
                    NextWork::At(due) => due,
                    NextWork::Now => return Ok(()),
                };
            }
            let rest = at_most.saturating_sub(start.elapsed());
            if rest.is_zero() {
                if let Ok(mut idle) = self.idle.lock() {
                    *idle = Some((changes, due));
                }
                return Ok(());
            }
            let until_due = due.map_or(rest, |due| {
                let wait = u64::try_from(due.saturating_sub(now)).unwrap_or_default();
                Duration::from_micros(wait.max(1))
            });
            let rest = rest.min(until_due);
            if pause <= LONGEST_PAUSE {
                sleep(pause.min(rest)).await;
                has_changed = changes.since_last();
                pause *= 2;
            } else {
                has_changed = timeout(rest, changes.wait()).await.is_ok();
            }
        }
    }

    /// All counts are exact. `oldest_pending` is the time of the first event in the log.
    async fn backlog(&self) -> Result<Backlog, OutboxError> {
        let now = micros(self.clock.now());
        let backlog = move |connection: &_| status::backlog(connection, now);
        self.driver.fetch("backlog", backlog).await
    }

    /// Also repairs the log, with a warning through `tracing`: events that no claim would find because
    /// rows were deleted or changed by hand or because the clock was wrong.
    async fn clean_up(&self, limit: usize) -> Result<usize, OutboxError> {
        self.repair().await?;
        let before = micros(self.clock.now()).saturating_sub(interval(self.token_retention));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let clean_up =
            move |connection: &_| housekeeping::clean_up_tokens(connection, before, limit);
        self.driver.execute(CLEAN_UP, clean_up).await
    }
}

const SETTLE: &str = "settle";
const CLEAN_UP: &str = "clean_up";

/// Whether a power cut must not undo the outcome. An event whose other outcomes are undone is claimed again.
fn counts(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Retry { .. } | Outcome::Dead { .. })
}

impl SqliteStore {
    async fn repair(&self) -> Result<(), OutboxError> {
        let now = micros(self.clock.now());
        let repair = move |connection: &_| housekeeping::repair(connection, now);
        self.driver.execute(CLEAN_UP, repair).await?;
        // Each call checks the next page of the events that the cursor has passed.
        let after = self.checked.load(Ordering::Relaxed);
        let check = move |connection: &_| {
            let end = housekeeping::page_end(connection, after)?;
            let lost = housekeeping::lost_events(connection, after, end.unwrap_or(i64::MAX))?;
            Ok((end, !lost.is_empty()))
        };
        let (end, any) = self.driver.fetch(CLEAN_UP, check).await?;
        self.checked.store(end.unwrap_or(0), Ordering::Relaxed);
        if !any {
            return Ok(());
        }
        let end = end.unwrap_or(i64::MAX);
        let add = move |connection: &_| housekeeping::find_lost_events(connection, after, end, now);
        self.driver.execute(CLEAN_UP, add).await
    }
}
