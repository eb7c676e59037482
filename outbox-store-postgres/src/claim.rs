//! One claim: events that are due again, and fresh events.

use crate::draft::{Draft, Run};
use crate::pace::Seen;
use crate::sql::{LANES, number, size};
use crate::{PostgresStore, row};
use outbox_core::{Claim, ClaimLimit, ClaimToken, ErrorKind, OutboxError};
use outbox_driver_postgres::{PgUuid, interval};
use std::time::Duration;
use tokio::time::Instant;

pub(crate) const CLAIM: &str = "claim";

/// A claim that finds only events that must wait returns empty after this time, so that its caller can
/// stop. A claim that has events starts no statement after it.
const LONGEST: Duration = Duration::from_secs(1);

/// S12: a claim of so many events leaves at least half of the free lanes to other workers.
const FEW: usize = 32;

/// A claim while it is filled.
pub(crate) struct Claiming<'s> {
    pub(crate) store: &'s PostgresStore,
    pub(crate) token: ClaimToken,
    limit: ClaimLimit,
    pub(crate) lease: Duration,
    /// The most lanes that it may take.
    most_lanes: usize,
    since: Instant,
    pub(crate) draft: Draft,
    /// The runs of few keys that it met in the log.
    pub(crate) runs: Vec<Run>,
}

impl PostgresStore {
    /// Claims events within `limit` for `lease`. The claim is empty if there are none. It is also empty
    /// if for a second only events were found that must wait: then `wait_for_work` returns at once. And it is
    /// empty while the open claims of this handle have its share of the lanes.
    pub(crate) async fn take(
        &self,
        limit: ClaimLimit,
        lease: Duration,
    ) -> Result<Claim, OutboxError> {
        let since = Instant::now();
        let most_lanes = self.lanes_left(CLAIM).await?;
        if most_lanes == 0 {
            return Ok(Claim::empty());
        }
        self.claims.note_lease(lease);
        self.repair_keys(CLAIM).await?;
        if self.pace.may_park() {
            let start = Instant::now();
            self.park_page(CLAIM).await?;
            self.pace.parked(start.elapsed());
        }
        loop {
            if self.pace.must_look() {
                let seen = self.look().await?;
                if !seen.0.has_work() {
                    self.pace.claimed(Some(seen));
                    return Ok(Claim::empty());
                }
            }
            let mut claiming = Claiming::new(self, limit, lease, most_lanes, since);
            let filled = claiming.fill().await;
            match filled {
                Err(error) if claiming.draft.given.is_empty() => return Err(error),
                Err(error) => tracing::debug!(%error, "claimed a part of the limit"),
                Ok(()) => {}
            }
            if let Some(claim) = claiming.finish().await? {
                return Ok(claim);
            }
            while since.elapsed() < LONGEST && self.park_page(CLAIM).await? {}
            if since.elapsed() >= LONGEST {
                self.pace.claimed(None);
                return Ok(Claim::empty());
            }
        }
    }

    async fn look(&self) -> Result<Seen, OutboxError> {
        let mark = self.bell.mark();
        let outlook = self.outlook(CLAIM).await?;
        self.pace.saw(outlook);
        Ok((outlook, mark))
    }
}

impl<'s> Claiming<'s> {
    fn new(
        store: &'s PostgresStore,
        limit: ClaimLimit,
        lease: Duration,
        most_lanes: usize,
        since: Instant,
    ) -> Self {
        Self {
            store,
            token: ClaimToken::with_mark(store.mark),
            limit,
            lease,
            most_lanes,
            since,
            draft: Draft::default(),
            runs: Vec::new(),
        }
    }

    /// S6: events that are due again may fill half of the claim, and fresh events the other half.
    /// Either takes what the other leaves. The odd event and the odd byte alternate with the turn.
    async fn fill(&mut self) -> Result<(), OutboxError> {
        let mut outlook = self.store.pace.outlook();
        if outlook.lost {
            self.store.take_over_lost_claims(CLAIM).await?;
            outlook.suspects = true;
            outlook.retries = true;
        }
        let even = self.store.pace.next_turn();
        if outlook.suspects && even && self.suspect().await? {
            return Ok(());
        }
        if outlook.retries {
            let ClaimLimit { events, bytes, .. } = self.limit;
            let (events, bytes) = match (outlook.events, even) {
                (false, _) => (events, bytes),
                (true, true) => (events.div_ceil(2), bytes),
                (true, false) => (events / 2, bytes / 2),
            };
            let may_exceed = even || !outlook.events;
            self.retries(events, bytes, may_exceed, false).await?;
        }
        self.fresh().await?;
        if outlook.retries && !self.is_over() {
            let (events, bytes) = self.room();
            let rest = self.few_left();
            self.retries(rest.unwrap_or(events), bytes, true, rest.is_some())
                .await?;
        }
        if outlook.suspects && self.draft.given.is_empty() {
            self.suspect().await?;
        }
        Ok(())
    }

