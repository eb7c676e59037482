//! The worker: claims events, publishes them, settles them, then reports to the heap.

mod breaker;
mod publish;
#[cfg(feature = "dlq")]
mod report;

use crate::config::OutboxConfig;
use crate::error::{ErrorKind, OutboxError};
use crate::object::{ErrorText, EventId};
use crate::outage::Outage;
use crate::shutdown::{self, Stop};
use crate::storage::{Claim, ClaimLimit, ClaimToken, OutboxStorage, Outcome, Settlement};
use crate::transport::Transport;
use breaker::CircuitBreaker;
use publish::{Plan, Publisher, Slot, Verdict};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::{Duration, Instant, sleep};

#[cfg(feature = "dlq")]
use crate::dlq::{DlqHeap, model::FailedAttempt};
#[cfg(feature = "dlq")]
use report::HeapReporter;
#[cfg(feature = "dlq")]
use tokio::sync::Notify;

/// The most events that are remembered because they were alone when the broker was unavailable.
const SUSPECTS: usize = 10_000;

/// Publishes the events of an outbox.
///
/// One processor is one worker. Several may share an outbox, in one process or in many: claims
/// keep them apart. Without a heap a rejected event is retried forever. Setters may be called in
/// any order.
///
/// [`Relay`](crate::Relay) runs a worker together with the `DlqProcessor` and clean-up. Use
/// a processor directly to publish in your own loop:
///
/// ```
/// # use outbox_core::{OutboxError, OutboxProcessor, OutboxStorage, Transport};
/// async fn publish_once(
///     store: impl OutboxStorage + 'static,
///     broker: impl Transport + 'static,
/// ) -> Result<usize, OutboxError> {
///     let mut worker = OutboxProcessor::new(store, broker);
///     let mut published = 0;
///     loop {
///         let pass = worker.process_pending_events().await?;
///         published += pass.published;
///         if pass.claimed == 0 {
///             return Ok(published);
///         }
///     }
/// }
/// ```
#[derive(Debug)]
pub struct OutboxProcessor {
    storage: Arc<dyn OutboxStorage>,
    transport: Arc<dyn Transport>,
    config: OutboxConfig,
    breaker: CircuitBreaker,
    broker: Outage,
    store: Outage,
    wake_up: Outage,
    /// Events published so far.
    published: u64,
    /// Events that were alone when the broker was unavailable, with `published` at that time.
    lone: HashMap<EventId, u64>,
    #[cfg(feature = "dlq")]
    heap: Option<HeapReporter>,
    #[cfg(feature = "dlq")]
    threshold_crossed: Arc<Notify>,
}

/// What one pass did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct PassReport {
    /// Events claimed. Zero when nothing is due, and while the broker gets a pause.
    pub claimed: usize,
    /// Events that the broker took.
    pub published: usize,
    /// Events that were charged a failed attempt.
    pub retried: usize,
    /// Events that can never succeed and were quarantined at once.
    pub dead: usize,
    /// Events given back uncharged.
    pub released: usize,
}

impl OutboxProcessor {
    /// A worker with the default options and no heap.
    #[must_use]
    pub fn new(storage: impl OutboxStorage + 'static, transport: impl Transport + 'static) -> Self {
        let config = OutboxConfig::default();
        Self {
            storage: Arc::new(storage),
            transport: Arc::new(transport),
            breaker: CircuitBreaker::new(config.breaker(), config.batch_size()),
            broker: Outage::of("broker"),
            store: Outage::of("store"),
            wake_up: Outage::of("wake-up"),
            config,
            published: 0,
            lone: HashMap::new(),
            #[cfg(feature = "dlq")]
            heap: None,
            #[cfg(feature = "dlq")]
            threshold_crossed: Arc::default(),
        }
    }

    /// Replaces the options.
    #[must_use]
    pub fn config(mut self, config: OutboxConfig) -> Self {
        self.breaker = CircuitBreaker::new(config.breaker(), config.batch_size());
        self.config = config;
        self
    }

