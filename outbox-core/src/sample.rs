//! What a relay with an observer asks from time to time.

use crate::config::OutboxConfig;
use crate::error::OutboxError;
use crate::observer::{Observation, Observers};
use crate::outage::Outage;
use crate::retry;
use crate::shutdown::Stop;
use crate::storage::{Backlog, OutboxStorage};
use crate::transport::Transport;
use tokio::time::{Duration, Instant, sleep};

#[cfg(feature = "dlq")]
use crate::dlq::DlqHeap;
#[cfg(feature = "dlq")]
use crate::processor::bounded;

/// To count a large backlog takes the store a while. It spends at most a part of so many of its time on this.
const SHARE: u32 = 20;

/// The longest pause after a count that failed, so that the next one is soon after the store works again.
const AFTER_ERROR: Duration = Duration::from_secs(10);

/// Samples the backlog, the size of the heap and the duplicates, one sample at a time.
pub(crate) struct Sampler<'r> {
    pub(crate) storage: &'r dyn OutboxStorage,
    pub(crate) transport: &'r dyn Transport,
    #[cfg(feature = "dlq")]
    pub(crate) heap: Option<&'r dyn DlqHeap>,
    pub(crate) config: &'r OutboxConfig,
    pub(crate) observers: &'r Observers,
}

impl Sampler<'_> {
    /// Samples at each interval until `stop`. Without an observer nothing is asked.
    pub(crate) async fn run(&self, mut stop: Stop) {
        if self.observers.is_empty() {
            return;
        }
        let mut outage = Outage::of("backlog");
        let mut duplicates = 0;
        loop {
            let start = Instant::now();
            let sampled = tokio::select! {
                biased;
                () = stop.wait() => return,
                sampled = self.sample() => sampled,
            };
            self.count_duplicates(&mut duplicates);
            let interval = retry::spread(self.config.sample_interval());
            let next = match sampled {
                Ok((backlog, took)) => {
                    let (backlog, next) = (&backlog, interval.max(took * SHARE));
                    outage.succeeded();
                    let sample = Observation::Backlog { backlog, next };
                    self.observers.notify(sample);
                    next
                }
                Err(error) => {
                    outage.failed(&error, "metrics and health checks have an old one");
                    interval.max((start.elapsed() * SHARE).min(AFTER_ERROR))
                }
            };
            tokio::select! {
                biased;
                () = stop.wait() => return,
                () = sleep(next) => {}
            }
        }
    }

    /// The backlog, and for how long the store and the heap counted. A heap that does not answer does not count.
    async fn sample(&self) -> Result<(Backlog, Duration), OutboxError> {
        let start = Instant::now();
        let backlog = self.storage.backlog().await?;
        let took = start.elapsed();
        #[cfg(feature = "dlq")]
        let took = if self.sample_heap().await {
            start.elapsed()
        } else {
            took
        };
        Ok((backlog, took))
    }

    /// Returns whether the heap has answered.
    #[cfg(feature = "dlq")]
    async fn sample_heap(&self) -> bool {
        let Some(heap) = self.heap else {
            return false;
        };
        let limit = self.config.heap_timeout();
        let size = bounded(limit, "size", heap.size()).await;
        self.observers.note_heap(&size);
        if let Ok(Some(size)) = size {
            self.observers.notify(Observation::HeapSize(&size));
            return true;
        }
        false
    }

    fn count_duplicates(&self, before: &mut u64) {
        let now = self.transport.duplicates();
        let events = now.saturating_sub(*before);
        *before = now;
        if events > 0 {
            self.observers.notify(Observation::Duplicates { events });
        }
    }
}
