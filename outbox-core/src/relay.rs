//! The worker, the dead-letter processor and the housekeeping, joined.

use crate::config::OutboxConfig;
use crate::error::OutboxError;
use crate::processor::OutboxProcessor;
use crate::shutdown::{self, Stop};
use crate::storage::OutboxStorage;
use crate::transport::Transport;
use std::sync::Arc;
use tokio::time::{Duration, sleep};

#[cfg(feature = "dlq")]
use crate::dlq::{DlqHeap, processor::DlqProcessor};

/// How often rows that nobody needs any more are removed.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// Everything that a program needs to run beside its outbox. See [`run`](Self::run).
pub struct Relay {
    storage: Arc<dyn OutboxStorage>,
    transport: Arc<dyn Transport>,
    config: OutboxConfig,
    #[cfg(feature = "dlq")]
    heap: Option<Arc<dyn DlqHeap>>,
}

impl Relay {
    /// A relay with the default options and no heap: a rejected event is retried for ever.
    #[must_use]
    pub fn new(storage: Arc<dyn OutboxStorage>, transport: Arc<dyn Transport>) -> Self {
        Self {
            storage,
            transport,
            config: OutboxConfig::default(),
            #[cfg(feature = "dlq")]
            heap: None,
        }
    }

    /// Counts failures in `heap`, and quarantines events that reach the threshold.
    #[cfg(feature = "dlq")]
    #[must_use]
    pub fn dlq_heap(mut self, heap: Arc<dyn DlqHeap>) -> Self {
        self.heap = Some(heap);
        self
    }

    /// Replaces the options.
    #[must_use]
    pub fn config(mut self, config: OutboxConfig) -> Self {
        self.config = config;
        self
    }

    /// Publishes and quarantines until `shutdown` completes, then ends within the grace time.
    ///
    /// # Errors
    ///
    /// As [`OutboxProcessor::run`].
    ///
    /// # Cancel safety
    ///
    /// As [`OutboxProcessor::process_pending_events`]; prefer `shutdown`.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), OutboxError> {
        let (stopper, stop) = shutdown::channel();
        let mut worker = self.worker();
        #[cfg(feature = "dlq")]
        let wake = worker.threshold_crossed();
        let work = async {
            let result = worker.work(stop.clone()).await;
            stopper.stop(self.config.shutdown_grace);
            result
        };
        let signal = async {
            let mut ended = stop.clone();
            tokio::select! {
                () = shutdown => stopper.stop(self.config.shutdown_grace),
                () = ended.wait() => {}
            }
        };
        let quarantine = async {
            #[cfg(feature = "dlq")]
            if let Some(heap) = &self.heap {
                DlqProcessor::new(Arc::clone(heap), Arc::clone(&self.storage))
                    .config(self.config.clone())
                    .work(stop.clone(), &wake)
                    .await;
            }
        };
        let (result, (), (), ()) =
            tokio::join!(work, quarantine, self.keep_house(stop.clone()), signal);
        result
    }

    fn worker(&self) -> OutboxProcessor {
        let worker = OutboxProcessor::new(Arc::clone(&self.storage), Arc::clone(&self.transport))
            .config(self.config.clone());
        #[cfg(feature = "dlq")]
        if let Some(heap) = &self.heap {
            return worker.dlq_heap(Arc::clone(heap));
        }
        worker
    }

    async fn keep_house(&self, mut stop: Stop) {
        loop {
            tokio::select! {
                biased;
                () = stop.wait() => return,
                () = sleep(HOUSEKEEPING) => {}
            }
            tokio::select! {
                biased;
                () = stop.wait() => return,
                result = self.clean_up() => if let Err(error) = result {
                    tracing::warn!(error = %error, "housekeeping failed; trying again");
                },
            }
        }
    }

    async fn clean_up(&self) -> Result<(), OutboxError> {
        while self.storage.clean_up(1000).await? > 0 {}
        #[cfg(feature = "dlq")]
        if let Some(heap) = &self.heap {
            while heap.prune(self.config.heap_retention, 1000).await? > 0 {}
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
