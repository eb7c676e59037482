//! From pass to pass: when a worker waits, and which errors of the store end it.

use async_trait::async_trait;
use integration_tests::{assert_each_once, keyed_events};
use outbox_conformance::transport::MemoryBroker;
use outbox_core::{
    Backlog, Claim, ClaimToken, DlqEntry, ErrorKind, OutboxConfig, OutboxError, OutboxProcessor,
    OutboxStorage, QuarantineOutcome, Settlement,
};
use outbox_store_memory::MemoryOutbox;
use std::future::pending;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::time::sleep;

/// A store in memory whose next claim may fail, and that tells of the first wait for work.
#[derive(Debug, Default)]
struct Watched {
    store: MemoryOutbox,
    fails: Mutex<Option<ErrorKind>>,
    /// How many events were not settled yet when the worker waited first.
    pending_at_first_wait: OnceLock<u64>,
}

#[async_trait]
impl OutboxStorage for Watched {
    async fn claim(&self, limit: usize, lease: Duration) -> Result<Claim, OutboxError> {
        let failure = self.fails.lock().expect("not poisoned").take();
        if let Some(kind) = failure {
            return Err(OutboxError::new(kind, "watched", "claim"));
        }
        self.store.claim(limit, lease).await
    }

    async fn settle(
        &self,
        token: ClaimToken,
        settlements: &[Settlement],
    ) -> Result<(), OutboxError> {
        self.store.settle(token, settlements).await
    }

    async fn quarantine_events(
        &self,
        entries: &[DlqEntry],
    ) -> Result<Vec<QuarantineOutcome>, OutboxError> {
        self.store.quarantine_events(entries).await
    }

    async fn wait_for_work(&self, at_most: Duration) -> Result<(), OutboxError> {
        let pending = self.store.backlog().await?.pending;
        self.pending_at_first_wait.get_or_init(|| pending);
        self.store.wait_for_work(at_most).await
    }

    async fn backlog(&self) -> Result<Backlog, OutboxError> {
        self.store.backlog().await
    }
}

fn worker(store: &Arc<Watched>, broker: &MemoryBroker) -> OutboxProcessor {
    let config = OutboxConfig::builder().batch_size(10).build();
    OutboxProcessor::new(store.clone(), Arc::new(broker.clone())).config(config.expect("valid"))
}

#[tokio::test(start_paused = true)]
async fn a_worker_waits_only_when_nothing_is_due() {
    let (store, broker) = (Arc::new(Watched::default()), MemoryBroker::new());
    let events = keyed_events(50, 1);
    store.store.append(&events).expect("appended");
    let stop = sleep(Duration::from_secs(1));
    worker(&store, &broker).run(stop).await.expect("stopped");
    assert_each_once(&broker.events(), &events);
    let pending = store.pending_at_first_wait.get();
    assert_eq!(pending, Some(&0), "it waited while events were due");
}

#[tokio::test(start_paused = true)]
async fn an_error_that_only_a_person_can_mend_ends_a_worker() {
    for kind in [ErrorKind::Invalid, ErrorKind::Corrupt] {
        let (store, broker) = (Arc::new(Watched::default()), MemoryBroker::new());
        *store.fails.lock().expect("not poisoned") = Some(kind);
        let run = worker(&store, &broker).run(pending());
        // The clock is paused: this limit costs no time, and a worker that goes on reaches it.
        let ended = tokio::time::timeout(Duration::from_secs(3600), run).await;
        let error = ended.expect("it ends").expect_err("with the error");
        assert_eq!(error.kind(), kind);
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_goes_on_after_an_error_that_passes() {
    for kind in [
        ErrorKind::Unavailable,
        ErrorKind::Conflict,
        ErrorKind::Duplicate,
        ErrorKind::LeaseLost,
    ] {
        let (store, broker) = (Arc::new(Watched::default()), MemoryBroker::new());
        let events = keyed_events(3, 1);
        store.store.append(&events).expect("appended");
        *store.fails.lock().expect("not poisoned") = Some(kind);
        let stop = sleep(Duration::from_secs(3600));
        let ended = worker(&store, &broker).run(stop).await;
        ended.unwrap_or_else(|error| panic!("{kind:?} ended it: {}", error.report()));
        assert_each_once(&broker.events(), &events);
    }
}
