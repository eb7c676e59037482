//! A store, a heap and a broker that wait before each call, so that a test can stop there.

use super::Store;
use crate::decorators::decorate;
use crate::heap::Call;
use crate::transport::MemoryBroker;
use async_trait::async_trait;
use outbox_core::{
    Backlog, Claim, ClaimToken, DlqEntry, DlqHeap, Event, OutboxError, OutboxStorage, PublishError,
    QuarantineOutcome, Settlement, Transport,
};
use std::fmt::{self, Debug, Formatter};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Poll;
use std::time::Duration;

/// Counts the calls that are about to begin. Clones share the count.
#[derive(Clone, Debug, Default)]
pub(super) struct Steps(Arc<AtomicUsize>);

impl Steps {
    pub(super) fn taken(&self) -> usize {
        self.0.load(SeqCst)
    }

    /// Waits once.
    async fn take(&self) {
        self.0.fetch_add(1, SeqCst);
        let mut waited = false;
        poll_fn(|context| {
            if waited {
                return Poll::Ready(());
            }
            waited = true;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

#[derive(Debug)]
pub(super) struct SteppedStore {
    pub(super) store: Arc<dyn Store>,
    pub(super) steps: Steps,
}

#[async_trait]
impl OutboxStorage for SteppedStore {
    async fn claim(&self, limit: usize, lease: Duration) -> Result<Claim, OutboxError> {
        self.steps.take().await;
        self.store.claim(limit, lease).await
    }

    async fn settle(&self, token: ClaimToken, all: &[Settlement]) -> Result<(), OutboxError> {
        self.steps.take().await;
        self.store.settle(token, all).await
    }

    async fn quarantine_events(
        &self,
        entries: &[DlqEntry],
    ) -> Result<Vec<QuarantineOutcome>, OutboxError> {
        self.steps.take().await;
        self.store.quarantine_events(entries).await
    }

    fn holds_keys(&self) -> bool {
        self.store.holds_keys()
    }

    async fn wait_for_work(&self, at_most: Duration) -> Result<(), OutboxError> {
        self.steps.take().await;
        self.store.wait_for_work(at_most).await
    }

    async fn backlog(&self) -> Result<Backlog, OutboxError> {
        self.steps.take().await;
        self.store.backlog().await
    }
}

pub(super) struct SteppedHeap {
    pub(super) heap: Arc<dyn DlqHeap>,
    pub(super) steps: Steps,
}

impl SteppedHeap {
    async fn around<T>(
        &self,
        _: Call,
        running: impl Future<Output = Result<T, OutboxError>>,
    ) -> Result<T, OutboxError> {
        self.steps.take().await;
        running.await
    }
}

decorate!(SteppedHeap);

impl Debug for SteppedHeap {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SteppedHeap").field(&self.steps).finish()
    }
}

#[derive(Debug)]
pub(super) struct SteppedBroker {
    pub(super) broker: MemoryBroker,
    pub(super) steps: Steps,
}

#[async_trait]
impl Transport for SteppedBroker {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        self.steps.take().await;
        self.broker.publish(events).await
    }
}
