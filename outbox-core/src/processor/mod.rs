//! The worker: claims events, publishes them, settles them, then reports to the heap.

mod breaker;
mod call;
mod crew;
mod destination;
mod destinations;
mod memory;
mod observed;
mod outcome;
mod pass;
mod publish;
#[cfg(feature = "dlq")]
mod report;
pub(crate) mod spans;

pub use destinations::{Pause, Pauses};
#[cfg(feature = "dlq")]
pub(crate) use outcome::log_quarantine;
#[cfg(feature = "dlq")]
pub(crate) use report::bounded;

use crate::config::OutboxConfig;
use crate::error::OutboxError;
use crate::observer::Observers;
use crate::outage::Outage;
use crate::shutdown::{self, Stop};
use crate::storage::OutboxStorage;
use crate::transport::Transport;
use crate::vitals::Vitals;
use breaker::CircuitBreaker;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[cfg(feature = "dlq")]
use crate::dlq::DlqHeap;
#[cfg(feature = "dlq")]
use report::HeapReporter;
#[cfg(feature = "dlq")]
use tokio::sync::Notify;

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
    pauses: Pauses,
    vitals: Vitals,
    state: Mutex<State>,
    /// Claims that are published.
    open: AtomicUsize,
    observers: Observers,
    #[cfg(feature = "dlq")]
    heap: Option<HeapReporter>,
    #[cfg(feature = "dlq")]
    threshold_crossed: Arc<Notify>,
}

/// What the claims of a worker share.
#[derive(Debug)]
struct State {
    breaker: CircuitBreaker,
    broker: Outage,
    store: Outage,
    wake_up: Outage,
    /// Events published so far.
    published: u64,
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
        let state = State {
            breaker: CircuitBreaker::new(config.breaker(), config.batch_size()),
            broker: Outage::of("broker"),
            store: Outage::of("store"),
            wake_up: Outage::of("wake-up"),
            published: 0,
        };
        Self {
            storage: Arc::new(storage),
            transport: Arc::new(transport),
            config,
            pauses: Pauses::default(),
            vitals: Vitals::default(),
            state: Mutex::new(state),
            open: AtomicUsize::new(0),
            observers: Observers::default(),
            #[cfg(feature = "dlq")]
            heap: None,
            #[cfg(feature = "dlq")]
            threshold_crossed: Arc::default(),
        }
    }

    /// Replaces the options.
    #[must_use]
    pub fn config(mut self, config: OutboxConfig) -> Self {
        self.state().breaker = CircuitBreaker::new(config.breaker(), config.batch_size());
        self.config = config;
        self
    }

    /// The destinations that get no events for now.
    #[must_use]
    pub fn pauses(&self) -> Pauses {
        self.pauses.clone()
    }

    pub(crate) fn with_pauses(mut self, pauses: Pauses) -> Self {
        self.pauses = pauses;
        self
    }

    /// Call it after [`dlq_heap`](Self::dlq_heap).
    pub(crate) fn with_vitals(mut self, vitals: &Vitals) -> Self {
        self.vitals = vitals.clone();
        {
            let mut state = self.state();
            state.store.note_in(vitals);
            state.wake_up.note_in(vitals);
        }
        #[cfg(feature = "dlq")]
        if let Some(heap) = &self.heap {
            heap.note_in(vitals);
        }
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// One pass: claim, publish, settle, report to the heap. It has one claim at a time.
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
        self.flush_heap().await;
        let Some(taken) = self.take(Stop::never()).await? else {
            return Ok(PassReport::default());
        };
        let report = self.publish(taken, Stop::never(), || ()).await?;
        self.flush_heap().await;
        Ok(report)
    }

    /// Makes passes until `shutdown` completes, and waits for work in between. Up to
    /// [`concurrency`](crate::OutboxConfigBuilder::concurrency) claims are published at the same time.
    ///
    /// After `shutdown` a running publish gets the grace time; events that are not published by then
    /// are released without a charge. While the store is unavailable, calls are repeated with
    /// growing pauses. The start, the end and a fatal error are logged.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) and [`Corrupt`](crate::ErrorKind::Corrupt) errors of the store,
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

    pub(crate) async fn work(&mut self, stop: Stop) -> Result<(), OutboxError> {
        tracing::info!(config = ?self.config, "worker started");
        let result = crew::run(self, stop).await;
        if let Err(error) = &result {
            tracing::error!(%error, "worker stopped by an error that a retry cannot fix");
            return result;
        }
        self.flush_heap().await;
        let published = self.state().published;
        tracing::info!(published, "worker stopped");
        Ok(())
    }

    #[cfg(feature = "dlq")]
    async fn flush_heap(&self) {
        if let Some(heap) = &self.heap
            && heap.flush(&self.config, &self.observers).await
        {
            self.threshold_crossed.notify_one();
        }
    }

    /// Whether there are outcomes that the heap can be told of now.
    #[cfg(feature = "dlq")]
    fn is_report_due(&self) -> bool {
        self.heap.as_ref().is_some_and(HeapReporter::is_due)
    }

    #[cfg(feature = "dlq")]
    fn is_heap_lagging(&self) -> bool {
        self.heap.as_ref().is_some_and(HeapReporter::is_lagging)
    }
}

/// What a worker without the feature `dlq` does.
#[cfg(not(feature = "dlq"))]
#[expect(
    clippy::unused_async,
    clippy::unused_self,
    reason = "the heap's methods need them"
)]
impl OutboxProcessor {
    async fn flush_heap(&self) {}

    fn is_report_due(&self) -> bool {
        false
    }

    fn is_heap_lagging(&self) -> bool {
        false
    }
}