    /// How many events a small claim may still take after it has half of the lanes. None if it has fewer
    /// lanes, or enough events.
    pub(crate) fn few_left(&self) -> Option<usize> {
        let (events, _) = self.room();
        let left = FEW.saturating_sub(self.draft.given.len()).min(events);
        (left > 0 && self.draft.lanes.len() >= LANES / 2).then_some(left)
    }

    /// How many more lanes the claim may take.
    pub(crate) fn lanes_left(&self) -> usize {
        self.most_lanes.saturating_sub(self.draft.lanes.len())
    }

    /// How many events and bytes the claim may still take.
    pub(crate) fn room(&self) -> (usize, usize) {
        let ClaimLimit { events, bytes, .. } = self.limit;
        let events = events.saturating_sub(self.draft.given.len());
        (events, bytes.saturating_sub(self.draft.bytes()))
    }

    /// Whether the claim is full, or has events and took long.
    pub(crate) fn is_over(&self) -> bool {
        let (events, bytes) = self.room();
        let late = bytes == 0 || self.since.elapsed() > LONGEST;
        events == 0 || late && !self.draft.given.is_empty()
    }

    /// S7: claims one event that was in a lost claim, alone. Returns whether there was one.
    async fn suspect(&mut self) -> Result<bool, OutboxError> {
        let query = sqlx::query(self.store.statements().claim_suspect.clone())
            .bind(PgUuid(*self.token.as_uuid()))
            .bind(interval(self.lease))
            .bind(number(self.draft.lanes.len()));
        let rows = self.store.driver.fetch(CLAIM, query).await?;
        let rows = row::collect(CLAIM, rows, |row| row::waiting_row(row, true))?;
        self.draft.add_waiting(rows, self.store.blocks_keys);
        Ok(!self.draft.held.is_empty())
    }

    /// Takes up to `limit` events that are due again, of up to `bytes`. With `may_exceed` the first may
    /// be larger. With `all` they may be of more than half of the free lanes.
    async fn retries(
        &mut self,
        limit: usize,
        bytes: usize,
        may_exceed: bool,
        all: bool,
    ) -> Result<(), OutboxError> {
        let lanes = self.lanes_left();
        if limit == 0 || lanes == 0 {
            return Ok(());
        }
        let query = sqlx::query(self.store.statements().claim_retries.clone())
            .bind(PgUuid(*self.token.as_uuid()))
            .bind(number(limit))
            .bind(interval(self.lease))
            .bind(number(lanes))
            .bind(number(self.draft.lanes.len()))
            .bind(size(bytes))
            .bind(may_exceed && self.draft.given.is_empty())
            .bind(all);
        let rows = self.store.driver.fetch(CLAIM, query).await?;
        let rows = row::collect(CLAIM, rows, |row| row::waiting_row(row, false))?;
        self.draft.add_waiting(rows, self.store.blocks_keys);
        Ok(())
    }

    /// Returns the claim, or None if it has no event for a worker, and the caller must try again.
    async fn finish(self) -> Result<Option<Claim>, OutboxError> {
        let Self {
            store,
            token,
            mut draft,
            runs,
            limit,
            lease,
            ..
        } = self;
        let waiting = draft.waiting_from_log();
        store.pace.set_found_waiting(waiting > limit.events / 2);
        let given = draft.take_given();
        if given.is_empty() {
            // The ends of windows, and events that wait for others, are settled here. If the lease has
            // ended already, another claim has them.
            if !draft.lanes.is_empty() {
                match store.settle_draft(CLAIM, token, &draft, &[]).await {
                    Err(error) if error.kind() != ErrorKind::LeaseLost => return Err(error),
                    _ => {}
                }
            }
            let seen = store.look().await?;
            if seen.0.has_work() {
                return Ok(None);
            }
            store.pace.claimed(Some(seen));
            return Ok(Some(Claim::empty()));
        }
        (draft.lease, draft.is_lone) = (lease, given.len() == 1);
        store.set_aside(CLAIM, token, runs).await;
        let is_busy = store.pace.claimed(None);
        store.claims.keep(token, draft);
        if is_busy {
            store.bell.wake(CLAIM, store).await;
        }
        Ok(Some(Claim::new(token, given)))
    }
}
