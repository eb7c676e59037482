//! Every method of a trait reaches the value inside an `Arc`, also a provided one.

use async_trait::async_trait;
use outbox_core::{
    Backlog, Claim, ClaimLimit, ClaimToken, DeadLetter, DeadLetterFilter, DeadLetterGroup,
    DeadLetters, DlqEntry, DlqHeap, Event, EventId, FailedAttempt, HeapSize, OutboxError,
    OutboxStorage, PublishError, QuarantineOutcome, Settlement, Transport, TransportCheck,
};
use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Records the names of the methods that were called.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<&'static str>>);

impl Recorder {
    fn called<T: Default>(&self, name: &'static str) -> T {
        self.answer(name).unwrap_or_default()
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "the traits' methods return results"
    )]
    fn answer<T: Default>(&self, name: &'static str) -> Result<T, OutboxError> {
        self.0.lock().expect("no panic while locked").push(name);
        Ok(T::default())
    }

    fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.0.lock().expect("no panic while locked"))
    }
}

#[async_trait]
impl OutboxStorage for Recorder {
    async fn claim(&self, _: ClaimLimit, _: Duration) -> Result<Claim, OutboxError> {
        self.answer::<()>("claim")?;
        Ok(Claim::empty())
    }

    async fn settle(&self, _: ClaimToken, _: &[Settlement]) -> Result<(), OutboxError> {
        self.answer("settle")
    }

    async fn quarantine_events(
        &self,
        _: &[DlqEntry],
    ) -> Result<Vec<QuarantineOutcome>, OutboxError> {
        self.answer("quarantine_events")
    }

    fn blocks_key_on_dead_letter(&self) -> bool {
        self.called("blocks_key_on_dead_letter")
    }

    async fn wait_for_work(&self, _: Duration) -> Result<(), OutboxError> {
        self.answer("wait_for_work")
    }

    async fn resume(&self, _: &str, _: usize) -> Result<usize, OutboxError> {
        self.answer("resume")
    }

    async fn backlog(&self) -> Result<Backlog, OutboxError> {
        self.answer("backlog")
    }

    async fn clean_up(&self, _: usize) -> Result<usize, OutboxError> {
        self.answer("clean_up")
    }
}

#[async_trait]
impl DeadLetters for Recorder {
    async fn list(
        &self,
        _: &DeadLetterFilter,
        _: Option<u64>,
        _: usize,
    ) -> Result<Vec<DeadLetter>, OutboxError> {
        self.answer("list")
    }

    async fn find(&self, _: EventId) -> Result<Option<(DeadLetter, Event)>, OutboxError> {
        self.answer("find")
    }

    async fn export(
        &self,
        _: &DeadLetterFilter,
        _: Option<u64>,
        _: usize,
        _: usize,
    ) -> Result<Vec<(DeadLetter, Event)>, OutboxError> {
        self.answer("export")
    }

    async fn replay(&self, _: &DeadLetterFilter, _: usize) -> Result<Vec<EventId>, OutboxError> {
        self.answer("replay")
    }

    async fn purge(&self, _: &DeadLetterFilter, _: usize) -> Result<Vec<EventId>, OutboxError> {
        self.answer("purge")
    }

    async fn statistics(
        &self,
        _: &DeadLetterFilter,
        _: usize,
    ) -> Result<Vec<DeadLetterGroup>, OutboxError> {
        self.answer("statistics")
    }
}

#[async_trait]
impl Transport for Recorder {
    async fn publish(&self, _: &[Event]) -> Vec<Result<(), PublishError>> {
        self.called("publish")
    }

    fn keeps_order(&self) -> bool {
        self.called("keeps_order")
    }

    fn destination<'a>(&'a self, _: &'a Event) -> Option<Cow<'a, str>> {
        self.called("destination")
    }

    fn duplicates(&self) -> u64 {
        self.called("duplicates")
    }

    async fn check(&self) -> TransportCheck {
        self.called("check")
    }
}

#[async_trait]
impl DlqHeap for Recorder {
    async fn record_failure(&self, _: EventId) -> Result<(), OutboxError> {
        self.answer("record_failure")
    }

    async fn record_success(&self, _: EventId) -> Result<(), OutboxError> {
        self.answer("record_success")
    }

    async fn drain_exceeded(&self, _: u32) -> Result<Vec<DlqEntry>, OutboxError> {
        self.answer("drain_exceeded")
    }

    async fn record_failures(&self, _: &[FailedAttempt]) -> Result<(), OutboxError> {
        self.answer("record_failures")
    }

