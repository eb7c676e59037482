//! The contract between a heap, which counts failures per event, and the processors.

use crate::dlq::model::{DlqEntry, FailedAttempt, HeapSize};
use crate::error::OutboxError;
use crate::object::EventId;
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

/// Counts the failed attempts of each event, and returns the events that reached a threshold.
///
/// The three required methods are a complete implementation. The provided methods do the same work
/// one call at a time or less safely; every adapter of this project overrides them.
/// [`OutboxProcessor`](crate::processor::OutboxProcessor) reports outcomes here after each pass;
/// [`DlqProcessor`](crate::dlq::processor::DlqProcessor) leases the entries that must be quarantined.
///
/// - **H1** n failures of an id, which may be any UUID, count n, from any number of tasks and
///   handles.
/// - **H2** A drain returns the entries whose count is at least the threshold of this call, and no
///   others. A threshold of 0 behaves as 1.
/// - **H3** Counts are exact up to `u32::MAX` and stay there.
/// - **H4** Forgetting an id clears its count; an unknown id is Ok and creates nothing.
/// - **H5** A drained id is gone: its next failure counts 1.
/// - **H6** Concurrent drains return disjoint entries, and together all. An event that is forgotten
///   during a drain is drained or forgotten, and not kept.
/// - **H7** A batch of any size has the effect of its single calls. Batches that name the same events
///   in opposite orders do not deadlock.
/// - **H8** A leased entry is in no other lease and no drain until its lease runs out. Then it is
///   back with all its counts.
/// - **H9** Of N entries over the threshold, each is leased within ⌈N/limit⌉ calls, also while new
///   ones arrive. Other calls are answered while entries are leased.
/// - **H10** An entry has the latest error text that was given for it.
/// - **H11** Times are measured by the heap's clock, and the first failure is never after the last.
/// - **H12** Two namespaces never share an entry, also with unusual names.
/// - **H13** Stored data that is not a valid entry is skipped with a warning through `tracing`, and
///   costs no valid entry.
/// - **H14** Concurrent calls on one event are linearizable. A drain or a lease is atomic for each
///   event, but not across events.
/// - **H15** A heap that stores its entries outside its handles keeps them when all handles are
///   closed. A heap on a server keeps every answered call when the server dies.
/// - **H16** While failures, drains and leases run concurrently, each failure is in one drain or still
///   counted.
/// - **H17** The size counts all entries, also leased ones, and has their oldest first failure.
/// - **H18** A prune forgets at most `limit` entries, only those whose last failure is older than the
///   age, and no leased entry.
/// - **H19** A call whose future is dropped is applied or not, and later calls on the handle work.
/// - **H20** A call whose connection is cut is [`Unavailable`](crate::ErrorKind::Unavailable) and is
///   applied or not. The next call on the handle works.
///
/// An `Err` may mean that only the reply was lost. A count may then be one too high, never too low.
///
/// # Example
///
/// ```
/// # use outbox_core::{DlqHeap, EventId, OutboxError};
/// async fn three_strikes(heap: &impl DlqHeap, id: EventId) -> Result<(), OutboxError> {
///     for _ in 0..3 {
///         heap.record_failure(id).await?;
///     }
///     let exceeded = heap.drain_exceeded(3).await?;
///     assert!(exceeded.iter().any(|entry| entry.id == id));
///     Ok(())
/// }
/// ```
#[async_trait]
pub trait DlqHeap: Send + Sync {
    /// Adds one to the failure count of `id`.
    ///
    /// # Errors
    ///
    /// On an error the failure may have been counted.
    async fn record_failure(&self, id: EventId) -> Result<(), OutboxError>;

    /// Forgets the failures of `id`, because it was published.
    ///
    /// # Errors
    ///
    /// On an error the count may have been cleared; calling again is harmless.
    async fn record_success(&self, id: EventId) -> Result<(), OutboxError>;

