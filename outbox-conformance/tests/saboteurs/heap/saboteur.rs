//! A heap with one fault.

mod bounds;
mod wire;

use super::Fault::{self, self as F};
use crate::line::Line;
use async_trait::async_trait;
use outbox_conformance::ManualClock;
use outbox_core::{
    DlqEntry, DlqHeap, ErrorKind, ErrorText, EventId, FailedAttempt, HeapSize, OutboxError,
};
use outbox_dlq_memory::MemoryDlqHeap;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// A sound heap, and what goes wrong in front of it. Also its own fixture.
#[derive(Clone, Debug)]
pub(super) struct Saboteur {
    pub(super) heap: MemoryDlqHeap,
    pub(super) other: MemoryDlqHeap,
    pub(super) clock: ManualClock,
    pub(super) fault: Fault,
    calls: Arc<AtomicU64>,
    first_threshold: Arc<OnceLock<u32>>,
    busy: Arc<AtomicBool>,
    pub(super) named: Arc<Mutex<HashMap<String, MemoryDlqHeap>>>,
    /// The events that have a corrupt entry.
    pub(super) corrupt: Arc<Mutex<HashSet<EventId>>>,
    /// The latest error of each event, and the end of each lease, kept for too long.
    errors: Arc<Mutex<HashMap<EventId, ErrorText>>>,
    leased: Arc<Mutex<HashMap<EventId, SystemTime>>>,
    /// What the handles that are open share.
    pub(super) session: Arc<Mutex<Weak<()>>>,
    pub(super) open: Option<Arc<()>>,
    pub(super) line: Arc<Line>,
    /// A lock for each event, and one that leases hold.
    locks: Arc<Mutex<HashMap<EventId, Arc<Semaphore>>>>,
    free: Arc<Semaphore>,
}

impl Saboteur {
    pub(super) fn new(fault: Fault) -> Self {
        let clock = ManualClock::new();
        let heap = || MemoryDlqHeap::new().with_clock(clock.clock());
        Self {
            heap: heap(),
            other: heap(),
            clock,
            fault,
            calls: Arc::default(),
            first_threshold: Arc::default(),
            busy: Arc::default(),
            named: Arc::default(),
            corrupt: Arc::default(),
            errors: Arc::default(),
            leased: Arc::default(),
            session: Arc::default(),
            open: None,
            line: Arc::default(),
            locks: Arc::default(),
            free: Arc::new(Semaphore::new(1)),
        }
    }

    /// Everything in the heap that is not leased, put back at once.
    pub(super) async fn all(&self) -> Vec<DlqEntry> {
        let entries = self.heap.drain_exceeded(1).await.unwrap_or_default();
        for entry in &entries {
            self.heap.restore(entry.clone());
        }
        entries
    }

    /// What a drain or a lease does before all else: waits if its fault says so, and finds what is
    /// corrupt.
    async fn begin(&self) -> Done<usize> {
        self.wait_if_busy().await?;
        let corrupt = self.corrupt.lock().expect("no panic").len();
        if corrupt > 0 && self.fault != F::LogsNothingOfTheCorrupt {
            tracing::warn!(corrupt, "a corrupt entry");
        }
        if corrupt > 0 && self.fault == F::FailsOnTheCorrupt {
            return Err(OutboxError::new(ErrorKind::Corrupt, "saboteur", "read"));
        }
        Ok(corrupt)
    }

    /// A lock that a dropped call leaves behind.
    async fn wait_if_busy(&self) -> Done<()> {
        if self.fault != F::StaysBusyWhenDropped {
            return Ok(());
        }
        if self.busy.swap(true, SeqCst) {
            return Err(OutboxError::new(ErrorKind::Unavailable, "saboteur", "lock"));
        }
        yield_now().await;
        self.busy.store(false, SeqCst);
        Ok(())
    }

