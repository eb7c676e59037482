//! Moves events that reached the threshold into the quarantine.

use crate::config::OutboxConfig;
use crate::dlq::DlqHeap;
use crate::dlq::model::DlqEntry;
use crate::error::OutboxError;
use crate::object::EventId;
use crate::observer::{Observation, Observer, Observers};
use crate::outage::Outage;
use crate::processor::{log_quarantine, spans};
use crate::retry;
use crate::shutdown::{self, Stop};
use crate::storage::{OutboxStorage, QuarantineOutcome};
use crate::transport::PublishErrorKind;
use crate::vitals::Vitals;
use std::fmt;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::Instrument;

/// Leases the entries of a heap that reached the threshold, and has the store quarantine their
/// events.
///
/// [`Relay`](crate::Relay) runs one. Any number of replicas may run at once, because each step may
/// be repeated: a lease returns to the heap if its holder dies, a second quarantine answers
/// `Missing`, and forgetting twice is harmless. An event that a worker publishes at the same time is
/// either published or quarantined.
///
/// ```
/// # use outbox_core::{DlqHeap, DlqProcessor, OutboxError, OutboxStorage};
/// async fn quarantine_once(
///     heap: impl DlqHeap + 'static,
///     store: impl OutboxStorage + 'static,
/// ) -> Result<usize, OutboxError> {
///     let report = DlqProcessor::new(heap, store).tick().await?;
///     Ok(report.moved)
/// }
/// ```
pub struct DlqProcessor {
    heap: Arc<dyn DlqHeap>,
    storage: Arc<dyn OutboxStorage>,
    config: OutboxConfig,
    /// Entries that could not be moved yet. A heap that drains has no other copy of them.
    kept: Vec<DlqEntry>,
    /// Whether the log already says that the heap drains instead of leasing.
    warned_of_drain: bool,
    outage: Outage,
    observers: Observers,
}

/// What one tick did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct TickReport {
    /// Events moved into the quarantine.
    pub moved: usize,
    /// Entries whose event was already published or quarantined; they are forgotten.
    pub missing: usize,
    /// Entries whose event is being published at the moment; they are tried again.
    pub busy: usize,
}

impl DlqProcessor {
    /// A processor with the default options.
    #[must_use]
    pub fn new(heap: impl DlqHeap + 'static, storage: impl OutboxStorage + 'static) -> Self {
        Self {
            heap: Arc::new(heap),
            storage: Arc::new(storage),
            config: OutboxConfig::default(),
            kept: Vec::new(),
            warned_of_drain: false,
            outage: Outage::of("quarantine"),
            observers: Observers::default(),
        }
    }

    /// Replaces the options.
    #[must_use]
    pub fn config(mut self, config: OutboxConfig) -> Self {
        self.config = config;
        self
    }

    /// Adds an observer, which sees the events that reach the threshold.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    pub(crate) fn with_observers(mut self, observers: Observers) -> Self {
        self.observers = observers;
        self
    }

    pub(crate) fn with_vitals(mut self, vitals: &Vitals) -> Self {
        self.outage.note_in(vitals);
        self
    }

    /// One pass: lease a page of entries that reached the threshold, quarantine their events, forget
    /// the entries whose event was moved or is missing, and repeat until no entry is left.
    ///
    /// # Errors
    ///
    /// The errors of the heap and the store. Entries that were not moved are tried again at the next
    /// tick.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, leased entries return to the heap when their lease runs out. A heap
    /// that only drains loses the counts of the entries that it returned last.
    pub async fn tick(&mut self) -> Result<TickReport, OutboxError> {
        let mut report = TickReport::default();
        self.quarantine(&mut report).await?;
        let held = self.kept.len();
        let limit = self.config.heap_page();
        loop {
            let page = self
                .heap
                .lease_exceeded(
                    self.config.failure_threshold(),
                    limit,
                    self.config.heap_lease(),
                )
                .await;
            self.observers.note_heap(&page);
            let page = page?;
            self.check_page(page.len());
            let last = page.len() < limit;
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

    /// The provided form of `lease_exceeded` drains and ignores its limit: say so once.
    fn check_page(&mut self, entries: usize) {
        let limit = self.config.heap_page();
        if entries > limit && !self.warned_of_drain {
            self.warned_of_drain = true;
            tracing::warn!(
                entries,
                limit,
                "the heap drains instead of leasing: if this process dies before it has \
                 quarantined these events, their counts are lost"
            );
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
        let (span, before) = (spans::tick(self.kept.len()), *report);
        let result = self.quarantine_kept(report).instrument(span.clone()).await;
        span.record("moved", spans::number(report.moved - before.moved));
        span.record("missing", spans::number(report.missing - before.missing));
        span.record("busy", spans::number(self.kept.len()));
        result
    }

    async fn quarantine_kept(&mut self, report: &mut TickReport) -> Result<(), OutboxError> {
        let outcomes = self.storage.quarantine_events(&self.kept).await?;
        if outcomes.len() != self.kept.len() {
            let (answers, entries) = (outcomes.len(), self.kept.len());
            let problem =
                format!("the store answered for {answers} entries, but {entries} were sent");
            let error = OutboxError::invalid("store", "quarantine_events", problem);
            return Err(error);
        }
        let mut done: Vec<EventId> = Vec::new();
        let before = report.moved;
        let mut busy = Vec::new();
        for (entry, outcome) in self.kept.drain(..).zip(outcomes) {
            match outcome {
                QuarantineOutcome::Moved => {
                    let reason = entry
                        .last_error
                        .as_deref()
                        .unwrap_or("no error was reported");
                    log_quarantine(entry.id, None, reason, entry.failure_count);
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
        if report.moved > before {
            self.observers.notify(Observation::Quarantined {
                kind: PublishErrorKind::Rejected,
                events: report.moved - before,
            });
        }
        if done.is_empty() {
            return Ok(());
        }
        self.heap.forget(&done).await
    }

    /// Ticks at each interval until `shutdown` completes. Errors are logged and tried again.
    ///
    /// # Cancel safety
    ///
    /// As for [`tick`](Self::tick); prefer `shutdown`.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) {
        let (stopper, stop) = shutdown::channel();
        let grace = self.config.shutdown_grace();
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
            let result = tokio::select! {
                biased;
                result = self.tick() => result,
                () = ticking.grace_over() => return,
            };
            match result {
                Ok(_) => self.outage.succeeded(),
                Err(error) => {
                    let effect = if error.needs_operator() {
                        "an operator must fix this; it is tried again at each interval"
                    } else {
                        "it is tried again at each interval"
                    };
                    self.outage.failed(&error, effect);
                }
            }
            tokio::select! {
                biased;
                () = stop.wait() => {}
                () = wake.notified() => {}
                () = sleep(retry::spread(self.config.heap_interval())) => {}
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
