//! Moves events that reached the threshold into the quarantine.

use crate::config::OutboxConfig;
use crate::dlq::DlqHeap;
use crate::dlq::model::DlqEntry;
use crate::error::{ErrorKind, OutboxError};
use crate::object::EventId;
use crate::shutdown::{self, Stop};
use crate::storage::{OutboxStorage, QuarantineOutcome};
use std::fmt;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::time::sleep;

/// Takes exceeded entries out of a heap and has the store quarantine their events.
///
/// Any number of replicas may run. Each step may be repeated: a lease comes back if its holder
/// dies, a quarantine answers "missing" the second time, and forgetting twice is harmless
/// (`two_replicas_in_any_order_quarantine_once`). An event that a worker publishes meanwhile is
/// published or quarantined (`a_worker_and_a_tick_in_any_order_lose_nothing`).
pub struct DlqProcessor {
    heap: Arc<dyn DlqHeap>,
    storage: Arc<dyn OutboxStorage>,
    config: OutboxConfig,
    /// Entries that could not be moved yet. A heap that drains has no other copy of them.
    kept: Vec<DlqEntry>,
}

/// What one tick did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct TickReport {
    /// Events moved into the quarantine.
    pub moved: usize,
    /// Entries whose event was published or quarantined before; they are forgotten.
    pub missing: usize,
    /// Entries whose event is being published at the moment; they are tried again.
    pub busy: usize,
}

impl DlqProcessor {
    /// A processor with the default options.
    #[must_use]
    pub fn new(heap: Arc<dyn DlqHeap>, storage: Arc<dyn OutboxStorage>) -> Self {
        Self {
            heap,
            storage,
            config: OutboxConfig::default(),
            kept: Vec::new(),
        }
    }

    /// Replaces the options.
    #[must_use]
    pub fn config(mut self, config: OutboxConfig) -> Self {
        self.config = config;
        self
    }

    /// One pass: lease what reached the threshold, page by page; quarantine it; forget what was
    /// moved or is missing.
    ///
    /// # Errors
    ///
    /// Those of the heap and the store. Entries that were not moved are tried again at the next
    /// tick.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, leased entries come back when their lease runs out
    /// (`a_tick_dropped_anywhere_quarantines_once`). A heap that only drains loses the counts of at
    /// most one page.
    pub async fn tick(&mut self) -> Result<TickReport, OutboxError> {
        let mut report = TickReport::default();
        self.quarantine(&mut report).await?;
        let held = self.kept.len();
        loop {
            let page = self
                .heap
                .lease_exceeded(
                    self.config.failure_threshold,
                    self.config.dlq_page,
                    self.config.dlq_lease,
                )
                .await?;
            let last = page.len() < self.config.dlq_page;
            self.keep(page);
            if self.kept.len() > held {
                self.quarantine(&mut report).await?;
            }
            if last {
                report.busy = self.kept.len();
                return Ok(report);
            }
        }
    }

    fn keep(&mut self, page: Vec<DlqEntry>) {
        for entry in page {
            self.kept.retain(|kept| kept.id != entry.id);
            self.kept.push(entry);
        }
    }

    async fn quarantine(&mut self, report: &mut TickReport) -> Result<(), OutboxError> {
        if self.kept.is_empty() {
            return Ok(());
        }
        let outcomes = self.storage.quarantine_events(&self.kept).await?;
        if outcomes.len() != self.kept.len() {
            let (answers, entries) = (outcomes.len(), self.kept.len());
            let problem =
                format!("the store answered for {answers} entries, but {entries} were sent");
            let error = OutboxError::invalid("store", "quarantine_events", problem);
            return Err(error);
        }
        let mut done: Vec<EventId> = Vec::new();
        let mut busy = Vec::new();
        for (entry, outcome) in self.kept.drain(..).zip(outcomes) {
            match outcome {
                QuarantineOutcome::Moved => {
                    let error = entry.last_error.as_deref().unwrap_or("none given");
                    tracing::warn!(event = %entry.id, failures = entry.failure_count, error, "event quarantined");
                    report.moved += 1;
                    done.push(entry.id);
                }
                QuarantineOutcome::Missing => {
                    report.missing += 1;
                    done.push(entry.id);
                }
                QuarantineOutcome::Busy => busy.push(entry),
            }
        }
        self.kept = busy;
        if done.is_empty() {
            return Ok(());
        }
        self.heap.forget(&done).await
    }

    /// Ticks at each interval until `shutdown` completes. Errors are logged and tried again.
    ///
    /// # Cancel safety
    ///
    /// As [`tick`](Self::tick); prefer `shutdown`.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) {
        let (stopper, stop) = shutdown::channel();
        let grace = self.config.shutdown_grace;
        let wake = Notify::new();
        let work = self.work(stop, &wake);
        tokio::pin!(work);
        tokio::select! {
            () = &mut work => return,
            () = shutdown => stopper.stop(grace),
        }
        work.await;
    }

    /// Ticks at each interval, and at once when `wake` is notified.
    pub(crate) async fn work(&mut self, mut stop: Stop, wake: &Notify) {
        while !stop.requested() {
            let mut ticking = stop.clone();
            tokio::select! {
                biased;
                result = self.tick() => if let Err(error) = result {
                    let mend = matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Corrupt);
                    tracing::warn!(error = %error, mend, "cannot quarantine; trying again");
                },
                () = ticking.grace_over() => return,
            }
            tokio::select! {
                biased;
                () = stop.wait() => {}
                () = wake.notified() => {}
                () = sleep(self.config.dlq_interval) => {}
            }
        }
    }
}

impl fmt::Debug for DlqProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DlqProcessor")
            .field("storage", &self.storage)
            .field("kept", &self.kept.len())
            .finish_non_exhaustive()
    }
}
