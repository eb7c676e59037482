//! The fixture of a heap with one fault.

use super::Fault as F;
use super::saboteur::{Done, Saboteur};
use async_trait::async_trait;
use outbox_conformance::heap::{CorruptFixture, CrashFixture, HeapFixture, NamedFixture};
use outbox_core::{DlqEntry, DlqHeap, EventId, OutboxError};
use std::sync::Arc;
use std::time::Duration;

#[async_trait]
impl HeapFixture for Saboteur {
    async fn handle(&self) -> Arc<dyn DlqHeap> {
        let mut handle = self.clone();
        let before = self.session.lock().expect("no panic").upgrade();
        if before.is_none() && self.fault == F::ForgetsWithItsHandles {
            drop(self.heap.drain_exceeded(1).await);
        }
        let session = before.unwrap_or_default();
        *self.session.lock().expect("no panic") = Arc::downgrade(&session);
        handle.open = Some(session);
        Arc::new(handle)
    }

    async fn neighbour(&self) -> Arc<dyn DlqHeap> {
        let mut other = self.clone();
        if self.fault != F::SharesItsNamespace {
            other.heap = self.other.clone();
        }
        Arc::new(other)
    }

    async fn elapse(&self, time: Duration) {
        self.clock.advance(time);
    }

    async fn plant(&self, entry: DlqEntry) {
        self.heap.restore(entry);
    }
}

#[async_trait]
impl NamedFixture for Saboteur {
    async fn named(&self, name: &str) -> Done<Arc<dyn DlqHeap>> {
        if name.len() > 1000 || self.fault == F::RefusesAnyName {
            let allowed = "at most 1000 bytes";
            let problem = format!("name is {name:?}, but must be {allowed}");
            return Err(OutboxError::invalid("saboteur", "open", problem));
        }
        let name = match self.fault {
            F::CutsNames => name.chars().take(63).collect(),
            F::EndsNamesAtAColon => name.split(':').take(1).collect(),
            _ => name.to_owned(),
        };
        let mut handle = self.clone();
        let mut named = self.named.lock().expect("no panic");
        handle.heap = named.entry(name).or_default().clone();
        Ok(Arc::new(handle))
    }
}

#[async_trait]
impl CorruptFixture for Saboteur {
    async fn plant_corrupt(&self, id: EventId) -> Vec<EventId> {
        self.corrupt.lock().expect("no panic").insert(id);
        Vec::new()
    }
}

#[async_trait]
impl CrashFixture for Saboteur {
    async fn crash(&self) {
        // Leases run out in the meantime.
        self.clock.advance(Duration::from_secs(3600));
        for mut entry in self.all().await {
            match self.fault {
                F::CrashLosesTheLastFailures => entry.failure_count -= 1,
                F::CrashCountsTheLastAgain => entry.failure_count += 1,
                _ => {}
            }
            self.heap.restore(entry);
        }
    }
}
