//! What goes wrong only when a caller goes away: each call here ends well if it is let. It does no
//! harm at its first wait.

use super::saboteur::{Done, Saboteur};
use outbox_core::{
    Claim, ClaimLimit, ClaimToken, DeadLetterFilter, DeadLetters, DlqEntry, ErrorKind, EventId,
    OutboxError, OutboxStorage, Outcome, QuarantineOutcome, Settlement,
};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use tokio::task::yield_now;

const FOR_EVER: Duration = Duration::from_secs(3600 * 24 * 365);

impl Saboteur {
    /// First claims the events with a lease that does not end.
    pub(super) async fn claim_for_ever_first(
        &self,
        limit: ClaimLimit,
        lease: Duration,
    ) -> Done<Claim> {
        yield_now().await;
        let held = self.store.claim(limit, FOR_EVER).await?;
        yield_now().await;
        let outcome = Outcome::Released {
            delay: Duration::ZERO,
        };
        let release = |id| Settlement::new(id, outcome.clone());
        let all: Vec<_> = held
            .events
            .iter()
            .map(|one| release(one.event.id))
            .collect();
        if !all.is_empty() {
            self.store.settle(held.token, &all).await?;
        }
        self.store.claim(limit, lease).await
    }

    /// Settles the first event, and then the others.
    pub(super) async fn settle_in_halves(&self, token: ClaimToken, all: &[Settlement]) -> Done<()> {
        if all.len() == 1 {
            return self.store.settle(token, all).await;
        }
        yield_now().await;
        let mut half = all.to_vec();
        for settlement in &mut half[1..] {
            settlement.outcome = Outcome::Released {
                delay: Duration::ZERO,
            };
        }
        self.store.settle(token, &half).await?;
        yield_now().await;
        let rest = self
            .store
            .claim(ClaimLimit::events(all.len()), FOR_EVER)
            .await?;
        let held = |one: &&Settlement| rest.events.iter().any(|held| held.event.id == one.id);
        let others: Vec<_> = all.iter().filter(held).cloned().collect();
        self.store.settle(rest.token, &others).await
    }

    /// Takes a claim for settled before it is.
    pub(super) async fn settle_too_early(&self, token: ClaimToken, all: &[Settlement]) -> Done<()> {
        yield_now().await;
        if !self.settled.lock().expect("no panic").insert(token) {
            return Err(OutboxError::new(ErrorKind::LeaseLost, "saboteur", "settle"));
        }
        yield_now().await;
        self.store.settle(token, all).await
    }

    pub(super) async fn quarantine_one_by_one(
        &self,
        entries: &[DlqEntry],
    ) -> Done<Vec<QuarantineOutcome>> {
        let mut outcomes = Vec::new();
        for entry in entries {
            yield_now().await;
            let moved = self.store.quarantine_events(std::slice::from_ref(entry));
            outcomes.extend(moved.await?);
        }
        Ok(outcomes)
    }

    /// Deletes the events before it makes their dead letters.
    pub(super) async fn delete_and_quarantine(
        &self,
        entries: &[DlqEntry],
    ) -> Done<Vec<QuarantineOutcome>> {
        self.store.quarantine_events(entries).await?;
        let moved = DeadLetterFilter::all().ids(entries.iter().map(|entry| entry.id));
        self.move_in_steps(&moved, usize::MAX).await?;
        self.store.quarantine_events(entries).await
    }

    /// Deletes dead letters before it appends their events.
    pub(super) async fn move_in_steps(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Done<Vec<EventId>> {
        yield_now().await;
        let dead_letters = self.store.export(filter, None, limit, usize::MAX).await?;
        let ids = self.store.purge(filter, limit).await?;
        yield_now().await;
        let events: Vec<_> = dead_letters.into_iter().map(|(_, event)| event).collect();
        self.store.append(&events)?;
        Ok(ids)
    }

    pub(super) async fn purge_one_by_one(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Done<Vec<EventId>> {
        let mut purged = Vec::new();
        for dead_letter in self.store.list(filter, None, limit).await? {
            yield_now().await;
            let one = DeadLetterFilter::all().ids([dead_letter.id]);
            purged.extend(self.store.purge(&one, 1).await?);
        }
        Ok(purged)
    }

    /// A lock that a dropped call leaves behind.
    pub(super) async fn lock_and_look(&self) -> Done<()> {
        yield_now().await;
        if self.busy.swap(true, SeqCst) {
            return Err(OutboxError::new(ErrorKind::Unavailable, "saboteur", "lock"));
        }
        yield_now().await;
        self.busy.store(false, SeqCst);
        Ok(())
    }
}
