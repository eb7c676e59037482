//! Transactions of the application's, and what a store makes of several that are open at once.

use super::super::Fault::{self, self as F};
use super::{Disk, Done, Saboteur, lock};
use outbox_conformance::store::AppTransaction;
use outbox_core::{Claim, ErrorKind, Event, EventId, OutboxError};
use outbox_store_memory::MemoryTransaction;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// Numbers as a sequence of a database gives them: at the append, and not at the commit.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    last: u64,
    /// Of each event: its own, and that of the first append of its transaction.
    of: HashMap<EventId, (u64, u64)>,
    /// The highest one that was claimed.
    claimed: u64,
    /// Keys that the store does not see.
    keys: HashMap<EventId, String>,
    /// Transactions that have appended and not ended.
    open: usize,
    has_a_gap: bool,
}

impl Numbers {
    fn is_late(&self, event: &Event) -> bool {
        self.of[&event.id].0 < self.claimed
    }
}

impl Saboteur {
    /// Nothing is claimed now.
    pub(super) fn waits_for_transactions(&self) -> bool {
        let numbers = &self.disk().numbers;
        match self.fault {
            F::WaitsForOpenTransactions => numbers.open > 0,
            F::StopsAfterALateRollback => numbers.has_a_gap,
            _ => false,
        }
    }

    pub(super) fn number(&self, claim: &mut Claim) {
        let numbers = &mut self.disk().numbers;
        for claimed in &mut claim.events {
            let event = &mut claimed.event;
            if let Some((number, _)) = numbers.of.get(&event.id) {
                numbers.claimed = numbers.claimed.max(*number);
            }
            if let Some(key) = numbers.keys.get(&event.id) {
                event.ordering_key = Some(key.clone());
            }
        }
        if self.fault == F::OrdersByBeginning {
            let begun = |id: &EventId| numbers.of.get(id).map(|(_, begun)| *begun);
            claim.events.sort_by_key(|one| begun(&one.event.id));
        }
    }
}

pub(super) struct Transaction {
    inner: Option<MemoryTransaction>,
    fault: Fault,
    events: Vec<Event>,
    disk: Arc<Mutex<Disk>>,
    begun: Option<u64>,
}

impl Transaction {
    pub(super) fn begin(inner: MemoryTransaction, saboteur: &Saboteur) -> Self {
        Self {
            inner: Some(inner),
            fault: saboteur.fault,
            events: Vec::new(),
            disk: Arc::clone(&saboteur.disk),
            begun: None,
        }
    }

    fn number(&mut self, events: &[Event]) {
        let numbers = &mut lock(&self.disk).numbers;
        if self.begun.is_none() {
            numbers.open += 1;
        }
        for event in events {
            numbers.last += 1;
            let begun = *self.begun.get_or_insert(numbers.last);
            numbers.of.insert(event.id, (numbers.last, begun));
        }
    }

    /// Whether a token is taken is seen now, and it is taken by the commit.
    fn look_for_tokens(&self, events: &[Event]) -> Done<()> {
        for event in events {
            let taken = &lock(&self.disk).appended;
            let token = |other: &Event| {
                event.idempotency_token.is_some()
                    && other.idempotency_token == event.idempotency_token
            };
            if taken.iter().any(token) {
                return Err(OutboxError::new(ErrorKind::Duplicate, "saboteur", "append"));
            }
        }
        std::thread::yield_now();
        Ok(())
    }

    fn commit_inner(&mut self) -> Done<()> {
        let Some(mut inner) = self.inner.take() else {
            return Ok(());
        };
        let mut disk = lock(&self.disk);
        let numbers = &mut disk.numbers;
        let mut events = self.events.clone();
        match self.fault {
            F::TakesATokenInTwoSteps => events
                .iter_mut()
                .for_each(|event| event.idempotency_token = None),
            F::SkipsLateCommits => events.retain(|event| !numbers.is_late(event)),
            F::OrdersByAppend | F::LetsSuccessorsPassTheKept => {
                let forgets_all = self.fault == F::LetsSuccessorsPassTheKept;
                for event in &mut events {
                    let forgets = forgets_all || numbers.is_late(event);
                    if let (true, Some(key)) = (forgets, &event.ordering_key) {
                        numbers.keys.insert(event.id, key.clone());
                        event.ordering_key = None;
                    }
                }
            }
            _ => {}
        }
        drop(disk);
        inner.append(&events)?;
        inner.commit()
    }
}

impl AppTransaction for Transaction {
    fn append(&mut self, events: &[Event]) -> Done<()> {
        let mut events = events.to_vec();
        match self.fault {
            F::LosesTheLastOfACommit => drop(events.pop()),
            F::IgnoresDelays => events
                .iter_mut()
                .for_each(|event| event.available_at = None),
            F::FreesTokens if lock(&self.disk).tokens_are_free => events
                .iter_mut()
                .for_each(|event| event.idempotency_token = None),
            F::KeepsFreshEventsBack => {
                let far = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
                for event in events
                    .iter_mut()
                    .filter(|event| &event.payload[..] == b"fresh")
                {
                    event.available_at = Some(far);
                }
            }
            _ => {}
        }
        if self.fault == F::TakesATokenInTwoSteps {
            self.look_for_tokens(&events)?;
        }
        self.number(&events);
        self.events.append(&mut events);
        Ok(())
    }

    fn commit(mut self: Box<Self>) -> Done<()> {
        match (self.fault, self.commit_inner()) {
            (F::TakesDuplicates, Err(_)) => Ok(()),
            (F::CallsADuplicateUnavailable, Err(_)) => {
                let kind = ErrorKind::Unavailable;
                Err(OutboxError::new(kind, "saboteur", "commit"))
            }
            (_, Ok(())) => {
                lock(&self.disk).appended.extend_from_slice(&self.events);
                Ok(())
            }
            (_, result) => result,
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.begun.is_some() {
            lock(&self.disk).numbers.open -= 1;
        }
        if self.inner.is_none() {
            return;
        }
        match self.fault {
            F::CommitsWhatIsDropped => drop(self.commit_inner()),
            F::StopsAfterALateRollback => {
                let numbers = &mut lock(&self.disk).numbers;
                numbers.has_a_gap |= self.events.iter().any(|event| numbers.is_late(event));
            }
            _ => {}
        }
    }
}
