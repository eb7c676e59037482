//! A heap that implements the required methods only.

use async_trait::async_trait;
use outbox_core::{DlqEntry, DlqHeap, EventId, OutboxError};
use outbox_dlq_memory::MemoryDlqHeap;

/// The required methods of a heap in memory. The other methods are the provided ones of the trait.
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
