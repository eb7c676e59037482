//! Telling the heap, without ever waiting for it longer than allowed.

use crate::config::OutboxConfig;
use crate::dlq::DlqHeap;
use crate::dlq::model::FailedAttempt;
use crate::error::{ErrorKind, OutboxError};
use crate::object::EventId;
use crate::retry::RetrySchedule;
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use tokio::time::{Duration, Instant, timeout};

/// Outcomes on their way to the heap.
///
/// What the heap did not take is kept, up to [`OutboxConfig::UNREPORTED`], and offered again after
/// a pause. A failure that is dropped costs its event one more attempt; a success that is dropped
/// leaves a count that is pruned by age, or found to be of no event at its quarantine.
pub(super) struct HeapReporter {
    heap: Arc<dyn DlqHeap>,
    timeout: Duration,
    pauses: RetrySchedule,
    failed: VecDeque<FailedAttempt>,
    finished: VecDeque<EventId>,
    errors: u32,
    next_try: Option<Instant>,
}

impl HeapReporter {
    pub(super) fn new(heap: Arc<dyn DlqHeap>, config: &OutboxConfig) -> Self {
        Self {
            heap,
            timeout: config.heap_timeout,
            pauses: config.breaker,
            failed: VecDeque::new(),
            finished: VecDeque::new(),
            errors: 0,
            next_try: None,
        }
    }

    /// Takes the outcomes of a pass: failed attempts, and events that left the outbox.
    pub(super) fn add(&mut self, failed: Vec<FailedAttempt>, finished: Vec<EventId>) {
        if !self.failed.is_empty() {
            // An event that left needs no count, so its kept failures need no report.
            let gone: HashSet<_> = finished.iter().collect();
            self.failed.retain(|failure| !gone.contains(&failure.id));
        }
        self.failed.extend(failed);
        self.finished.extend(finished);
        let dropped = trim(&mut self.failed) + trim(&mut self.finished);
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "heap is down: dropped the oldest unreported outcomes"
            );
        }
    }

    /// Reports what waits, unless the heap failed a moment ago.
    pub(super) async fn flush(&mut self) {
        if self.next_try.is_some_and(|at| Instant::now() < at) {
            return;
        }
        match self.try_flush().await {
            Ok(()) => {
                self.errors = 0;
                self.next_try = None;
            }
            Err(error) => {
                self.errors = self.errors.saturating_add(1);
                let pause = self.pauses.ceiling(self.errors);
                self.next_try = Some(Instant::now() + pause);
                tracing::warn!(
                    error = %error,
                    failed = self.failed.len(),
                    finished = self.finished.len(),
                    ?pause,
                    "heap does not answer; delivery goes on"
                );
            }
        }
    }

    async fn try_flush(&mut self) -> Result<(), OutboxError> {
        if !self.failed.is_empty() {
            let failed = self.failed.make_contiguous();
            bounded(self.timeout, self.heap.record_failures(failed)).await?;
            self.failed.clear();
        }
        if !self.finished.is_empty() {
            let finished = self.finished.make_contiguous();
            bounded(self.timeout, self.heap.forget(finished)).await?;
            self.finished.clear();
        }
        Ok(())
    }
}

fn trim<T>(queue: &mut VecDeque<T>) -> usize {
    let excess = queue.len().saturating_sub(OutboxConfig::UNREPORTED);
    queue.drain(..excess).count()
}

async fn bounded(
    limit: Duration,
    call: impl Future<Output = Result<(), OutboxError>>,
) -> Result<(), OutboxError> {
    match timeout(limit, call).await {
        Ok(result) => result,
        Err(elapsed) => {
            Err(OutboxError::new(ErrorKind::Unavailable, "heap", "report").with_source(elapsed))
        }
    }
}

impl fmt::Debug for HeapReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeapReporter")
            .field("failed", &self.failed.len())
            .field("finished", &self.finished.len())
            .finish_non_exhaustive()
    }
}