    /// Records in two steps with a wait between them.
    async fn record_in_steps(&self, failures: &[FailedAttempt]) -> Done<()> {
        for failure in failures {
            let before = self.entry(failure.id).await;
            match (self.fault, before) {
                (F::LosesTheCountWhenDropped, Some(entry)) => {
                    // It does harm at its second wait only.
                    yield_now().await;
                    self.heap.record_success(failure.id).await?;
                    yield_now().await;
                    self.heap.restore(entry);
                    self.heap.record_failure(failure.id).await?;
                }
                (F::FirstFailureOverwrites, None) => {
                    yield_now().await;
                    let now = self.clock.clock().now();
                    self.heap.restore(DlqEntry::new(failure.id, 1, now, now));
                }
                (F::LosesUpdates, Some(mut entry)) => {
                    yield_now().await;
                    entry.failure_count += 1;
                    self.heap.restore(entry);
                }
                (F::LosesUpdates, None) => {
                    yield_now().await;
                    self.heap.record_failure(failure.id).await?;
                }
                _ => self.heap.record_failure(failure.id).await?,
            }
        }
        Ok(())
    }

    /// Gives an event that failed again the error of its earlier entry.
    async fn remember_error(&self, failure: &mut FailedAttempt) {
        let fresh = self.entry(failure.id).await.is_none();
        let mut errors = self.errors.lock().expect("no panic");
        match &failure.error {
            Some(error) => drop(errors.insert(failure.id, error.clone())),
            None if fresh => failure.error = errors.get(&failure.id).cloned(),
            None => {}
        }
    }

    /// Puts back and leaves out what was leased before it was forgotten.
    fn hide_leased(&self, found: &mut Vec<DlqEntry>) {
        let now = self.clock.clock().now();
        let leased = self.leased.lock().expect("no panic");
        found.retain(|entry| {
            let hidden = leased.get(&entry.id).is_some_and(|until| *until > now);
            if hidden {
                self.heap.restore(entry.clone());
            }
            !hidden
        });
    }

    async fn entry(&self, id: EventId) -> Option<DlqEntry> {
        self.all().await.into_iter().find(|entry| entry.id == id)
    }
}

pub(super) type Done<T> = Result<T, OutboxError>;

#[async_trait]
impl DlqHeap for Saboteur {
    async fn record_failure(&self, id: EventId) -> Done<()> {
        self.record_failures(&[FailedAttempt::new(id)]).await
    }

    async fn record_success(&self, id: EventId) -> Done<()> {
        self.forget(&[id]).await
    }

    async fn drain_exceeded(&self, threshold: u32) -> Done<Vec<DlqEntry>> {
        let corrupt = self.begin().await?;
        match self.fault {
            F::KeepsItsFirstThreshold => {
                let first = *self.first_threshold.get_or_init(|| threshold);
                return self.heap.drain_exceeded(first).await;
            }
            F::DecaysOnAnEmptyDrain => {
                let drained = self.heap.drain_exceeded(threshold).await?;
                for mut entry in self.all().await {
                    entry.failure_count = (entry.failure_count - 1).max(1);
                    self.heap.restore(entry);
                }
                return Ok(drained);
            }
            F::ReturnsTheCorrupt if corrupt > 0 => {
                let now = self.clock.clock().now();
                let mut drained = self.heap.drain_exceeded(threshold).await?;
                drained.push(DlqEntry::new(uuid::Uuid::nil().into(), 1, now, now));
                return Ok(drained);
            }
            F::DrainsHalfWhenDropped => {
                yield_now().await;
                let mut found = self.heap.drain_exceeded(threshold).await?;
                if let Some(last) = found.pop() {
                    self.heap.restore(last);
                }
                yield_now().await;
                found.extend(self.heap.drain_exceeded(threshold).await?);
                return Ok(found);
            }
            F::InventsAnEntry => {
                let now = self.clock.clock().now();
                return Ok(vec![DlqEntry::new(EventId::new(), 1, now, now)]);
            }
            F::ThresholdIsExclusive => {
                return self.heap.drain_exceeded(threshold.saturating_add(1)).await;
            }
            F::DrainsAThousand => return self.drain_a_thousand(threshold).await,
            F::ThresholdIsIgnored => return self.heap.drain_exceeded(1).await,
            F::ZeroGivesNothing if threshold == 0 => return Ok(Vec::new()),
            F::KeepsWhatItDrains => {
                let mut all = self.all().await;
                all.retain(|entry| entry.failure_count >= threshold);
                return Ok(all);
            }
            F::SwapsIdBytes => {
                let mut drained = self.heap.drain_exceeded(threshold).await?;
                for entry in &mut drained {
                    let mut bytes = *entry.id.as_uuid().as_bytes();
                    bytes.swap(0, 15);
                    entry.id = EventId::from(uuid::Uuid::from_bytes(bytes));
                }
                return Ok(drained);
            }
            F::DrainsInTwoSteps => {
                let mut found = self.all().await;
                found.retain(|entry| entry.failure_count >= threshold);
                yield_now().await;
                for entry in &found {
                    self.heap.record_success(entry.id).await?;
                }
                return Ok(found);
            }
            F::LeaseOutlivesForget => {
                let mut drained = self.heap.drain_exceeded(threshold).await?;
                self.hide_leased(&mut drained);
                return Ok(drained);
            }
            F::LeaseHidesFromLeasesOnly => {
                self.clock.advance(Duration::from_secs(100));
            }
            _ => {}
        }
        self.heap.drain_exceeded(threshold).await
    }

