//! The worker: claims events, publishes them, settles them, then tells the heap.

mod breaker;
mod publish;
#[cfg(feature = "dlq")]
mod report;

use crate::config::OutboxConfig;
use crate::error::{ErrorKind, OutboxError};
use crate::object::{ErrorText, EventId};
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

/// Publishes what waits in an outbox.
///
/// One processor is one worker. Several may share an outbox, in one process or in many: claims
/// keep them apart (`two_workers_in_any_order_deliver_all`). Without a heap a rejected event is retried for ever.
#[derive(Debug)]
pub struct OutboxProcessor {
    storage: Arc<dyn OutboxStorage>,
    transport: Arc<dyn Transport>,
    config: OutboxConfig,
    breaker: CircuitBreaker,
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
    pub fn new(storage: Arc<dyn OutboxStorage>, transport: Arc<dyn Transport>) -> Self {
        let config = OutboxConfig::default();
        Self {
            storage,
            transport,
            breaker: CircuitBreaker::new(config.breaker, config.batch_size),
            config,
            published: 0,
            lone: HashMap::new(),
            #[cfg(feature = "dlq")]
            heap: None,
            #[cfg(feature = "dlq")]
            threshold_crossed: Arc::default(),
        }
    }

    /// Replaces the options. Call it before [`dlq_heap`](Self::dlq_heap).
    #[must_use]
    pub fn config(mut self, config: OutboxConfig) -> Self {
        self.breaker = CircuitBreaker::new(config.breaker, config.batch_size);
        self.config = config;
        self
    }

    /// Reports the outcomes of each pass to `heap`.
    #[cfg(feature = "dlq")]
    #[must_use]
    pub fn dlq_heap(mut self, heap: Arc<dyn DlqHeap>) -> Self {
        self.heap = Some(HeapReporter::new(heap, &self.config));
        self
    }

    #[cfg(feature = "dlq")]
    pub(crate) fn threshold_crossed(&self) -> Arc<Notify> {
        Arc::clone(&self.threshold_crossed)
    }

    /// One pass: claim, publish, settle, tell the heap.
    ///
    /// A heap that fails does not fail the pass; its outcomes are kept and reported later.
    ///
    /// # Errors
    ///
    /// Those of [`claim`](OutboxStorage::claim) and [`settle`](OutboxStorage::settle). Events of a
    /// pass that could not be settled are delivered again.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped the claimed events wait for their lease to run out; what was
    /// published by then is delivered again
    /// (`a_pass_dropped_anywhere_loses_nothing`).
    pub async fn process_pending_events(&mut self) -> Result<PassReport, OutboxError> {
        self.pass(&mut Stop::never()).await
    }

    /// Passes until `shutdown` completes, waiting for work in between.
    ///
    /// On shutdown a publish under way gets the grace time; what is not published then is released
    /// uncharged. A store that is unavailable is tried again with backoff.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) and [`Corrupt`](ErrorKind::Corrupt) errors of the store,
    /// which only a person can mend.
    ///
    /// # Cancel safety
    ///
    /// As [`process_pending_events`](Self::process_pending_events); prefer `shutdown`.
    pub async fn run(
        mut self,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), OutboxError> {
        let (stopper, stop) = shutdown::channel();
        let grace = self.config.shutdown_grace;
        let work = self.work(stop);
        tokio::pin!(work);
        tokio::select! {
            result = &mut work => return result,
            () = shutdown => stopper.stop(grace),
        }
        work.await
    }

