//! Each clause of the heap's contract is broken once, and the case that names it says so.

use crate::harness::{Trial, block_on};
use async_trait::async_trait;
use outbox_conformance::ManualClock;
use outbox_conformance::heap::{CASES, HeapFixture, counting, durability, leases, races};
use outbox_core::{DlqEntry, DlqHeap, EventId, FailedAttempt, HeapSize, OutboxError};
use outbox_dlq_memory::MemoryDlqHeap;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::task::yield_now;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    None,
    InventsAnEntry,
    CountsTwiceEachThird,
    ThresholdIsExclusive,
    ThresholdIsIgnored,
    ZeroGivesNothing,
    WrapsAround,
    StopsAtHalf,
    ForgetsNothing,
    ForgetsAll,
    CreatesOnForget,
    KeepsWhatItDrains,
    SwapsIdBytes,
    CountsAnIdOnceABatch,
    FirstFailureMoves,
    SharesItsNamespace,
    LosesUpdates,
    DrainsInTwoSteps,
    LeaseIsNoLease,
    LeaseIsADrain,
    LeaseHidesFromLeasesOnly,
    ForgetSparesLeased,
    FailureEndsTheLease,
    IgnoresTheLimit,
    KeepsTheFirstError,
    DropsErrors,
    CountsNothingInItsSize,
    PrunesAll,
    ForgetsWithItsHandles,
}

use Fault as F;

/// Which case refuses which fault.
const REFUSALS: &[(Fault, &str)] = &[
    (F::InventsAnEntry, "a_new_heap_is_empty"),
    (F::CountsTwiceEachThird, "failures_add_up"),
    (F::ThresholdIsExclusive, "an_entry_leaves_at_the_threshold"),
    (F::ThresholdIsIgnored, "an_entry_leaves_at_the_threshold"),
    (F::ZeroGivesNothing, "threshold_zero_behaves_as_one"),
    (F::WrapsAround, "counts_saturate"),
    (F::StopsAtHalf, "counts_saturate"),
    (F::ForgetsNothing, "a_success_forgets_the_event"),
    (F::ForgetsAll, "a_success_forgets_the_event"),
    (
        F::CreatesOnForget,
        "forgetting_an_unknown_id_creates_nothing",
    ),
    (F::KeepsWhatItDrains, "a_drained_event_starts_again"),
    (F::SwapsIdBytes, "odd_ids_come_back_exactly"),
    (F::CountsAnIdOnceABatch, "a_batch_equals_its_single_calls"),
    (F::FirstFailureMoves, "failure_times_are_ordered"),
    (F::SharesItsNamespace, "namespaces_are_separate"),
    (F::LosesUpdates, "concurrent_failures_count_exactly"),
    (
        F::DrainsInTwoSteps,
        "concurrent_drains_are_disjoint_and_complete",
    ),
    (
        F::LosesUpdates,
        "nothing_is_lost_between_failures_and_drains",
    ),
    (
        F::CountsTwiceEachThird,
        "batches_in_opposite_orders_do_not_block",
    ),
    (
        F::LeaseIsNoLease,
        "a_lease_hides_an_entry_until_it_runs_out",
    ),
    (F::LeaseIsADrain, "a_lease_hides_an_entry_until_it_runs_out"),
    (
        F::LeaseHidesFromLeasesOnly,
        "a_lease_hides_an_entry_until_it_runs_out",
    ),
    (F::ForgetSparesLeased, "forgetting_ends_a_lease"),
    (F::FailureEndsTheLease, "a_failure_during_a_lease_counts"),
    (F::LeaseIsNoLease, "concurrent_leases_are_disjoint"),
    (F::IgnoresTheLimit, "leases_are_fair"),
    (F::LeaseIsNoLease, "leases_are_fair"),
    (F::KeepsTheFirstError, "the_latest_error_wins"),
    (F::DropsErrors, "the_latest_error_wins"),
    (F::CountsNothingInItsSize, "the_size_is_told"),
    (F::PrunesAll, "old_entries_are_pruned"),
    (F::IgnoresTheLimit, "a_large_heap_leaves_in_pages"),
    (F::ForgetsWithItsHandles, "counts_survive_their_handle"),
];

/// A sound heap, and what goes wrong in front of it. Also its own fixture.
#[derive(Clone, Debug)]
struct Saboteur {
    heap: MemoryDlqHeap,
    other: MemoryDlqHeap,
    clock: ManualClock,
    fault: Fault,
    calls: Arc<AtomicU64>,
    /// What the handles that are open share.
    session: Arc<Mutex<Weak<()>>>,
    open: Option<Arc<()>>,
}

impl Saboteur {
    fn new(fault: Fault) -> Self {
        let clock = ManualClock::new();
        let heap = || MemoryDlqHeap::new().with_clock(clock.clock());
        Self {
            heap: heap(),
            other: heap(),
            clock,
            fault,
            calls: Arc::default(),
            session: Arc::default(),
            open: None,
        }
    }