    /// Reports the outcomes of each pass to `heap`.
    #[cfg(feature = "dlq")]
    #[must_use]
    pub fn dlq_heap(mut self, heap: impl DlqHeap + 'static) -> Self {
        self.heap = Some(HeapReporter::new(Arc::new(heap)));
        self
    }

    #[cfg(feature = "dlq")]
    pub(crate) fn threshold_crossed(&self) -> Arc<Notify> {
        Arc::clone(&self.threshold_crossed)
    }

    /// One pass: claim, publish, settle, report to the heap.
    ///
    /// A heap that fails does not fail the pass: the outcomes are kept and reported later.
    ///
    /// # Errors
    ///
    /// The errors of [`claim`](OutboxStorage::claim) and [`settle`](OutboxStorage::settle). If the
    /// settlement failed, the events of the pass are delivered again.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the claimed events wait until their lease runs out. Those that were
    /// already published are delivered again.
    pub async fn process_pending_events(&mut self) -> Result<PassReport, OutboxError> {
        self.pass(&mut Stop::never()).await
    }

    /// Makes passes until `shutdown` completes, and waits for work in between.
    ///
    /// After `shutdown` a running publish gets the grace time; events that are not published by then
    /// are released without a charge. While the store is unavailable, calls are repeated with
    /// growing pauses. The start, the end and a fatal error are logged.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) and [`Corrupt`](ErrorKind::Corrupt) errors of the store,
    /// because no later attempt can succeed until an operator acts.
    ///
    /// # Cancel safety
    ///
    /// As for [`process_pending_events`](Self::process_pending_events); prefer `shutdown`.
    pub async fn run(
        mut self,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), OutboxError> {
        let (stopper, stop) = shutdown::channel();
        let grace = self.config.shutdown_grace();
        let work = self.work(stop);
        tokio::pin!(work);
        tokio::select! {
            result = &mut work => return result,
            () = shutdown => stopper.stop(grace),
        }
        work.await
    }

    pub(crate) async fn work(&mut self, mut stop: Stop) -> Result<(), OutboxError> {
        tracing::info!(config = ?self.config, "worker started");
        let mut errors = 0;
        while !stop.requested() {
            let pause = match self.pass(&mut stop).await {
                Ok(report) => {
                    errors = 0;
                    self.store.succeeded();
                    let pause = self.breaker.pause();
                    if report.claimed > 0 && pause.is_zero() {
                        continue;
                    }
                    pause
                }
                Err(error) if error.needs_operator() => {
                    tracing::error!(%error, "worker stopped by an error that a retry cannot fix");
                    return Err(error);
                }
                Err(error) => {
                    errors += 1;
                    self.log_failed_pass(&error);
                    self.config.store_retry().random_delay(errors)
                }
            };
            tokio::select! {
                biased;
                () = stop.wait() => {}
                () = self.idle(pause) => {}
            }
        }
        #[cfg(feature = "dlq")]
        self.flush_heap().await;
        tracing::info!(published = self.published, "worker stopped");
        Ok(())
    }

    fn log_failed_pass(&mut self, error: &OutboxError) {
        let effect = "unsettled events will be delivered again";
        match error.kind() {
            ErrorKind::Unavailable => {
                self.store.failed(error, effect);
            }
            ErrorKind::LeaseLost => tracing::warn!(
                %error,
                "a claim was lost: its events may be delivered twice"
            ),
            _ => tracing::warn!(%error, "a pass failed: {effect}"),
        }
    }

    /// Waits for the end of a pause, or for work if there is none.
    async fn idle(&mut self, pause: Duration) {
        let poll = self.config.poll_interval();
        if !pause.is_zero() {
            sleep(pause).await;
            return;
        }
        match self.storage.wait_for_work(poll).await {
            Ok(()) => self.wake_up.succeeded(),
            Err(error) => {
                let effect = "the worker asks for events at each poll interval";
                self.wake_up.failed(&error, effect);
                sleep(poll).await;
            }
        }
    }

