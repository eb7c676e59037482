//! What a store does to events that it must not touch, with a correct answer, and what it does
//! while others do it too.

use super::super::Fault as F;
use super::{Done, Saboteur};
use outbox_core::{
    Claim, ClaimLimit, ClaimToken, ClaimedEvent, DeadLetterFilter, DeadLetters, DlqEntry, Event,
    EventId, OutboxStorage, Outcome, QuarantineOutcome, Settlement,
};
use std::time::{Duration, SystemTime};
use tokio::task::yield_now;

impl Saboteur {
    /// A clean-up that goes too far.
    pub(super) async fn clean(&self, limit: usize) -> Done<usize> {
        match self.fault {
            F::CleansUpDeadLetters => {
                let filter = DeadLetterFilter::all();
                Ok(self.store.purge(&filter, limit).await?.len())
            }
            F::CleansUpWaitingEvents => {
                let waiting = self
                    .store
                    .claim(ClaimLimit::events(limit), Duration::from_secs(1))
                    .await?;
                let ids: Vec<_> = waiting.events.iter().map(|one| one.event.id).collect();
                self.publish(waiting.token, &ids).await
            }
            F::CleansUpClaims => {
                let Some((token, ids)) = self.disk().open.pop() else {
                    return Ok(0);
                };
                self.publish(token, &ids).await
            }
            F::CleansUpWhatFailed => {
                let now = SystemTime::UNIX_EPOCH;
                let failed = self.disk().failed.clone();
                let entries = failed.iter().map(|id| DlqEntry::new(*id, 1, now, now));
                let entries: Vec<_> = entries.collect();
                self.store.quarantine_events(&entries).await?;
                let filter = DeadLetterFilter::all().ids(failed);
                Ok(self.store.purge(&filter, limit).await?.len())
            }
            F::FreesTokens => {
                self.disk().tokens_are_free = true;
                Ok(0)
            }
            F::CleansUpMoreThanAsked => Ok(limit + 1),
            F::NeverDoneCleaningUp => Ok(1),
            _ => self.store.clean_up(limit).await,
        }
    }

    async fn publish(&self, token: ClaimToken, ids: &[EventId]) -> Done<usize> {
        let published = ids
            .iter()
            .map(|id| Settlement::new(*id, Outcome::Published));
        let published: Vec<_> = published.collect();
        if !published.is_empty() {
            self.store.settle(token, &published).await?;
        }
        Ok(published.len())
    }

    /// Looks for events that are not claimed, and then takes them.
    pub(super) async fn look_and_take(&self, limit: usize) -> Claim {
        let free: Vec<_> = {
            let disk = self.disk();
            let taken = |id| disk.open.iter().any(|(_, ids)| ids.contains(&id));
            let is_free = |event: &&Event| !disk.published.contains(&event.id) && !taken(event.id);
            let free = disk.appended.iter().filter(is_free).take(limit);
            let claimed = |event: &Event| ClaimedEvent::new(event.clone(), 0, false);
            free.map(claimed).collect()
        };
        yield_now().await;
        Claim::new(ClaimToken::new(), free)
    }

    /// Gives back what is larger than the budget, for ever.
    pub(super) async fn claim_the_small(&self, limit: ClaimLimit, lease: Duration) -> Done<Claim> {
        let claim = self.store.claim(limit, lease).await?;
        let [lone] = &claim.events[..] else {
            return Ok(claim);
        };
        if lone.event.size() <= limit.bytes {
            return Ok(claim);
        }
        let delay = Duration::from_secs(3600);
        let released = Settlement::new(lone.event.id, Outcome::Released { delay });
        self.store.settle(claim.token, &[released]).await?;
        Ok(Claim::empty())
    }

    /// What a quarantine does in addition to its answer.
    pub(super) async fn harm(&self, entry: &DlqEntry, outcome: QuarantineOutcome) -> Done<()> {
        match (self.fault, outcome) {
            (F::MovesEventsInFlight, QuarantineOutcome::Busy) => self.take_away(entry.id).await,
            (F::QuarantinesThePublished, QuarantineOutcome::Missing) => self.bury(entry).await,
            _ => Ok(()),
        }
    }

    /// Makes a dead letter of an event that a live claim has.
    async fn take_away(&self, id: EventId) -> Done<()> {
        let open = self.disk().open.clone();
        let Some((token, ids)) = open.iter().find(|(_, ids)| ids.contains(&id)) else {
            return Ok(());
        };
        let taken = Outcome::Dead {
            reason: "taken".into(),
        };
        let released = Outcome::Released {
            delay: Duration::ZERO,
        };
        let outcome = |one: &EventId| if *one == id { &taken } else { &released };
        let settlement = |one: &EventId| Settlement::new(*one, outcome(one).clone());
        let settlements: Vec<_> = ids.iter().map(settlement).collect();
        self.store.settle(*token, &settlements).await
    }

    /// Makes a dead letter of a published event.
    async fn bury(&self, entry: &DlqEntry) -> Done<()> {
        let event = {
            let disk = self.disk();
            let mut published = disk.appended.iter();
            published
                .find(|event| event.id == entry.id && disk.published.contains(&event.id))
                .cloned()
        };
        if let Some(mut event) = event {
            event.idempotency_token = None;
            self.store.append(&[event])?;
            self.store
                .quarantine_events(std::slice::from_ref(entry))
                .await?;
        }
        Ok(())
    }
}