    /// Removes and returns every entry that is not leased and whose count is at least `threshold`.
    ///
    /// No two calls return the same entry. The result has no duplicates and no order. The returned
    /// entries are no longer stored: a caller that must not lose them uses
    /// [`lease_exceeded`](Self::lease_exceeded). A drain that finds nothing is Ok and changes nothing.
    ///
    /// # Errors
    ///
    /// Entries may have been removed if the reply was lost; their events then count from 1 again.
    async fn drain_exceeded(&self, threshold: u32) -> Result<Vec<DlqEntry>, OutboxError>;

    /// Counts many failed attempts in one round trip. An id may occur several times.
    ///
    /// # Errors
    ///
    /// An adapter counts all attempts or none, unless the reply was lost. The provided form counts
    /// them one by one, so on an error it may have counted some.
    async fn record_failures(&self, failures: &[FailedAttempt]) -> Result<(), OutboxError> {
        for failure in failures {
            self.record_failure(failure.id).await?;
        }
        Ok(())
    }

    /// Forgets many events in one round trip, because they were published or quarantined. Also ends
    /// their leases.
    ///
    /// # Errors
    ///
    /// On an error some may have been forgotten; calling again is harmless.
    async fn forget(&self, ids: &[EventId]) -> Result<(), OutboxError> {
        for id in ids {
            self.record_success(*id).await?;
        }
        Ok(())
    }

    /// Hides up to `limit` entries whose count is at least `threshold` for `lease`, and returns them.
    ///
    /// They stay in the heap until they are forgotten, so a caller that dies loses nothing. No two
    /// leases have the same entry. A failure during the lease is counted and does not end the lease.
    ///
    /// The provided form drains instead: it may return more than `limit` entries, and if the caller
    /// dies their counts are lost. [`DlqProcessor`](crate::dlq::processor::DlqProcessor) warns once
    /// when a heap returns more than `limit` entries.
    ///
    /// # Errors
    ///
    /// Entries may have been leased if the reply was lost; they return when the lease runs out.
    async fn lease_exceeded(
        &self,
        threshold: u32,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<DlqEntry>, OutboxError> {
        let _ = (limit, lease);
        self.drain_exceeded(threshold).await
    }

    /// The number of entries, also leased ones. The provided form is `None`: this heap cannot count.
    async fn size(&self) -> Result<Option<HeapSize>, OutboxError> {
        Ok(None)
    }

    /// Forgets up to `limit` entries whose last failure is older than `age`, and returns how many.
    /// Leased entries stay. The provided form forgets nothing.
    ///
    /// # Errors
    ///
    /// On an error some may have been forgotten; calling again is harmless.
    async fn prune(&self, age: Duration, limit: usize) -> Result<usize, OutboxError> {
        let _ = (age, limit);
        Ok(0)
    }
}

#[async_trait]
impl<T: DlqHeap + ?Sized> DlqHeap for Arc<T> {
    async fn record_failure(&self, id: EventId) -> Result<(), OutboxError> {
        (**self).record_failure(id).await
    }

    async fn record_success(&self, id: EventId) -> Result<(), OutboxError> {
        (**self).record_success(id).await
    }

    async fn drain_exceeded(&self, threshold: u32) -> Result<Vec<DlqEntry>, OutboxError> {
        (**self).drain_exceeded(threshold).await
    }

    async fn record_failures(&self, failures: &[FailedAttempt]) -> Result<(), OutboxError> {
        (**self).record_failures(failures).await
    }

    async fn forget(&self, ids: &[EventId]) -> Result<(), OutboxError> {
        (**self).forget(ids).await
    }

    async fn lease_exceeded(
        &self,
        threshold: u32,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<DlqEntry>, OutboxError> {
        (**self).lease_exceeded(threshold, limit, lease).await
    }

    async fn size(&self) -> Result<Option<HeapSize>, OutboxError> {
        (**self).size().await
    }

    async fn prune(&self, age: Duration, limit: usize) -> Result<usize, OutboxError> {
        (**self).prune(age, limit).await
    }
}