    async fn pass(&mut self, stop: &mut Stop) -> Result<PassReport, OutboxError> {
        #[cfg(feature = "dlq")]
        self.flush_heap().await;
        let limit = self.breaker.limit();
        if limit == 0 {
            return Ok(PassReport::default());
        }
        let lease_end = Instant::now() + self.config.lease();
        let Claim { token, events } = self.claim(limit, stop).await?;
        if events.is_empty() {
            return Ok(PassReport::default());
        }
        let transport = Arc::clone(&self.transport);
        let mut plan = Plan::new(
            events,
            self.storage.blocks_key_on_dead_letter(),
            transport.keeps_order(),
        );
        let mut publisher = Publisher {
            transport: &*transport,
            timeout: self.config.publish_timeout(),
            bytes: self.config.batch_bytes(),
            lease_end,
            stop,
            halted: false,
        };
        plan.publish(&mut publisher).await;
        self.inform_breaker(&plan.slots);
        self.blame_lone_event(&mut plan.slots);
        let settlements: Vec<_> = plan
            .slots
            .iter()
            .map(|slot| self.settlement(slot))
            .collect();
        self.settle(token, &settlements, lease_end).await?;
        log_failures(&plan.slots);
        let report = count(&settlements);
        tracing::debug!(?report, "pass");
        self.published += report.published as u64;
        #[cfg(feature = "dlq")]
        self.report_to_heap(plan.slots).await;
        Ok(report)
    }

    /// Claims up to `limit` events. A claim that is still running when the grace time of a shutdown
    /// ends is cancelled: none of its events is published, and its lease runs out.
    async fn claim(&mut self, limit: usize, stop: &mut Stop) -> Result<Claim, OutboxError> {
        let limit = ClaimLimit::events(limit).bytes(self.config.batch_bytes());
        let claim = tokio::select! {
            biased;
            claim = self.storage.claim(limit, self.config.lease()) => claim,
            () = stop.grace_over() => return Ok(Claim::empty()),
        };
        if let Err(error) = &claim
            && error.kind() == ErrorKind::Unavailable
        {
            self.breaker.claim_failed();
        }
        claim
    }

    fn inform_breaker(&mut self, slots: &[Slot]) {
        let mut answered = false;
        let mut throttled = None;
        for slot in slots {
            match &slot.verdict {
                Verdict::Unavailable(error) => {
                    self.breaker.failed();
                    let effect = "its events wait, and no failed attempt is counted";
                    self.broker.failed(error, effect);
                    return;
                }
                Verdict::Throttled(after) => throttled = throttled.max(Some(*after)),
                Verdict::Published | Verdict::Rejected(_) | Verdict::Permanent { .. } => {
                    answered = true;
                }
                Verdict::Lost(_) | Verdict::Untried => {}
            }
        }
        if answered || throttled.is_some() {
            self.broker.succeeded();
        }
        match throttled {
            Some(after) => self.breaker.throttled(after),
            None if answered => self.breaker.succeeded(),
            None => {}
        }
    }

    /// If the broker is unavailable whenever it gets one event alone, and others succeed in between,
    /// that event is the cause. It is charged an attempt, or it would block the outbox forever.
    fn blame_lone_event(&mut self, slots: &mut [Slot]) {
        let [slot] = slots else { return };
        let Verdict::Unavailable(error) = &slot.verdict else {
            self.lone.remove(&slot.id);
            return;
        };
        if self.lone.len() >= SUSPECTS {
            self.lone.clear();
        }
        let before = self.lone.insert(slot.id, self.published);
        if before.is_some_and(|published| published < self.published) {
            slot.verdict = Verdict::Rejected(ErrorText::new(&format!(
                "{error}, twice alone while other events were published"
            )));
        }
    }

