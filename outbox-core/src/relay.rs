//! A worker, the `DlqProcessor` and clean-up in one task.

use crate::config::OutboxConfig;
use crate::error::OutboxError;
use crate::observer::{Observer, Observers};
use crate::outage::Outage;
use crate::processor::{OutboxProcessor, Pauses};
use crate::registry::{RelayProgram, RelayRegistry};
use crate::reporter::Reporter;
use crate::retry;
use crate::sample::Sampler;
use crate::shutdown::{self, Stop};
use crate::storage::OutboxStorage;
use crate::transport::Transport;
use crate::vitals::Vitals;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::time::{Duration, sleep};

#[cfg(feature = "dlq")]
use crate::dlq::{DlqHeap, processor::DlqProcessor};

/// How often rows that are no longer needed are removed.
const CLEAN_UP_INTERVAL: Duration = Duration::from_secs(60);

/// Rows or entries that one step of a clean-up removes.
const CLEAN_UP_LIMIT: usize = 1000;

/// Runs the worker, the `DlqProcessor` and clean-up in one task. See [`run`](Self::run).
///
/// Setters may be called in any order. The store, the transport and the heap may be shared: an
/// `Arc` of each is accepted as well, also an `Arc<dyn …>`.
///
/// ```
/// # use outbox_core::{OutboxConfig, OutboxError, OutboxStorage, Relay, Transport};
/// async fn relay(
///     store: impl OutboxStorage + 'static,
///     broker: impl Transport + 'static,
///     shutdown: impl Future<Output = ()> + Send,
/// ) -> Result<(), OutboxError> {
///     let config = OutboxConfig::builder().batch_size(500).build()?;
///     Relay::new(store, broker).config(config).run(shutdown).await
/// }
/// ```
pub struct Relay {
    storage: Arc<dyn OutboxStorage>,
    transport: Arc<dyn Transport>,
    config: OutboxConfig,
    pauses: Pauses,
    observers: Observers,
    vitals: Vitals,
    reporter: Option<Reporter>,
    #[cfg(feature = "dlq")]
    heap: Option<Arc<dyn DlqHeap>>,
}

impl Relay {
    /// A relay with the default options and no heap: a rejected event is retried forever.
    ///
    /// ```
    /// # use outbox_core::{OutboxStorage, Relay, Transport};
    /// # use std::sync::Arc;
    /// # fn example(store: Arc<dyn OutboxStorage>, broker: impl Transport + 'static) -> Relay {
    /// Relay::new(store, broker)
    /// # }
    /// ```
    #[must_use]
    pub fn new(storage: impl OutboxStorage + 'static, transport: impl Transport + 'static) -> Self {
        Self {
            storage: Arc::new(storage),
            transport: Arc::new(transport),
            config: OutboxConfig::default(),
            pauses: Pauses::default(),
            observers: Observers::default(),
            vitals: Vitals::default(),
            reporter: None,
            #[cfg(feature = "dlq")]
            heap: None,
        }
    }

    /// Counts failures in `heap`, and quarantines events that reach the threshold.
    ///
    /// ```
    /// # use outbox_core::{DlqHeap, OutboxStorage, Relay, Transport};
    /// # fn relay(
    /// #     store: impl OutboxStorage + 'static,
    /// #     broker: impl Transport + 'static,
    /// #     heap: impl DlqHeap + 'static,
    /// # ) -> Relay {
    /// Relay::new(store, broker).dlq_heap(heap)
    /// # }
    /// ```
    #[cfg(feature = "dlq")]
    #[must_use]
    pub fn dlq_heap(mut self, heap: impl DlqHeap + 'static) -> Self {
        self.heap = Some(Arc::new(heap));
        self
    }

    /// Writes a row for this relay into `registry` every 10 seconds, and removes it at the end, so that
    /// `outbox status` shows the relay. `registry` is the store of this relay: the same handle, or a
    /// clone of it, so that its claims are shown as those of this relay. By default the relay has no row.
    ///
    /// A registry that fails or hangs is logged and stops nothing.
    ///
    /// ```
    /// # use outbox_core::{OutboxStorage, Relay, RelayProgram, RelayRegistry, Transport};
    /// fn relay<S>(store: S, broker: impl Transport + 'static) -> Relay
    /// where
    ///     S: OutboxStorage + RelayRegistry + Clone + 'static,
    /// {
    ///     let program = RelayProgram::new("web-1", std::process::id(), env!("CARGO_PKG_VERSION"));
    ///     Relay::new(store.clone(), broker).registry(store, program)
    /// }
    /// ```
    #[must_use]
    pub fn registry(
        mut self,
        registry: impl RelayRegistry + 'static,
        program: RelayProgram,
    ) -> Self {
        self.reporter = Some(Reporter::new(Arc::new(registry), program));
        self
    }

    /// Replaces the options.
    #[must_use]
    pub fn config(mut self, config: OutboxConfig) -> Self {
        self.config = config;
        self
    }