    async fn record_failures(&self, failures: &[FailedAttempt]) -> Done<()> {
        self.wait_if_busy().await?;
        let mut failures = failures.to_vec();
        match self.fault {
            F::CountsTwiceEachThird if self.calls.fetch_add(1, SeqCst) % 3 == 2 => {
                failures.extend(failures.clone());
            }
            F::CountsAnIdOnceABatch => {
                let mut seen = HashSet::new();
                failures.retain(|failure| seen.insert(failure.id));
            }
            F::ErrorOutlivesForget => {
                for failure in &mut failures {
                    self.remember_error(failure).await;
                }
            }
            F::DropsErrors => failures.iter_mut().for_each(|failure| failure.error = None),
            F::WrapsAround | F::StopsAtHalf | F::FirstFailureMoves | F::KeepsTheFirstError => {
                for failure in &failures {
                    let before = self.entry(failure.id).await;
                    self.heap
                        .record_failures(std::slice::from_ref(failure))
                        .await?;
                    let (Some(before), Some(mut entry)) = (before, self.entry(failure.id).await)
                    else {
                        continue;
                    };
                    match self.fault {
                        F::WrapsAround => {
                            entry.failure_count = before.failure_count.wrapping_add(1);
                        }
                        F::StopsAtHalf => entry.failure_count = entry.failure_count.min(1 << 31),
                        F::FirstFailureMoves => entry.first_failed_at = entry.last_failed_at,
                        _ => entry.last_error = before.last_error.or(entry.last_error),
                    }
                    self.heap.restore(entry);
                }
                return Ok(());
            }
            F::LosesUpdates | F::FirstFailureOverwrites | F::LosesTheCountWhenDropped => {
                return self.record_in_steps(&failures).await;
            }
            F::RefusesLargeBatches if failures.len() > 65_535 => {
                return Err(OutboxError::new(ErrorKind::Invalid, "saboteur", "record"));
            }
            F::CutsLargeBatches => failures.truncate(1000),
            F::CountsHalfABatchWhenDropped => {
                let (one, two) = failures.split_at(failures.len() / 2);
                yield_now().await;
                self.heap.record_failures(one).await?;
                yield_now().await;
                return self.heap.record_failures(two).await;
            }
            F::CorruptFailsItsBatch => {
                let corrupt = self.corrupt.lock().expect("no panic").clone();
                if failures.iter().any(|failure| corrupt.contains(&failure.id)) {
                    return Err(OutboxError::new(ErrorKind::Conflict, "saboteur", "record"));
                }
            }
            F::LocksInBatchOrder | F::ForgetsInBatchOrder => {
                let mut ids: Vec<EventId> = failures.iter().map(|failure| failure.id).collect();
                if self.fault == F::ForgetsInBatchOrder {
                    ids.sort_unstable();
                }
                let _locked = self.lock_each(&ids).await;
                return self.heap.record_failures(&failures).await;
            }
            F::LeasesBlockOthers => self.wait_for_leases().await,
            F::FailureEndsTheLease => self.clock.advance(Duration::from_secs(7200)),
            _ => {}
        }
        self.heap.record_failures(&failures).await
    }

