//! A wait before each call of a store, a heap and a broker, so that a test can stop there.

use crate::Around;
use crate::transport::MemoryBroker;
use async_trait::async_trait;
use outbox_core::{Event, OutboxError, PublishError, Transport};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Poll;

/// Counts the calls that are about to start.
#[derive(Debug, Default)]
pub(super) struct Steps(AtomicUsize);

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

impl Around for Steps {
    async fn around<T: Send>(
        &self,
        _: &'static str,
        call: impl Future<Output = Result<T, OutboxError>> + Send,
    ) -> Result<T, OutboxError> {
        self.take().await;
        call.await
    }
}

#[derive(Debug)]
pub(super) struct SteppedBroker {
    pub(super) broker: MemoryBroker,
    pub(super) steps: Arc<Steps>,
}

#[async_trait]
impl Transport for SteppedBroker {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        self.steps.take().await;
        self.broker.publish(events).await
    }
}
