//! Reports to the heap, which never stops delivery.

use super::call::Verdict;
use super::publish::Slot;
use crate::config::OutboxConfig;
use crate::dlq::DlqHeap;
use crate::dlq::model::FailedAttempt;
use crate::error::{ErrorKind, OutboxError};
use crate::object::EventId;
use crate::observer::Observers;
use crate::outage::Outage;
use crate::vitals::Vitals;
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::{Duration, Instant, timeout};

/// The most outcomes of each kind that are kept while the heap is unavailable.
const UNREPORTED: usize = 10_000;

/// A worker with more unreported outcomes than this waits for a heap that answers.
const LAGGING: usize = 5_000;

/// Outcomes on their way to the heap.
///
/// Outcomes that the heap did not accept are kept, up to [`UNREPORTED`], and offered again after a
/// pause. A dropped failure costs its event one more attempt. A dropped success leaves a count,
/// which is pruned by its age or forgotten when the store answers that its event is missing.
pub(super) struct HeapReporter {
    heap: Arc<dyn DlqHeap>,
    queue: Mutex<Queue>,
}

struct Queue {
    /// Each outcome has a number, because others come while a report is running.
    failed: VecDeque<(u64, FailedAttempt)>,
    finished: VecDeque<(u64, EventId)>,
    added: u64,
    /// A failure in `failed` may be the one that reaches the threshold.
    crossed: bool,
    /// A report is running.
    busy: bool,
    outage: Outage,
    next_try: Option<Instant>,
}

impl HeapReporter {
    pub(super) fn new(heap: Arc<dyn DlqHeap>) -> Self {
        let queue = Queue {
            failed: VecDeque::new(),
            finished: VecDeque::new(),
            added: 0,
            crossed: false,
            busy: false,
            outage: Outage::of("heap"),
            next_try: None,
        };
        Self {
            heap,
            queue: Mutex::new(queue),
        }
    }

    pub(super) fn note_in(&self, vitals: &Vitals) {
        self.lock().outage.note_in(vitals);
    }

    /// Adds the outcomes of settled events: failed attempts, and events that left the outbox. An event
    /// that left after its first attempt has no count, so the heap need not hear of it.
    pub(super) fn add(&self, slots: Vec<Slot>, threshold: u32) {
        let mut failed = Vec::new();
        let mut finished = Vec::new();
        let mut crossed = false;
        for slot in slots {
            match slot.verdict {
                Verdict::Published | Verdict::Permanent { .. } if slot.attempts > 0 => {
                    finished.push(slot.id);
                }
                Verdict::Rejected(error) | Verdict::Lost(error) => {
                    crossed |= slot.attempts.saturating_add(1) >= threshold;
                    failed.push(FailedAttempt::new(slot.id).with_error(error));
                }
                _ => {}
            }
        }
        self.lock().add(failed, finished, crossed);
    }

    /// Whether a report can be made now.
    pub(super) fn is_due(&self) -> bool {
        let queue = self.lock();
        let nothing = queue.failed.is_empty() && queue.finished.is_empty();
        let pauses = queue.next_try.is_some_and(|at| Instant::now() < at);
        !nothing && !pauses && !queue.busy
    }

    /// Whether the heap answers, but more slowly than events are published.
    pub(super) fn is_lagging(&self) -> bool {
        let queue = self.lock();
        queue.busy && queue.failed.len().max(queue.finished.len()) > LAGGING
    }

    /// Reports the kept outcomes, unless the heap failed a moment ago. Returns whether an event may
    /// have reached the threshold.
    pub(super) async fn flush(&self, config: &OutboxConfig, observers: &Observers) -> bool {
        if !self.is_due() {
            return false;
        }
        let _busy = Busy::new(self);
        let result = self.try_flush(config.heap_timeout()).await;
        observers.note_heap(&result);
        match result {
            Ok(()) => {
                let mut queue = self.lock();
                queue.outage.succeeded();
                queue.next_try = None;
                std::mem::take(&mut queue.crossed)
            }
            Err(error) => {
                let effect = "delivery continues, outcomes are kept and reported later";
                let mut queue = self.lock();
                let failures = queue.outage.failed(&error, effect);
                let pause = config.heap_retry().ceiling(failures);
                queue.next_try = Some(Instant::now() + pause);
                false
            }
        }
    }

    async fn try_flush(&self, limit: Duration) -> Result<(), OutboxError> {
        let (failed, last) = unzip(&self.lock().failed);
        if !failed.is_empty() {
            let call = self.heap.record_failures(&failed);
            bounded(limit, "record_failures", call).await?;
            self.lock().failed.retain(|(number, _)| *number > last);
        }
        let (finished, last) = unzip(&self.lock().finished);
        if !finished.is_empty() {
            bounded(limit, "forget", self.heap.forget(&finished)).await?;
            self.lock().finished.retain(|(number, _)| *number > last);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn add(&mut self, failed: Vec<FailedAttempt>, finished: Vec<EventId>, crossed: bool) {
        self.crossed |= crossed;
        if !self.failed.is_empty() {
            // An event that left the outbox needs no count, so its failures need no report.
            let gone: HashSet<_> = finished.iter().collect();
            self.failed
                .retain(|(_, failure)| !gone.contains(&failure.id));
        }
        for failure in failed {
            self.added += 1;
            self.failed.push_back((self.added, failure));
        }
        for id in finished {
            self.added += 1;
            self.finished.push_back((self.added, id));
        }
        let dropped = trim(&mut self.failed) + trim(&mut self.finished);
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "heap is unavailable: dropped the oldest unreported outcomes"
            );
        }
    }
}

/// Marks that a report is running, until it is dropped.
struct Busy<'r>(&'r HeapReporter);

impl<'r> Busy<'r> {
    fn new(reporter: &'r HeapReporter) -> Self {
        reporter.lock().busy = true;
        Self(reporter)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.lock().busy = false;
    }
}

/// The values, and the number of the last one.
fn unzip<T: Clone>(queue: &VecDeque<(u64, T)>) -> (Vec<T>, u64) {
    let values = queue.iter().map(|(_, value)| value.clone()).collect();
    (values, queue.back().map_or(0, |(number, _)| *number))
}

fn trim<T>(queue: &mut VecDeque<T>) -> usize {
    let excess = queue.len().saturating_sub(UNREPORTED);
    queue.drain(..excess).count()
}

/// A call of the heap that takes longer than `limit` has failed.
pub(crate) async fn bounded<T>(
    limit: Duration,
    operation: &'static str,
    call: impl Future<Output = Result<T, OutboxError>>,
) -> Result<T, OutboxError> {
    let Ok(result) = timeout(limit, call).await else {
        let error = OutboxError::new(ErrorKind::Unavailable, "heap", operation);
        return Err(error.with_source(format!("no answer within {limit:?}")));
    };
    result
}

impl fmt::Debug for HeapReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = self.lock();
        f.debug_struct("HeapReporter")
            .field("failed", &queue.failed.len())
            .field("finished", &queue.finished.len())
            .finish_non_exhaustive()
    }
}
