//! Heaps that are less than an adapter.

use async_trait::async_trait;
use outbox_core::{DlqEntry, DlqHeap, ErrorKind, EventId, OutboxError};
use outbox_dlq_memory::MemoryDlqHeap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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

/// A heap that fails every call until it is mended.
#[derive(Debug, Default)]
pub struct BrokenHeap {
    heap: MemoryDlqHeap,
    mended: AtomicBool,
    refused: AtomicU64,
}

impl BrokenHeap {
    /// Lets the calls through from now on.
    pub fn mend(&self) {
        self.mended.store(true, Ordering::SeqCst);
    }

    /// The heap behind it.
    #[must_use]
    pub fn inner(&self) -> &MemoryDlqHeap {
        &self.heap
    }

    /// Calls that failed so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::SeqCst)
    }

    fn check(&self) -> Result<(), OutboxError> {
        if self.mended.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::SeqCst);
        Err(OutboxError::new(ErrorKind::Unavailable, "broken", "any"))
    }
}

#[async_trait]
impl DlqHeap for BrokenHeap {
    async fn record_failure(&self, id: EventId) -> Result<(), OutboxError> {
        self.check()?;
        self.heap.record_failure(id).await
    }

    async fn record_success(&self, id: EventId) -> Result<(), OutboxError> {
        self.check()?;
        self.heap.record_success(id).await
    }

    async fn drain_exceeded(&self, threshold: u32) -> Result<Vec<DlqEntry>, OutboxError> {
        self.check()?;
        self.heap.drain_exceeded(threshold).await
    }
}
