//! A store with one fault.

mod altered;
mod dead_letters;
mod edits;
mod harm;
mod pauses;
mod transaction;
mod wire;

use super::Fault::{self, self as F};
use crate::line::Line;
use async_trait::async_trait;
use outbox_conformance::ManualClock;
use outbox_conformance::store::{
    AppTransaction, BystanderFixture, Edit, HoldingFixture, RestoreFixture, Store, StoreFixture,
};
use outbox_core::{
    Backlog, Claim, ClaimLimit, ClaimToken, DeadLetters, DlqEntry, ErrorKind, Event, EventId,
    OutboxError, OutboxStorage, Outcome, QuarantineOutcome, Settlement,
};
use outbox_store_memory::MemoryStore;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::task::yield_now;
use transaction::{Numbers, Transaction};

/// A sound store, and what goes wrong in front of it. Also its own fixture.
#[derive(Clone, Debug)]
pub(super) struct Saboteur {
    pub(super) store: MemoryStore,
    /// The same store through a handle that holds no keys.
    plain: MemoryStore,
    clock: ManualClock,
    fault: Fault,
    held: Arc<AtomicBool>,
    holds: bool,
    /// A quarantine is half done.
    half: Arc<AtomicBool>,
    bystander: Arc<Mutex<Weak<()>>>,
    disk: Arc<Mutex<Disk>>,
    pub(super) settled: Arc<Mutex<HashSet<ClaimToken>>>,
    pub(super) busy: Arc<AtomicBool>,
    line: Arc<Line>,
    /// The claims that this handle made.
    own: Arc<Mutex<HashSet<ClaimToken>>>,
}

/// What a backup of the store can be made from, and the store that was restored last.
#[derive(Debug, Default)]
struct Disk {
    appended: Vec<Event>,
    published: HashSet<EventId>,
    copy: Vec<Event>,
    restored: Option<MemoryStore>,
    numbers: Numbers,
    replayed: HashSet<EventId>,
    purged: bool,
    /// Claims that are not settled.
    open: Vec<(ClaimToken, Vec<EventId>)>,
    failed: Vec<EventId>,
    tokens_are_free: bool,
    /// Events that were kept, by their claim, with the settlements that wait for theirs.
    kept: HashMap<ClaimToken, Vec<Settlement>>,
    /// Destinations for which events were held.
    destinations: HashSet<Arc<str>>,
    /// What was edited and not settled since.
    edits: HashMap<EventId, Edit>,
}

impl Saboteur {
    pub(super) fn new(fault: Fault) -> Self {
        let clock = ManualClock::new();
        let store = MemoryStore::new().with_clock(clock.clock());
        Self {
            plain: store.clone(),
            store,
            clock,
            fault,
            held: Arc::default(),
            holds: false,
            half: Arc::default(),
            bystander: Arc::default(),
            disk: Arc::default(),
            settled: Arc::default(),
            busy: Arc::default(),
            line: Arc::default(),
            own: Arc::default(),
        }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        lock(&self.disk)
    }

    /// The store, after a restore the restored one.
    fn current(&self) -> MemoryStore {
        let restored = self.disk().restored.clone();
        restored.unwrap_or_else(|| self.store.clone())
    }

    /// Every key waits while there is a dead letter, also for events before it.
    async fn holds_all(&self) -> Done<bool> {
        let dead_letters = self.store.backlog().await?.dead_letters;
        Ok(self.fault == F::HoldsWhatComesBefore && dead_letters > 0)
    }

    fn refuse_unknown_ids(&self, entries: &[DlqEntry]) -> Done<()> {
        let disk = self.disk();
        let appended = |id: EventId| disk.appended.iter().any(|event| event.id == id);
        if entries.iter().all(|entry| appended(entry.id)) {
            return Ok(());
        }
        let kind = ErrorKind::Invalid;
        Err(OutboxError::new(kind, "saboteur", "quarantine"))
    }