    fn settlement(&self, slot: &Slot) -> Settlement {
        let outcome = match &slot.verdict {
            Verdict::Published => Outcome::Published,
            Verdict::Rejected(error) | Verdict::Lost(error) => Outcome::Retry {
                delay: self.retry_delay(slot),
                error: error.clone(),
            },
            Verdict::Permanent { reason, .. } => Outcome::Dead {
                reason: reason.clone(),
            },
            // Longer than the pause before the next probe, so that another event is the probe.
            Verdict::Unavailable(_) => Outcome::Released {
                delay: self.breaker.pause().mul_f64(1.25),
            },
            Verdict::Throttled(_) | Verdict::Untried => Outcome::Released {
                delay: Duration::ZERO,
            },
        };
        Settlement::new(slot.id, outcome)
    }

    fn retry_delay(&self, slot: &Slot) -> Duration {
        let attempt = slot.attempts.saturating_add(1);
        self.config.retry().random_delay(attempt)
    }

    /// Settles, and repeats a failed call while the lease holds, because a settlement that fails
    /// costs a second delivery of the whole claim.
    async fn settle(
        &self,
        token: ClaimToken,
        settlements: &[Settlement],
        lease_end: Instant,
    ) -> Result<(), OutboxError> {
        let mut pause = Duration::from_millis(100);
        loop {
            let result = self.storage.settle(token, settlements).await;
            match result {
                Err(error)
                    if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Conflict)
                        && Instant::now() + pause < lease_end =>
                {
                    tracing::debug!(%error, ?pause, "cannot settle; trying again");
                }
                result => return result,
            }
            sleep(pause).await;
            pause *= 4;
        }
    }
}

#[cfg(feature = "dlq")]
impl OutboxProcessor {
    async fn flush_heap(&mut self) {
        if let Some(heap) = &mut self.heap {
            heap.flush(&self.config).await;
        }
    }

    async fn report_to_heap(&mut self, slots: Vec<Slot>) {
        let Some(heap) = &mut self.heap else { return };
        let mut failed = Vec::new();
        let mut finished = Vec::new();
        let mut crossed = false;
        for slot in slots {
            match slot.verdict {
                Verdict::Published | Verdict::Permanent { .. } => finished.push(slot.id),
                Verdict::Rejected(error) | Verdict::Lost(error) => {
                    crossed |= slot.attempts.saturating_add(1) >= self.config.failure_threshold();
                    failed.push(FailedAttempt::new(slot.id).with_error(error));
                }
                Verdict::Unavailable(_) | Verdict::Throttled(_) | Verdict::Untried => {}
            }
        }
        heap.add(failed, finished);
        heap.flush(&self.config).await;
        if crossed {
            self.threshold_crossed.notify_one();
        }
    }
}

/// Logs what an operator must know of a settled claim.
fn log_failures(slots: &[Slot]) {
    for slot in slots {
        match &slot.verdict {
            Verdict::Permanent { event_type, reason } => {
                log_quarantine(
                    slot.id,
                    Some(event_type),
                    reason,
                    slot.attempts.saturating_add(1),
                );
            }
            Verdict::Lost(error) => {
                let event = slot.id;
                tracing::warn!(%event, %error, "took over a lost claim: a failed attempt is counted");
            }
            _ => {}
        }
    }
}

/// One warning for each quarantined event, with the command that shows its dead letter.
pub(crate) fn log_quarantine(id: EventId, event_type: Option<&str>, reason: &str, failures: u32) {
    let show = format!("outbox dlq show {id}");
    tracing::warn!(event = %id, event_type, reason, failures, show, "event quarantined");
}

fn count(settlements: &[Settlement]) -> PassReport {
    let mut report = PassReport {
        claimed: settlements.len(),
        ..PassReport::default()
    };
    for settlement in settlements {
        match settlement.outcome {
            Outcome::Published => report.published += 1,
            Outcome::Retry { .. } => report.retried += 1,
            Outcome::Dead { .. } => report.dead += 1,
            Outcome::Released { .. } | Outcome::Held { .. } | Outcome::Kept => report.released += 1,
        }
    }
    report
}
