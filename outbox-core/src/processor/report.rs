//! Reports to the heap, which never stops delivery.

use crate::config::OutboxConfig;
use crate::dlq::DlqHeap;
use crate::dlq::model::FailedAttempt;
use crate::error::{ErrorKind, OutboxError};
use crate::object::EventId;
use crate::outage::Outage;
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use tokio::time::{Duration, Instant, timeout};

/// The most outcomes of each kind that are kept while the heap is unavailable.
const UNREPORTED: usize = 10_000;

/// Outcomes on their way to the heap.
///
/// Outcomes that the heap did not accept are kept, up to [`UNREPORTED`], and offered again after a
/// pause. A dropped failure costs its event one more attempt. A dropped success leaves a count,
/// which is pruned by its age or forgotten when the store answers that its event is missing.
pub(super) struct HeapReporter {
    heap: Arc<dyn DlqHeap>,
    failed: VecDeque<FailedAttempt>,
    finished: VecDeque<EventId>,
    outage: Outage,
    next_try: Option<Instant>,
}

impl HeapReporter {
    pub(super) fn new(heap: Arc<dyn DlqHeap>) -> Self {
        Self {
            heap,
            failed: VecDeque::new(),
            finished: VecDeque::new(),
            outage: Outage::of("heap"),
            next_try: None,
        }
    }

    /// Adds the outcomes of a pass: failed attempts, and events that left the outbox.
    pub(super) fn add(&mut self, failed: Vec<FailedAttempt>, finished: Vec<EventId>) {
        if !self.failed.is_empty() {
            // An event that left the outbox needs no count, so its failures need no report.
            let gone: HashSet<_> = finished.iter().collect();
            self.failed.retain(|failure| !gone.contains(&failure.id));
        }
        self.failed.extend(failed);
        self.finished.extend(finished);
        let dropped = trim(&mut self.failed) + trim(&mut self.finished);
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "heap is unavailable: dropped the oldest unreported outcomes"
            );
        }
    }

    /// Reports the kept outcomes, unless the heap failed a moment ago.
    pub(super) async fn flush(&mut self, config: &OutboxConfig) {
        let nothing = self.failed.is_empty() && self.finished.is_empty();
        if nothing || self.next_try.is_some_and(|at| Instant::now() < at) {
            return;
        }
        match self.try_flush(config.heap_timeout()).await {
            Ok(()) => {
                self.outage.succeeded();
                self.next_try = None;
            }
            Err(error) => {
                let effect = "delivery continues, outcomes are kept and reported later";
                let failures = self.outage.failed(&error, effect);
                let pause = config.heap_retry().ceiling(failures);
                self.next_try = Some(Instant::now() + pause);
            }
        }
    }

    async fn try_flush(&mut self, limit: Duration) -> Result<(), OutboxError> {
        if !self.failed.is_empty() {
            let failed = self.failed.make_contiguous();
            let call = self.heap.record_failures(failed);
            bounded(limit, "record_failures", call).await?;
            self.failed.clear();
        }
        if !self.finished.is_empty() {
            let finished = self.finished.make_contiguous();
            bounded(limit, "forget", self.heap.forget(finished)).await?;
            self.finished.clear();
        }
        Ok(())
    }
}

fn trim<T>(queue: &mut VecDeque<T>) -> usize {
    let excess = queue.len().saturating_sub(UNREPORTED);
    queue.drain(..excess).count()
}

async fn bounded(
    limit: Duration,
    operation: &'static str,
    call: impl Future<Output = Result<(), OutboxError>>,
) -> Result<(), OutboxError> {
    let Ok(result) = timeout(limit, call).await else {
        let error = OutboxError::new(ErrorKind::Unavailable, "heap", operation);
        return Err(error.with_source(format!("no answer within {limit:?}")));
    };
    result
}

impl fmt::Debug for HeapReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeapReporter")
            .field("failed", &self.failed.len())
            .field("finished", &self.finished.len())
            .finish_non_exhaustive()
    }
}