    async fn forget(&self, ids: &[EventId]) -> Done<()> {
        self.wait_if_busy().await?;
        match self.fault {
            F::SuccessWritesBack => {
                for id in ids {
                    let before = self.entry(*id).await;
                    yield_now().await;
                    match before {
                        Some(before) if self.entry(*id).await.is_none() => {
                            self.heap.restore(before);
                        }
                        _ => self.heap.record_success(*id).await?,
                    }
                }
                return Ok(());
            }
            F::HalvesACountWhenDropped => {
                for id in ids {
                    yield_now().await;
                    if let Some(mut entry) = self.entry(*id).await {
                        entry.failure_count = entry.failure_count.div_ceil(2);
                        self.heap.restore(entry);
                    }
                    yield_now().await;
                    self.heap.record_success(*id).await?;
                }
                return Ok(());
            }
            F::ForgetsInBatchOrder => {
                let _locked = self.lock_each(ids).await;
                return self.heap.forget(ids).await;
            }
            F::LeasesBlockOthers if !ids.is_empty() => self.free.add_permits(1),
            F::ForgetsAThousand => {
                let ids = &ids[..ids.len().min(1000)];
                return self.heap.forget(ids).await;
            }
            F::ForgetsNothing => return Ok(()),
            F::ForgetsAll => drop(self.heap.drain_exceeded(1).await?),
            F::CreatesOnForget => {
                for id in ids {
                    if self.entry(*id).await.is_none() {
                        return self.heap.record_failure(*id).await;
                    }
                }
            }
            F::ForgetSparesLeased => {
                for id in ids {
                    if self.entry(*id).await.is_some() {
                        self.heap.record_success(*id).await?;
                    }
                }
                return Ok(());
            }
            _ => {}
        }
        self.heap.forget(ids).await
    }

    async fn lease_exceeded(
        &self,
        threshold: u32,
        limit: usize,
        lease: Duration,
    ) -> Done<Vec<DlqEntry>> {
        let corrupt = self.begin().await?;
        match self.fault {
            F::LeaseWritesOldCounts => {
                let found = self.all().await;
                yield_now().await;
                for entry in found {
                    self.heap.restore(entry);
                }
                self.heap.lease_exceeded(threshold, limit, lease).await
            }
            F::LeasesInTwoSteps => {
                let mut found = self.all().await;
                found.retain(|entry| entry.failure_count >= threshold.max(1));
                found.truncate(limit);
                yield_now().await;
                self.heap.lease_exceeded(threshold, limit, lease).await?;
                Ok(found)
            }
            F::LeaseOutlivesForget => {
                let mut found = self.heap.lease_exceeded(threshold, limit, lease).await?;
                self.hide_leased(&mut found);
                let until = self.clock.clock().now() + lease;
                let ends = found.iter().map(|entry| (entry.id, until));
                self.leased.lock().expect("no panic").extend(ends);
                Ok(found)
            }
            F::LosesALeaseWhenDropped => {
                yield_now().await;
                let found = self.heap.drain_exceeded(threshold).await?;
                yield_now().await;
                for entry in found {
                    self.heap.restore(entry);
                }
                self.heap.lease_exceeded(threshold, limit, lease).await
            }
            F::CorruptFillsPages => {
                let limit = limit.saturating_sub(corrupt);
                self.heap.lease_exceeded(threshold, limit, lease).await
            }
            F::LeaseDoesNothing => {
                let mut all = self.all().await;
                all.retain(|entry| entry.failure_count >= threshold);
                all.sort_by_key(|entry| entry.id);
                all.truncate(limit);
                Ok(all)
            }
            F::LeasesAThousand => {
                let limit = limit.min(1000);
                self.heap.lease_exceeded(threshold, limit, lease).await
            }
            F::LeasesNewestFirst => self.lease_newest(threshold, limit, lease).await,
            F::LeasesBlockOthers => self.lease_and_lock(threshold, limit, lease).await,
            F::LeaseIsADrain => self.heap.drain_exceeded(threshold).await,
            F::IgnoresTheLimit => self.heap.lease_exceeded(threshold, usize::MAX, lease).await,
            _ => self.heap.lease_exceeded(threshold, limit, lease).await,
        }
    }

    async fn size(&self) -> Done<Option<HeapSize>> {
        match self.fault {
            F::CountsNothingInItsSize => Ok(Some(HeapSize::new(0, None))),
            F::SizeOmitsLeased | F::SizeHasTheNewestTime => self.size_of_some().await,
            _ => self.heap.size().await,
        }
    }

    async fn prune(&self, age: Duration, limit: usize) -> Done<usize> {
        match self.fault {
            F::PrunesAll => self.heap.prune(Duration::ZERO, usize::MAX).await,
            F::PrunesAThousand => self.heap.prune(age, limit.min(1000)).await,
            _ => self.heap.prune(age, limit).await,
        }
    }
}
