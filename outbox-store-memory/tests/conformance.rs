//! The memory store passes the suite, also behind an `Arc`, as a relay shares it.

use async_trait::async_trait;
use outbox_conformance::ManualClock;
use outbox_conformance::registry::{BlockingFixture, Observed, RegistryFixture};
use outbox_conformance::store::{AppTransaction, HoldingFixture, Store, StoreFixture};
use outbox_core::{Event, OutboxError};
use outbox_store_memory::{MemoryStore, MemoryTransaction};
use std::sync::Arc;
use std::time::Duration;

struct Memory {
    clock: ManualClock,
    store: MemoryStore,
    handle: fn(MemoryStore) -> Arc<dyn Store>,
}

impl Memory {
    fn new(handle: fn(MemoryStore) -> Arc<dyn Store>) -> Self {
        let clock = ManualClock::new();
        let store = MemoryStore::new().with_clock(clock.clock());
        Self {
            clock,
            store,
            handle,
        }
    }
}

struct Transaction(MemoryTransaction);

impl AppTransaction for Transaction {
    fn append(&mut self, events: &[Event]) -> Result<(), OutboxError> {
        self.0.append(events)
    }

    fn commit(self: Box<Self>) -> Result<(), OutboxError> {
        self.0.commit()
    }
}

#[async_trait]
impl StoreFixture for Memory {
    async fn handle(&self) -> Arc<dyn Store> {
        (self.handle)(self.store.clone())
    }

    fn begin(&self) -> Box<dyn AppTransaction> {
        Box::new(Transaction(self.store.begin()))
    }

    async fn elapse(&self, time: Duration) {
        self.clock.advance(time);
    }
}

#[async_trait]
impl HoldingFixture for Memory {
    async fn holding_handle(&self) -> Arc<dyn Store> {
        (self.handle)(self.store.clone().block_key_on_dead_letter())
    }
}

outbox_conformance::store_suite!(
    memory,
    Memory::new(|store| Arc::new(store)),
    claims,
    settlements,
    outcomes,
    kept,
    flights,
    held,
    budgets,
    shares,
    races,
    quarantine,
    dead_letters,
    cancellation,
    passes,
    late,
    holding,
);

outbox_conformance::store_suite!(
    shared,
    Memory::new(|store| Arc::new(Arc::new(store))),
    claims,
    settlements,
    outcomes,
    kept,
    flights,
    held,
    budgets,
    shares,
    races,
    quarantine,
    dead_letters,
    cancellation,
    passes,
    late,
    holding,
);

#[async_trait]
impl RegistryFixture for Memory {
    async fn observed(&self) -> Arc<dyn Observed> {
        Arc::new(self.store.handle())
    }
}

#[async_trait]
impl BlockingFixture for Memory {
    async fn blocking_handle(&self) -> Arc<dyn Observed> {
        Arc::new(self.store.handle().block_key_on_dead_letter())
    }
}

outbox_conformance::registry_suite!(
    memory_registry,
    Memory::new(|store| Arc::new(store)),
    reports,
    overviews,
    blocking,
    cancellation
);
