//! A store over a wire, with one fault when that is cut.

use super::super::Fault as F;
use super::{Done, Saboteur};
use crate::line::{Fate, Manner};
use async_trait::async_trait;
use outbox_conformance::Wire;
use outbox_conformance::store::{AppTransaction, Store, StoreFixture, WireFixture};
use outbox_core::{
    Backlog, Claim, ClaimLimit, ClaimToken, DeadLetter, DeadLetterFilter, DeadLetterGroup,
    DeadLetters, DlqEntry, ErrorKind, Event, EventId, OutboxStorage, Outcome, QuarantineOutcome,
    Settlement,
};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
struct Wired(Saboteur);

impl Wired {
    async fn over_the_wire<T>(&self, call: impl Future<Output = Done<T>>) -> Done<T> {
        self.carry(call, async |_| Ok(())).await
    }

    async fn carry<T>(
        &self,
        call: impl Future<Output = Done<T>>,
        lost: impl AsyncFnOnce(T) -> Done<()>,
    ) -> Done<T> {
        self.0.line.carry(self.0.manner(), call, lost).await
    }
}

impl Saboteur {
    fn manner(&self) -> Manner {
        Manner {
            kind: match self.fault {
                F::CallsACutInvalid => ErrorKind::Invalid,
                _ => ErrorKind::Unavailable,
            },
            stays_down: self.fault == F::StaysDownAfterACut,
        }
    }
}

#[async_trait]
impl OutboxStorage for Wired {
    async fn claim(&self, limit: ClaimLimit, lease: Duration) -> Done<Claim> {
        let store = &self.0.store;
        let lost = async |claim: Claim| {
            if self.0.fault != F::DeletesWhatItClaims {
                return Ok(());
            }
            let published = |id| Settlement::new(id, Outcome::Published);
            let ids = claim.events.iter().map(|claimed| claimed.event.id);
            store
                .settle(claim.token, &ids.map(published).collect::<Vec<_>>())
                .await
        };
        self.carry(store.claim(limit, lease), lost).await
    }

    async fn settle(&self, token: ClaimToken, settlements: &[Settlement]) -> Done<()> {
        let store = &self.0.store;
        if self.0.fault != F::SettlesInTwoSteps {
            return self.over_the_wire(store.settle(token, settlements)).await;
        }
        // The first half permanently, and the second is given back by what a cut leaves of it.
        let half = settlements.len() / 2;
        let first = self.over_the_wire(async { Ok(()) }).await;
        let delay = Duration::ZERO;
        let outcome = |(n, one): (usize, &Settlement)| match n {
            n if n < half || first.is_ok() => one.clone(),
            _ => Settlement::new(one.id, Outcome::Released { delay }),
        };
        let halves: Vec<_> = settlements.iter().enumerate().map(outcome).collect();
        store.settle(token, &halves).await?;
        first
    }

    async fn resume(&self, destination: &str, limit: usize) -> Done<usize> {
        let resume = self.0.store.resume(destination, limit);
        self.over_the_wire(resume).await
    }

    async fn quarantine_events(&self, entries: &[DlqEntry]) -> Done<Vec<QuarantineOutcome>> {
        let store = &self.0.store;
        if self.0.fault != F::QuarantinesOneByOne {
            return self.over_the_wire(store.quarantine_events(entries)).await;
        }
        let mut outcomes = Vec::new();
        for entry in entries.chunks(1) {
            outcomes.extend(self.over_the_wire(store.quarantine_events(entry)).await?);
        }
        Ok(outcomes)
    }

    async fn wait_for_work(&self, at_most: Duration) -> Done<()> {
        let wait = self.0.store.wait_for_work(at_most);
        self.over_the_wire(wait).await
    }

    async fn backlog(&self) -> Done<Backlog> {
        self.over_the_wire(self.0.store.backlog()).await
    }
}

#[async_trait]
impl DeadLetters for Wired {
    async fn list(
        &self,
        filter: &DeadLetterFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Done<Vec<DeadLetter>> {
        let list = self.0.store.list(filter, after, limit);
        self.over_the_wire(list).await
    }

    async fn find(&self, id: EventId) -> Done<Option<(DeadLetter, Event)>> {
        self.over_the_wire(self.0.store.find(id)).await
    }

    async fn replay(&self, filter: &DeadLetterFilter, limit: usize) -> Done<Vec<EventId>> {
        let store = &self.0.store;
        if self.0.fault != F::ReplaysInTwoSteps {
            return self.over_the_wire(store.replay(filter, limit)).await;
        }
        let dead_letters = store.export(filter, None, limit, usize::MAX).await?;
        let ids = self.over_the_wire(store.purge(filter, limit)).await?;
        let events: Vec<Event> = dead_letters.into_iter().map(|(_, event)| event).collect();
        store.append(&events)?;
        Ok(ids)
    }

    async fn purge(&self, filter: &DeadLetterFilter, limit: usize) -> Done<Vec<EventId>> {
        self.over_the_wire(self.0.store.purge(filter, limit)).await
    }

    async fn statistics(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Done<Vec<DeadLetterGroup>> {
        let statistics = self.0.store.statistics(filter, limit);
        self.over_the_wire(statistics).await
    }
}

/// A transaction over the wire.
struct WiredTransaction {
    inner: Box<dyn AppTransaction>,
    saboteur: Saboteur,
}

impl AppTransaction for WiredTransaction {
    fn append(&mut self, events: &[Event]) -> Done<()> {
        let Self { inner, saboteur } = self;
        let mut append = || match saboteur.fault {
            F::AppendsOutsideTheTransaction => saboteur.store.append(events),
            _ => inner.append(events),
        };
        match saboteur.line.fate(saboteur.manner()) {
            Fate::Passes => append(),
            Fate::NeverArrives(error) => Err(error),
            Fate::ReplyIsLost(error) => append().and(Err(error)),
        }
    }

    fn commit(self: Box<Self>) -> Done<()> {
        let Self { inner, saboteur } = *self;
        match saboteur.line.fate(saboteur.manner()) {
            Fate::Passes => inner.commit(),
            Fate::NeverArrives(error) => Err(error),
            Fate::ReplyIsLost(error) => inner.commit().and(Err(error)),
        }
    }
}

#[async_trait]
impl WireFixture for Saboteur {
    async fn wired(&self) -> Arc<dyn Store> {
        Arc::new(Wired(self.clone()))
    }

    fn begin_wired(&self) -> Box<dyn AppTransaction> {
        Box::new(WiredTransaction {
            inner: self.begin(),
            saboteur: self.clone(),
        })
    }

    fn wire(&self) -> &dyn Wire {
        &*self.line
    }
}