    fn note(&self, token: ClaimToken, settled: &[Settlement]) {
        let mut disk = self.disk();
        disk.open.retain(|(open, _)| *open != token);
        for one in settled {
            match one.outcome {
                Outcome::Published => drop(disk.published.insert(one.id)),
                Outcome::Retry { .. } => disk.failed.push(one.id),
                _ => {}
            }
        }
    }

    /// What settles: a store that holds no keys, if the fault is to forget a hold.
    fn settler(&self, settlements: &[Settlement]) -> &MemoryStore {
        let dead = |one: &Settlement| matches!(one.outcome, Outcome::Dead { .. });
        let mixed = settlements.iter().any(dead) && !settlements.iter().all(dead);
        match self.fault {
            F::ForgetsTheHoldOfAMix if mixed => &self.plain,
            _ => &self.store,
        }
    }

    /// What the fault makes of the settlement of a claim that another handle made.
    async fn settle_for_another_handle(
        &self,
        token: ClaimToken,
        settlements: &[Settlement],
    ) -> Option<Done<()>> {
        let lost = OutboxError::new(ErrorKind::LeaseLost, "saboteur", "settle");
        let outcome = match self.fault {
            _ if lock(&self.own).contains(&token) => return None,
            F::IgnoresASettlementOfAnotherHandle => return Some(Ok(())),
            F::PublishesForAnotherHandle => Outcome::Published,
            F::LosesTheClaimForAnotherHandle => released(),
            _ => return None,
        };
        let changed: Vec<_> = settlements
            .iter()
            .map(|one| Settlement::new(one.id, outcome.clone()))
            .collect();
        let settled = self.store.settle(token, &changed).await;
        Some(settled.and(Err(lost)))
    }

    fn change_ages(&self, backlog: &mut Backlog) {
        match self.fault {
            F::AgesWhatIsNotDue => {
                let age = |oldest| self.clock.clock().now().duration_since(oldest).ok();
                backlog.oldest_due = backlog.oldest_pending.and_then(age);
            }
            F::ForgetsTheAgeOfAClaim if backlog.in_flight > 0 => backlog.oldest_due = None,
            F::ForgetsTheAgeOfAHold if !self.disk().destinations.is_empty() => {
                backlog.oldest_due = None;
            }
            F::AgesNoDeadLetter => backlog.oldest_dead_letter = None,
            _ => {}
        }
    }

    fn change(&self, outcome: &Outcome) -> Outcome {
        let hour = Duration::from_secs(3600);
        match (self.fault, outcome.clone()) {
            (F::RetriesAtOnce, Outcome::Retry { error, .. }) => Outcome::Retry {
                delay: Duration::ZERO,
                error,
            },
            (F::KeepsRetriesBack, Outcome::Retry { delay, error }) => Outcome::Retry {
                delay: delay + hour,
                error,
            },
            (F::ChargesNoRetry, Outcome::Retry { delay, .. }) => Outcome::Released { delay },
            (F::ReleasesTheKept, Outcome::Kept) => released(),
            (F::PublishesTheKept, Outcome::Kept) => Outcome::Published,
            (_, outcome @ (Outcome::Held { .. } | Outcome::Released { .. })) => {
                self.change_a_wait(outcome)
            }
            (F::LosesTheReason, Outcome::Dead { .. }) => Outcome::Dead { reason: "".into() },
            (_, outcome) => outcome,
        }
    }
}