    /// Everything in the heap, leased or not, put back at once.
    async fn all(&self) -> Vec<DlqEntry> {
        let entries = self.heap.drain_exceeded(1).await.unwrap_or_default();
        for entry in &entries {
            self.heap.restore(entry.clone());
        }
        entries
    }

    async fn entry(&self, id: EventId) -> Option<DlqEntry> {
        self.all().await.into_iter().find(|entry| entry.id == id)
    }
}

type Done<T> = Result<T, OutboxError>;

#[async_trait]
impl DlqHeap for Saboteur {
    async fn record_failure(&self, id: EventId) -> Done<()> {
        self.record_failures(&[FailedAttempt::new(id)]).await
    }

    async fn record_success(&self, id: EventId) -> Done<()> {
        self.forget(&[id]).await
    }

    async fn drain_exceeded(&self, threshold: u32) -> Done<Vec<DlqEntry>> {
        match self.fault {
            F::InventsAnEntry => {
                let now = self.clock.clock().now();
                return Ok(vec![DlqEntry::new(EventId::new(), 1, now, now)]);
            }
            F::ThresholdIsExclusive => {
                return self.heap.drain_exceeded(threshold.saturating_add(1)).await;
            }
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
            F::LeaseHidesFromLeasesOnly => {
                self.clock.advance(Duration::from_secs(100));
            }
            _ => {}
        }
        self.heap.drain_exceeded(threshold).await
    }

    async fn record_failures(&self, failures: &[FailedAttempt]) -> Done<()> {
        let mut failures = failures.to_vec();
        match self.fault {
            F::CountsTwiceEachThird if self.calls.fetch_add(1, SeqCst) % 3 == 2 => {
                failures.extend(failures.clone());
            }
            F::CountsAnIdOnceABatch => {
                let mut seen = HashSet::new();
                failures.retain(|failure| seen.insert(failure.id));
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
            F::LosesUpdates => {
                for failure in &failures {
                    let before = self.entry(failure.id).await;
                    yield_now().await;
                    match before {
                        Some(mut entry) => {
                            entry.failure_count += 1;
                            self.heap.restore(entry);
                        }
                        None => self.heap.record_failure(failure.id).await?,
                    }
                }
                return Ok(());
            }
            F::FailureEndsTheLease => self.clock.advance(Duration::from_secs(100)),
            _ => {}
        }
        self.heap.record_failures(&failures).await
    }

    async fn forget(&self, ids: &[EventId]) -> Done<()> {
        match self.fault {
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
        match self.fault {
            F::LeaseIsNoLease => {
                let mut all = self.all().await;
                all.retain(|entry| entry.failure_count >= threshold);
                all.sort_by_key(|entry| entry.id);
                all.truncate(limit);
                Ok(all)
            }
            F::LeaseIsADrain => self.heap.drain_exceeded(threshold).await,
            F::IgnoresTheLimit => self.heap.lease_exceeded(threshold, usize::MAX, lease).await,
            _ => self.heap.lease_exceeded(threshold, limit, lease).await,
        }
    }

    async fn size(&self) -> Done<Option<HeapSize>> {
        if self.fault == F::CountsNothingInItsSize {
            return Ok(Some(HeapSize::new(0, None)));
        }
        self.heap.size().await
    }

    async fn prune(&self, age: Duration, limit: usize) -> Done<usize> {
        let age = if self.fault == F::PrunesAll {
            Duration::ZERO
        } else {
            age
        };
        let limit = if self.fault == F::PrunesAll {
            usize::MAX
        } else {
            limit
        };
        self.heap.prune(age, limit).await
    }
}

#[async_trait]
impl HeapFixture for Saboteur {
    async fn handle(&self) -> Arc<dyn DlqHeap> {
        let mut handle = self.clone();
        let before = self.session.lock().expect("no panic").upgrade();
        if before.is_none() && self.fault == F::ForgetsWithItsHandles {
            drop(self.heap.drain_exceeded(1).await);
        }
        let session = before.unwrap_or_default();
        *self.session.lock().expect("no panic") = Arc::downgrade(&session);
        handle.open = Some(session);
        Arc::new(handle)
    }

    async fn neighbour(&self) -> Arc<dyn DlqHeap> {
        let mut other = self.clone();
        if self.fault != F::SharesItsNamespace {
            other.heap = self.other.clone();
        }
        Arc::new(other)
    }

    async fn elapse(&self, time: Duration) {
        self.clock.advance(time);
    }

    async fn plant(&self, entry: DlqEntry) {
        self.heap.restore(entry);
    }
}

outbox_conformance::dlq_heap_suite! { @list runner }

#[test]
fn every_case_refuses_its_faults_in_every_run() {
    let trial = Trial {
        cases: CASES,
        refusals: REFUSALS,
        sound: Fault::None,
        run: |case, fault| block_on(run(case, Saboteur::new(fault))),
    };
    trial.judge();
}
