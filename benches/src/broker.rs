//! A broker that takes its time.

use async_trait::async_trait;
use outbox_core::{Event, PublishError, Transport};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;

/// Each call takes as long. Clones are the same broker.
#[derive(Clone, Debug)]
pub(crate) struct SlowBroker {
    delay: Duration,
    keeps_order: bool,
    count: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
    /// Microseconds of all calls.
    time: Arc<AtomicUsize>,
    arrived: Arc<Notify>,
}

impl SlowBroker {
    pub(crate) fn new(delay: Duration, keeps_order: bool) -> Self {
        Self {
            delay,
            keeps_order,
            count: Arc::default(),
            calls: Arc::default(),
            time: Arc::default(),
            arrived: Arc::default(),
        }
    }

    /// How many events it has.
    pub(crate) fn count(&self) -> usize {
        self.count.load(SeqCst)
    }

    /// Seconds of a call, on average.
    pub(crate) fn call_time(&self) -> f64 {
        self.time.load(SeqCst) as f64 / 1e6 / self.calls.load(SeqCst) as f64
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
        let start = Instant::now();
        if !self.delay.is_zero() {
            // A timer of tokio would end up to a millisecond late.
            let delay = self.delay;
            let slept = spawn_blocking(move || std::thread::sleep(delay)).await;
            slept.expect("no panic");
        }
        self.calls.fetch_add(1, SeqCst);
        let time = start.elapsed().as_micros() as usize;
        self.time.fetch_add(time, SeqCst);
        self.count.fetch_add(events.len(), SeqCst);
        self.arrived.notify_one();
        events.iter().map(|_| Ok(())).collect()
    }

    fn keeps_order(&self) -> bool {
        self.keeps_order
    }
}
