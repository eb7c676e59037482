//! A heap that is less than an adapter.

use async_trait::async_trait;
use outbox_core::{DlqEntry, DlqHeap, EventId, OutboxError};
use outbox_dlq_memory::MemoryDlqHeap;

/// A heap of the three required methods alone.
#[derive(Debug, Default)]
pub struct SeedHeap(pub MemoryDlqHeap);

#[async_trait]
impl DlqHeap for SeedHeap {
    async fn record_failure(&self, id: EventId) -> Result<(), OutboxError> {
        self.0.record_failure(id).await
    }

    async fn record_success(&self, id: EventId) -> Result<(), OutboxError> {
        self.0.record_success(id).await
    }

    async fn drain_exceeded(&self, threshold: u32) -> Result<Vec<DlqEntry>, OutboxError> {
        self.0.drain_exceeded(threshold).await
    }
}