    /// Adds an observer, for metrics and health checks. All of them see the same, in the order in which they were
    /// added.
    ///
    /// With one, the relay also asks the store for its backlog from time to time
    /// ([`sample_interval`](crate::OutboxConfigBuilder::sample_interval)).
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    /// The destinations that get no events for now. Take it before [`run`](Self::run), for health checks
    /// and status pages.
    ///
    /// ```
    /// # use outbox_core::Relay;
    /// # fn example(relay: Relay) {
    /// let pauses = relay.pauses();
    /// for pause in pauses.list() {
    ///     println!("{:?}: {}", pause.destination, pause.error.as_str());
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn pauses(&self) -> Pauses {
        self.pauses.clone()
    }

    /// Publishes and quarantines until `shutdown` completes, then ends within the grace time.
    ///
    /// ```
    /// # use outbox_core::Relay;
    /// # async fn example(relay: Relay) -> Result<(), Box<dyn std::error::Error>> {
    /// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    /// let running = tokio::spawn(relay.run(async { drop(stopped.await) }));
    /// // Later, when the program ends:
    /// drop(stop);
    /// running.await??;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`OutboxProcessor::run`].
    ///
    /// # Cancel safety
    ///
    /// As for [`OutboxProcessor::process_pending_events`]; prefer `shutdown`.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), OutboxError> {
        let (stopper, stop) = shutdown::channel();
        let mut worker = self.worker();
        #[cfg(feature = "dlq")]
        let wake = worker.threshold_crossed();
        // On the heap, so that the caller's future stays small.
        let work = Box::pin(async {
            let result = worker.work(stop.clone()).await;
            stopper.stop(self.config.shutdown_grace());
            result
        });
        let signal = async {
            let mut ended = stop.clone();
            tokio::select! {
                () = shutdown => stopper.stop(self.config.shutdown_grace()),
                () = ended.wait() => {}
            }
        };
        let quarantine = async {
            #[cfg(feature = "dlq")]
            if let Some(heap) = &self.heap {
                DlqProcessor::new(Arc::clone(heap), Arc::clone(&self.storage))
                    .config(self.config.clone())
                    .with_observers(self.observers.clone())
                    .with_vitals(&self.vitals)
                    .work(stop.clone(), &wake)
                    .await;
            }
        };
        let sampler = self.sampler();
        let all = async {
            let clean_up = self.clean_up_regularly(stop.clone());
            let sample = sampler.run(stop.clone());
            tokio::join!(work, quarantine, clean_up, sample, signal).0
        };
        let result = tokio::select! {
            result = all => result,
            never = self.report_regularly() => match never {},
        };
        if let Some(reporter) = &self.reporter {
            reporter.withdraw(stop).await;
        }
        result
    }

    async fn report_regularly(&self) -> Infallible {
        match &self.reporter {
            Some(reporter) => reporter.run(&self.vitals, &self.pauses).await,
            None => std::future::pending().await,
        }
    }

    fn worker(&self) -> OutboxProcessor {
        let worker = OutboxProcessor::new(Arc::clone(&self.storage), Arc::clone(&self.transport))
            .config(self.config.clone())
            .with_pauses(self.pauses.clone())
            .with_observers(self.observers.clone());
        #[cfg(feature = "dlq")]
        if let Some(heap) = &self.heap {
            return worker.dlq_heap(Arc::clone(heap)).with_vitals(&self.vitals);
        }
        worker.with_vitals(&self.vitals)
    }

    fn sampler(&self) -> Sampler<'_> {
        Sampler {
            storage: &*self.storage,
            transport: &*self.transport,
            #[cfg(feature = "dlq")]
            heap: self.heap.as_deref(),
            config: &self.config,
            observers: &self.observers,
        }
    }

    async fn clean_up_regularly(&self, mut stop: Stop) {
        let mut outage = Outage::of("clean-up");
        outage.note_in(&self.vitals);
        loop {
            tokio::select! {
                biased;
                () = stop.wait() => return,
                () = sleep(retry::spread(CLEAN_UP_INTERVAL)) => {}
            }
            tokio::select! {
                biased;
                () = stop.wait() => return,
                result = self.clean_up() => match result {
                    Ok(()) => outage.succeeded(),
                    Err(error) => {
                        outage.failed(&error, "it is tried again every minute");
                    }
                },
            }
        }
    }

    async fn clean_up(&self) -> Result<(), OutboxError> {
        while self.storage.clean_up(CLEAN_UP_LIMIT).await? > 0 {}
        #[cfg(feature = "dlq")]
        if let Some(heap) = &self.heap {
            let retention = self.config.heap_retention();
            while heap.prune(retention, CLEAN_UP_LIMIT).await? > 0 {}
        }
        Ok(())
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay")
            .field("storage", &self.storage)
            .field("transport", &self.transport)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
