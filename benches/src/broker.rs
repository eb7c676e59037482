//! A broker that takes its time.

use async_trait::async_trait;
use outbox_core::{Event, PublishError, Transport};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// Each call takes as long. Clones are the same broker.
#[derive(Clone, Debug)]
pub(crate) struct SlowBroker {
    delay: Duration,
    keeps_order: bool,
    count: Arc<AtomicUsize>,
    arrived: Arc<Notify>,
}

impl SlowBroker {
    pub(crate) fn new(delay: Duration, keeps_order: bool) -> Self {
        Self {
            delay,
            keeps_order,
            count: Arc::default(),
            arrived: Arc::default(),
        }
    }

    /// How many events it has.
    pub(crate) fn count(&self) -> usize {
        self.count.load(SeqCst)
    }

    /// Waits until it has so many events.
    pub(crate) async fn has(&self, events: usize) {
        while self.count() < events {
            self.arrived.notified().await;
        }
    }
}

#[async_trait]
impl Transport for SlowBroker {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        if !self.delay.is_zero() {
            sleep(self.delay).await;
        }
        self.count.fetch_add(events.len(), SeqCst);
        self.arrived.notify_one();
        events.iter().map(|_| Ok(())).collect()
    }

    fn keeps_order(&self) -> bool {
        self.keeps_order
    }
}
