//! Faults with many entries: bounds, orders, locks.

use super::super::Fault as F;
use super::{Done, Saboteur};
use outbox_core::{DlqEntry, DlqHeap, EventId, HeapSize};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;

impl Saboteur {
    pub(super) async fn drain_a_thousand(&self, threshold: u32) -> Done<Vec<DlqEntry>> {
        let mut drained = self.heap.drain_exceeded(threshold).await?;
        for entry in drained.drain(drained.len().min(1000)..) {
            self.heap.restore(entry);
        }
        Ok(drained)
    }

    /// Takes the lock of each event in turn. What is locked already waits for its holder.
    pub(super) async fn lock_each(&self, ids: &[EventId]) -> Vec<OwnedSemaphorePermit> {
        let mut held = Vec::new();
        for id in ids {
            let lock = {
                let mut locks = self.locks.lock().expect("no panic");
                let lock = locks.entry(*id);
                lock.or_insert_with(|| Semaphore::new(1).into()).clone()
            };
            held.push(lock.acquire_owned().await.expect("never closed"));
            yield_now().await;
        }
        held
    }

    /// Others wait until what it leased is forgotten.
    pub(super) async fn lease_and_lock(
        &self,
        threshold: u32,
        limit: usize,
        lease: Duration,
    ) -> Done<Vec<DlqEntry>> {
        let leased = self.heap.lease_exceeded(threshold, limit, lease).await?;
        if !leased.is_empty() {
            self.free.acquire().await.expect("never closed").forget();
        }
        Ok(leased)
    }

    pub(super) async fn wait_for_leases(&self) {
        drop(self.free.acquire().await.expect("never closed"));
    }

    /// Leaves what failed long ago for later.
    pub(super) async fn lease_newest(
        &self,
        threshold: u32,
        limit: usize,
        lease: Duration,
    ) -> Done<Vec<DlqEntry>> {
        let mut older = self.heap.drain_exceeded(threshold).await?;
        older.sort_by_key(|entry| (entry.last_failed_at, entry.id));
        for entry in older.drain(older.len().saturating_sub(limit)..) {
            self.heap.restore(entry);
        }
        let leased = self.heap.lease_exceeded(threshold, limit, lease).await;
        for entry in older {
            self.heap.restore(entry);
        }
        leased
    }

    /// The size without what is leased, or with the time of the latest entry.
    pub(super) async fn size_of_some(&self) -> Done<Option<HeapSize>> {
        let free = self.all().await;
        let times = free.iter().map(|entry| entry.first_failed_at);
        if self.fault == F::SizeOmitsLeased {
            return Ok(Some(HeapSize::new(free.len() as u64, times.min())));
        }
        let size = self.heap.size().await?;
        Ok(size.map(|size| HeapSize::new(size.entries, times.max())))
    }
}
