//! A heap over a wire, with one fault when that is cut.

use super::super::Fault as F;
use super::{Done, Saboteur};
use crate::line::Manner;
use async_trait::async_trait;
use outbox_conformance::Wire;
use outbox_conformance::heap::WireFixture;
use outbox_core::{DlqEntry, DlqHeap, ErrorKind, EventId, FailedAttempt, HeapSize};
use std::sync::Arc;
use std::time::Duration;

struct Wired(Saboteur);

impl Wired {
    async fn over_the_wire<T>(&self, call: impl Future<Output = Done<T>>) -> Done<T> {
        let manner = Manner {
            kind: match self.0.fault {
                F::CallsACutInvalid => ErrorKind::Invalid,
                _ => ErrorKind::Unavailable,
            },
            stays_down: self.0.fault == F::StaysDownAfterACut,
        };
        let lost = async |_| self.after_a_lost_reply().await;
        self.0.line.carry(manner, call, lost).await
    }

    async fn after_a_lost_reply(&self) -> Done<()> {
        let heap = &self.0.heap;
        match self.0.fault {
            F::LosesAllWhenCut => drop(heap.drain_exceeded(1).await?),
            F::ResetsWhenCut => {
                for mut entry in self.0.all().await {
                    entry.failure_count = 1;
                    heap.restore(entry);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[async_trait]
impl DlqHeap for Wired {
    async fn record_failure(&self, id: EventId) -> Done<()> {
        self.record_failures(&[FailedAttempt::new(id)]).await
    }

    async fn record_failures(&self, failures: &[FailedAttempt]) -> Done<()> {
        let heap = &self.0.heap;
        match (self.0.fault, failures) {
            (F::RepeatsAFailureWhenCut, _) => {
                match self.over_the_wire(heap.record_failures(failures)).await {
                    Ok(()) => Ok(()),
                    Err(_) => heap.record_failures(failures).await,
                }
            }
            (F::RecordsABatchOneByOne, [first, rest @ ..]) => {
                let first = heap.record_failure(first.id);
                self.over_the_wire(first).await?;
                self.over_the_wire(heap.record_failures(rest)).await
            }
            _ => self.over_the_wire(heap.record_failures(failures)).await,
        }
    }

    async fn record_success(&self, id: EventId) -> Done<()> {
        self.forget(&[id]).await
    }

    async fn forget(&self, ids: &[EventId]) -> Done<()> {
        self.over_the_wire(self.0.heap.forget(ids)).await
    }

    async fn drain_exceeded(&self, threshold: u32) -> Done<Vec<DlqEntry>> {
        let drain = self.0.heap.drain_exceeded(threshold);
        match self.over_the_wire(drain).await {
            Err(_) if self.0.fault == F::TakesACutForEmpty => Ok(Vec::new()),
            drained => drained,
        }
    }

    async fn lease_exceeded(
        &self,
        threshold: u32,
        limit: usize,
        lease: Duration,
    ) -> Done<Vec<DlqEntry>> {
        let heap = &self.0.heap;
        if self.0.fault == F::LeaseIsADrain {
            return self.over_the_wire(heap.drain_exceeded(threshold)).await;
        }
        self.over_the_wire(heap.lease_exceeded(threshold, limit, lease))
            .await
    }

    async fn size(&self) -> Done<Option<HeapSize>> {
        self.over_the_wire(self.0.heap.size()).await
    }

    async fn prune(&self, age: Duration, limit: usize) -> Done<usize> {
        self.over_the_wire(self.0.heap.prune(age, limit)).await
    }
}

#[async_trait]
impl WireFixture for Saboteur {
    async fn wired(&self) -> Arc<dyn DlqHeap> {
        Arc::new(Wired(self.clone()))
    }

    fn wire(&self) -> &dyn Wire {
        &*self.line
    }
}