    pub(crate) async fn work(&mut self, mut stop: Stop) -> Result<(), OutboxError> {
        let mut errors = 0;
        while !stop.requested() {
            let pause = match self.pass(&mut stop).await {
                Ok(report) if report.claimed > 0 && self.breaker.pause().is_zero() => {
                    errors = 0;
                    continue;
                }
                Ok(_) => {
                    errors = 0;
                    self.breaker.pause()
                }
                Err(error) if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Corrupt) => {
                    return Err(error);
                }
                Err(error) => {
                    errors += 1;
                    tracing::warn!(error = %error, "pass failed; its events come back");
                    self.config.breaker.random_delay(errors)
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
        Ok(())
    }

    /// Waits for the end of a pause, else for work.
    async fn idle(&self, pause: Duration) {
        if !pause.is_zero() {
            sleep(pause).await;
        } else if let Err(error) = self.storage.wait_for_work(self.config.poll_interval).await {
            tracing::warn!(error = %error, "cannot wait for work; polling");
            sleep(self.config.poll_interval).await;
        }
    }

    async fn pass(&mut self, stop: &mut Stop) -> Result<PassReport, OutboxError> {
        #[cfg(feature = "dlq")]
        self.flush_heap().await;
        let limit = self.breaker.limit();
        if limit == 0 {
            return Ok(PassReport::default());
        }
        let lease_end = Instant::now() + self.config.lease;
        let Claim { token, events } = self.claim(limit, stop).await?;
        if events.is_empty() {
            return Ok(PassReport::default());
        }
        let transport = Arc::clone(&self.transport);
        let mut plan = Plan::new(events, self.storage.holds_keys(), transport.keeps_order());
        let mut publisher = Publisher {
            transport: &*transport,
            timeout: self.config.publish_timeout,
            bytes: self.config.batch_bytes,
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
        let report = count(&settlements);
        tracing::debug!(?report, "pass");
        self.published += report.published as u64;
        #[cfg(feature = "dlq")]
        self.tell_heap(plan.slots).await;
        Ok(report)
    }

    /// Claims up to `limit` events. A claim that is under way when the grace time of a shutdown ends
    /// is given up: nothing of it is published, and its lease runs out.
    async fn claim(&mut self, limit: usize, stop: &mut Stop) -> Result<Claim, OutboxError> {
        let limit = ClaimLimit::events(limit).bytes(self.config.batch_bytes);
        let claim = tokio::select! {
            biased;
            claim = self.storage.claim(limit, self.config.lease) => claim,
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
                    let pause = self.breaker.pause();
                    tracing::warn!(%error, ?pause, "broker unavailable; nothing is counted");
                    return;
                }
                Verdict::Throttled(after) => throttled = throttled.max(Some(*after)),
                Verdict::Published | Verdict::Rejected(_) | Verdict::Permanent(_) => {
                    answered = true;
                }
                Verdict::Lost(_) | Verdict::Untried => {}
            }
        }
        match throttled {
            Some(after) => self.breaker.throttled(after),
            None if answered => self.breaker.succeeded(),
            None => {}
        }
    }

    /// An event that finds the broker unavailable whenever it is alone, while others get through
    /// in between, is itself the cause: it is charged, or it would stop the outbox for ever.
    fn blame_lone_event(&mut self, slots: &mut [Slot]) {
        let [slot] = slots else { return };
        let Verdict::Unavailable(error) = &slot.verdict else {
            self.lone.remove(&slot.id);
            return;
        };
        if self.lone.len() >= OutboxConfig::UNREPORTED {
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
                delay: self
                    .config
                    .retry
                    .random_delay(slot.attempts.saturating_add(1)),
                error: error.clone(),
            },
            Verdict::Permanent(reason) => Outcome::Dead {
                reason: reason.clone(),
            },
            // Behind the next probe, so that the probe is another event.
            Verdict::Unavailable(_) => Outcome::Released {
                delay: self.breaker.pause().mul_f64(1.25),
            },
            Verdict::Throttled(_) | Verdict::Untried => Outcome::Released {
                delay: Duration::ZERO,
            },
        };
        Settlement::new(slot.id, outcome)
    }

    /// Settles, and tries again a few times while the lease holds: a settlement that fails costs
    /// a second delivery of the whole claim.
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
                    tracing::debug!(error = %error, ?pause, "settling again");
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
            heap.flush().await;
        }
    }

    async fn tell_heap(&mut self, slots: Vec<Slot>) {
        let Some(heap) = &mut self.heap else { return };
        let mut failed = Vec::new();
        let mut finished = Vec::new();
        let mut crossed = false;
        for slot in slots {
            match slot.verdict {
                Verdict::Published | Verdict::Permanent(_) => finished.push(slot.id),
                Verdict::Rejected(error) | Verdict::Lost(error) => {
                    crossed |= slot.attempts.saturating_add(1) >= self.config.failure_threshold;
                    failed.push(FailedAttempt::new(slot.id).with_error(error));
                }
                Verdict::Unavailable(_) | Verdict::Throttled(_) | Verdict::Untried => {}
            }
        }
        heap.add(failed, finished);
        heap.flush().await;
        if crossed {
            self.threshold_crossed.notify_one();
        }
    }
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
            Outcome::Released { .. } => report.released += 1,
        }
    }
    report
}