fn released() -> Outcome {
    Outcome::Released {
        delay: Duration::ZERO,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) type Done<T> = Result<T, OutboxError>;

#[async_trait]
impl OutboxStorage for Saboteur {
    async fn claim(&self, limit: ClaimLimit, lease: Duration) -> Done<Claim> {
        let bystander = lock(&self.bystander).strong_count() > 0;
        let delayed = self.fault == F::WaitsForBystanders && bystander;
        let waits = delayed || self.waits_for_transactions();
        if waits || self.held.load(Ordering::SeqCst) || self.holds_all().await? {
            return Ok(Claim::empty());
        }
        let (limit, lease) = match self.fault {
            F::IgnoresTheBytes => (limit.bytes(usize::MAX), lease),
            F::IgnoresTheLimit => (ClaimLimit::events(limit.events * 2), lease),
            F::LeasesForNoTime => (limit, Duration::ZERO),
            F::LeasesForASecond => (limit, Duration::from_secs(1)),
            F::LeasesForHalfAMinute => (limit, Duration::from_secs(30)),
            F::LeasesForEver => (limit, Duration::from_secs(3600 * 24 * 365)),
            F::SuspectsTheKept if !self.disk().kept.is_empty() => (ClaimLimit::events(1), lease),
            _ => (limit, lease),
        };
        if self.fault == F::ClaimsForEverWhenDropped {
            return self.claim_for_ever_first(limit, lease).await;
        }
        let mut claim = match self.fault {
            F::ClaimsInTwoSteps | F::ClaimsTheWholeKey => self.look_and_take(limit.events).await,
            F::OneClaimAtATime if !self.disk().open.is_empty() => Claim::empty(),
            F::KeepsTheLargeBack => self.claim_the_small(limit, lease).await?,
            _ => self.store.claim(limit, lease).await?,
        };
        self.number(&mut claim);
        self.alter(&mut claim);
        let ids = claim.events.iter().map(|claimed| claimed.event.id);
        self.disk().open.push((claim.token, ids.collect()));
        lock(&self.own).insert(claim.token);
        Ok(claim)
    }

    async fn settle(&self, token: ClaimToken, settlements: &[Settlement]) -> Done<()> {
        match self.fault {
            F::SettlesHalfWhenDropped => return self.settle_in_halves(token, settlements).await,
            F::ForgetsASettlementWhenDropped => {
                return self.settle_too_early(token, settlements).await;
            }
            _ => {}
        }
        if let Some(answer) = self.settle_for_another_handle(token, settlements).await {
            return answer;
        }
        if [F::ClaimsInTwoSteps, F::ClaimsTheWholeKey].contains(&self.fault) {
            self.note(token, settlements);
            return Ok(());
        }
        if self.fault == F::LosesALateClaim {
            // Looks for leases that ran out before it settles, not after.
            self.store.quarantine_events(&[]).await?;
        }
        let Some(settlements) = self.keep(token, settlements) else {
            return Ok(());
        };
        let changed: Vec<_> = settlements
            .iter()
            .map(|one| Settlement::new(one.id, self.change(&one.outcome)))
            .collect();
        if self.is_edited(&changed) {
            return self.settle_edited(token, changed).await;
        }
        let settled = self.settler(&changed).settle(token, &changed).await;
        if settled.is_ok() {
            self.note(token, &changed);
        }
        match (self.fault, settled) {
            (F::SettlesLostClaims, Err(error)) if error.kind() == ErrorKind::LeaseLost => Ok(()),
            (F::SettlesAnything, Err(error)) if error.kind() == ErrorKind::Invalid => Ok(()),
            (_, result) => result,
        }
    }

    async fn resume(&self, destination: &str, limit: usize) -> Done<usize> {
        self.resume_as_the_fault_says(destination, limit).await
    }

    async fn quarantine_events(&self, entries: &[DlqEntry]) -> Done<Vec<QuarantineOutcome>> {
        match self.fault {
            F::ClaimsToHaveMoved => return Ok(vec![QuarantineOutcome::Moved; entries.len()]),
            F::QuarantinesHalfWhenDropped => return self.quarantine_one_by_one(entries).await,
            F::LosesEventsWhenDropped => return self.delete_and_quarantine(entries).await,
            F::FailsForAnUnknownId => self.refuse_unknown_ids(entries)?,
            _ => {}
        }
        let seen = [F::QuarantineIsSeenInBoth, F::QuarantineIsSeenInNeither];
        if seen.contains(&self.fault) {
            self.half.store(true, Ordering::SeqCst);
            yield_now().await;
            self.half.store(false, Ordering::SeqCst);
        }
        let mut replaced = Vec::new();
        for entry in entries {
            replaced.push(self.store.find(entry.id).await?.is_some());
        }
        let mut outcomes = self.store.quarantine_events(entries).await?;
        for (entry, outcome) in entries.iter().zip(&outcomes) {
            self.harm(entry, *outcome).await?;
        }
        for (outcome, replaced) in outcomes.iter_mut().zip(replaced) {
            match (self.fault, *outcome) {
                (F::MovesTwice, QuarantineOutcome::Missing) if replaced => {
                    *outcome = QuarantineOutcome::Moved;
                }
                (F::NeverBusy, QuarantineOutcome::Busy)
                | (F::MovesThePublished, QuarantineOutcome::Missing) => {
                    *outcome = QuarantineOutcome::Moved;
                }
                (F::HoldsTheKey, QuarantineOutcome::Moved) => {
                    self.held.store(true, Ordering::SeqCst);
                }
                (F::HoldsForAReplacedDeadLetter, QuarantineOutcome::Moved) => {
                    self.held.fetch_or(replaced, Ordering::SeqCst);
                }
                _ => {}
            }
        }
        Ok(outcomes)
    }

    fn blocks_key_on_dead_letter(&self) -> bool {
        self.holds
    }

    async fn wait_for_work(&self, at_most: Duration) -> Done<()> {
        if self.fault == F::CannotWait {
            return Err(OutboxError::new(ErrorKind::Unavailable, "saboteur", "wait"));
        }
        if self.fault == F::SleepsThroughCommits {
            tokio::time::sleep(at_most).await;
        }
        self.store.wait_for_work(at_most).await
    }

    async fn backlog(&self) -> Done<Backlog> {
        if self.fault == F::StaysBusyWhenDropped {
            self.lock_and_look().await?;
        }
        if self.fault == F::ReportsNoBacklog {
            return Ok(Backlog::default());
        }
        let mut backlog = self.store.backlog().await?;
        if self.half.load(Ordering::SeqCst) {
            match self.fault {
                F::QuarantineIsSeenInBoth => backlog.dead_letters += 1,
                _ => backlog.pending -= 1,
            }
        }
        self.change_ages(&mut backlog);
        Ok(backlog)
    }

    async fn clean_up(&self, limit: usize) -> Done<usize> {
        self.clean(limit).await
    }
}

#[async_trait]
impl StoreFixture for Saboteur {
    async fn handle(&self) -> Arc<dyn Store> {
        let mut plain = self.clone();
        plain.own = Arc::default();
        plain.store = self.current();
        if self.fault == F::HoldsAlways {
            plain.store = plain.store.block_key_on_dead_letter();
        }
        Arc::new(plain)
    }

    fn begin(&self) -> Box<dyn AppTransaction> {
        Box::new(Transaction::begin(self.current().begin(), self))
    }

    async fn elapse(&self, time: Duration) {
        self.clock.advance(time);
    }
}

#[async_trait]
impl HoldingFixture for Saboteur {
    async fn holding_handle(&self) -> Arc<dyn Store> {
        let mut holding = self.clone();
        holding.holds = true;
        if self.fault != F::HoldsNothing {
            holding.store = holding.store.block_key_on_dead_letter();
        }
        Arc::new(holding)
    }
}

#[async_trait]
impl BystanderFixture for Saboteur {
    async fn begin_elsewhere(&self) -> Box<dyn Send> {
        let open = Arc::new(());
        *lock(&self.bystander) = Arc::downgrade(&open);
        Box::new(open)
    }
}

#[async_trait]
impl RestoreFixture for Saboteur {
    async fn back_up(&self) {
        let mut disk = self.disk();
        let mut copy = disk.appended.clone();
        copy.retain(|event| !disk.published.contains(&event.id));
        disk.copy = copy;
    }

    async fn restore(&self) {
        let mut disk = self.disk();
        let mut events = disk.copy.clone();
        match self.fault {
            F::KeepsItsCursorElsewhere => {
                events.retain(|event| !disk.published.contains(&event.id));
            }
            F::RestoresInDisorder => events.reverse(),
            _ => {}
        }
        let store = MemoryStore::new().with_clock(self.clock.clock());
        store.append(&events).expect("appended");
        disk.restored = Some(store);
    }
}