    async fn forget(&self, _: &[EventId]) -> Result<(), OutboxError> {
        self.answer("forget")
    }

    async fn lease_exceeded(
        &self,
        _: u32,
        _: usize,
        _: Duration,
    ) -> Result<Vec<DlqEntry>, OutboxError> {
        self.answer("lease_exceeded")
    }

    async fn size(&self) -> Result<Option<HeapSize>, OutboxError> {
        self.answer("size")
    }

    async fn prune(&self, _: Duration, _: usize) -> Result<usize, OutboxError> {
        self.answer("prune")
    }
}

/// The methods of a trait in their order, read from its source.
fn methods(source: &'static str, name: &str) -> Vec<&'static str> {
    let start = format!("pub trait {name}:");
    let body = source.split_once(&start).expect("the trait").1;
    let body = body.split("\n}").next().expect("its body");
    let names = body.lines().filter_map(|line| {
        let line = line.strip_prefix("    ")?;
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ")?.split(['(', '<']).next()
    });
    names.collect()
}

async fn call_storage(store: impl OutboxStorage) -> Result<(), OutboxError> {
    let second = Duration::from_secs(1);
    let claim = store.claim(ClaimLimit::events(1), second).await?;
    store.settle(claim.token, &[]).await?;
    store.resume("orders", 1).await?;
    store.quarantine_events(&[]).await?;
    store.blocks_key_on_dead_letter();
    store.wait_for_work(second).await?;
    store.backlog().await?;
    store.clean_up(1).await?;
    Ok(())
}

async fn call_dead_letters(store: impl DeadLetters) -> Result<(), OutboxError> {
    let all = DeadLetterFilter::all();
    store.list(&all, None, 1).await?;
    store.find(EventId::new()).await?;
    store.export(&all, None, 1, 1).await?;
    store.replay(&all, 1).await?;
    store.purge(&all, 1).await?;
    store.statistics(&all, 1).await?;
    Ok(())
}

async fn call_heap(heap: impl DlqHeap) -> Result<(), OutboxError> {
    let (id, second) = (EventId::new(), Duration::from_secs(1));
    heap.record_failure(id).await?;
    heap.record_success(id).await?;
    heap.drain_exceeded(1).await?;
    heap.record_failures(&[]).await?;
    heap.forget(&[]).await?;
    heap.lease_exceeded(1, 1, second).await?;
    heap.size().await?;
    heap.prune(second, 1).await?;
    Ok(())
}

async fn call_transport(transport: impl Transport) {
    transport.publish(&[]).await;
    transport.keeps_order();
    transport.destination(&Event::new("order.placed", "{}"));
    transport.duplicates();
    transport.check().await;
}

#[tokio::test]
async fn a_shared_store_is_a_store() -> Result<(), OutboxError> {
    let store = Arc::new(Recorder::default());
    let methods = methods(include_str!("../../src/storage.rs"), "OutboxStorage");
    call_storage(Arc::clone(&store)).await?;
    assert_eq!(store.calls(), methods);
    call_storage(Arc::clone(&store) as Arc<dyn OutboxStorage>).await?;
    assert_eq!(store.calls(), methods);
    Ok(())
}

#[tokio::test]
async fn shared_dead_letters_are_dead_letters() -> Result<(), OutboxError> {
    let store = Arc::new(Recorder::default());
    let methods = methods(include_str!("../../src/dlq/dead_letters.rs"), "DeadLetters");
    call_dead_letters(Arc::clone(&store)).await?;
    assert_eq!(store.calls(), methods);
    call_dead_letters(Arc::clone(&store) as Arc<dyn DeadLetters>).await?;
    assert_eq!(store.calls(), methods);
    Ok(())
}

#[tokio::test]
async fn a_shared_heap_is_a_heap() -> Result<(), OutboxError> {
    let heap = Arc::new(Recorder::default());
    let methods = methods(include_str!("../../src/dlq/heap.rs"), "DlqHeap");
    call_heap(Arc::clone(&heap)).await?;
    assert_eq!(heap.calls(), methods);
    call_heap(Arc::clone(&heap) as Arc<dyn DlqHeap>).await?;
    assert_eq!(heap.calls(), methods);
    Ok(())
}

#[tokio::test]
async fn a_shared_transport_is_a_transport() {
    let transport = Arc::new(Recorder::default());
    let methods = methods(include_str!("../../src/transport.rs"), "Transport");
    call_transport(Arc::clone(&transport)).await;
    assert_eq!(transport.calls(), methods);
    call_transport(Arc::clone(&transport) as Arc<dyn Transport>).await;
    assert_eq!(transport.calls(), methods);
}
