//! The rows that a relay removes regularly, on memory with tokio's paused clock.

use async_trait::async_trait;
use outbox_conformance::transport::MemoryBroker;
use outbox_core::{
    Backlog, Claim, ClaimLimit, ClaimToken, DlqEntry, DlqHeap, EventId, OutboxConfig, OutboxError,
    OutboxStorage, QuarantineOutcome, Relay, Settlement,
};
use outbox_store_memory::MemoryStore;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::sleep;

/// The number of rows that are not needed any more, and the limit of each call that removed some.
#[derive(Debug)]
struct Rows {
    left: usize,
    calls: Vec<usize>,
}

impl Rows {
    fn of(left: usize) -> Mutex<Self> {
        let calls = Vec::new();
        Mutex::new(Self { left, calls })
    }

    fn remove(&mut self, limit: usize) -> usize {
        self.calls.push(limit);
        let removed = self.left.min(limit);
        self.left -= removed;
        removed
    }
}

#[derive(Debug)]
struct Store(MemoryStore, Mutex<Rows>);

#[async_trait]
impl OutboxStorage for Store {
    async fn claim(&self, limit: ClaimLimit, lease: Duration) -> Result<Claim, OutboxError> {
        self.0.claim(limit, lease).await
    }

    async fn settle(&self, token: ClaimToken, all: &[Settlement]) -> Result<(), OutboxError> {
        self.0.settle(token, all).await
    }

    async fn quarantine_events(
        &self,
        entries: &[DlqEntry],
    ) -> Result<Vec<QuarantineOutcome>, OutboxError> {
        self.0.quarantine_events(entries).await
    }

    async fn wait_for_work(&self, at_most: Duration) -> Result<(), OutboxError> {
        self.0.wait_for_work(at_most).await
    }

    async fn backlog(&self) -> Result<Backlog, OutboxError> {
        self.0.backlog().await
    }

    async fn clean_up(&self, limit: usize) -> Result<usize, OutboxError> {
        Ok(self.1.lock().expect("not poisoned").remove(limit))
    }
}

/// A heap whose entries are all older than a day.
struct Heap(Mutex<Rows>);

#[async_trait]
impl DlqHeap for Heap {
    async fn record_failure(&self, _: EventId) -> Result<(), OutboxError> {
        Ok(())
    }

    async fn record_success(&self, _: EventId) -> Result<(), OutboxError> {
        Ok(())
    }

    async fn drain_exceeded(&self, _: u32) -> Result<Vec<DlqEntry>, OutboxError> {
        Ok(Vec::new())
    }

    async fn prune(&self, age: Duration, limit: usize) -> Result<usize, OutboxError> {
        assert_eq!(age, DAY);
        Ok(self.0.lock().expect("not poisoned").remove(limit))
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test(start_paused = true)]
async fn each_minute_a_relay_removes_all_unneeded_rows_in_pages() {
    let store = Arc::new(Store(MemoryStore::new(), Rows::of(2500)));
    let heap = Arc::new(Heap(Rows::of(1500)));
    let config = OutboxConfig::builder().heap_retention(DAY).build();
    let relay = Relay::new(store.clone(), Arc::new(MemoryBroker::new()))
        .dlq_heap(heap.clone())
        .config(config.expect("a valid config"));
    let half_past = sleep(Duration::from_secs(60 + 30));
    relay.run(half_past).await.expect("a clean end");

    // The last call of each finds nothing.
    assert_eq!(store.1.lock().expect("not poisoned").calls, [1000; 4]);
    assert_eq!(heap.0.lock().expect("not poisoned").calls, [1000; 3]);
}
