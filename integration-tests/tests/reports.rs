//! What a worker reports to its heap, and when, on memory with tokio's paused clock.

use integration_tests::{ids, keyed_events};
use outbox_conformance::transport::MemoryBroker;
use outbox_conformance::{Decorated, Fails, Faulty, warnings};
use outbox_core::{
    ClaimLimit, ClaimedEvent, DlqHeap, Event, EventId, OutboxConfig, OutboxConfigBuilder,
    OutboxProcessor, OutboxStorage, Outcome, PublishErrorKind, Settlement,
};
use outbox_dlq_memory::MemoryDlqHeap;
use outbox_store_memory::MemoryStore;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{advance, sleep};

const MS: Duration = Duration::from_millis(1);

/// A worker, and a heap that is down. Each event has failed once, and the heap has counted it.
struct Shop {
    counts: MemoryDlqHeap,
    faults: Arc<Faulty>,
    worker: OutboxProcessor,
}

impl Shop {
    async fn new(events: &[Event], broker: &MemoryBroker, config: OutboxConfigBuilder) -> Self {
        let (store, counts) = (MemoryStore::new(), MemoryDlqHeap::new());
        store.append(events).expect("appended");
        fail_once(&store, events.len()).await;
        for id in ids(events) {
            counts.record_failure(id).await.expect("counted");
        }
        let faults = Arc::new(Faulty::default());
        faults.fail(Fails::Before);
        let heap = Decorated::new(Arc::new(counts.clone()), faults.clone());
        let worker = OutboxProcessor::new(Arc::new(store), Arc::new(broker.clone()))
            .config(config.build().expect("a valid config"))
            .dlq_heap(Arc::new(heap));
        Self {
            counts,
            faults,
            worker,
        }
    }

    async fn pass(&mut self) -> usize {
        let pass = self.worker.process_pending_events().await;
        pass.expect("a pass").published
    }

    async fn counted(&self) -> u64 {
        let size = self.counts.size().await.expect("a size");
        size.expect("this heap has a size").entries
    }
}

async fn fail_once(store: &MemoryStore, events: usize) {
    let lease = Duration::from_secs(1);
    let claim = store.claim(ClaimLimit::events(events), lease).await;
    let claim = claim.expect("claimed");
    assert_eq!(claim.events.len(), events);
    let failed = |claimed: &ClaimedEvent| {
        let outcome = Outcome::Retry {
            delay: Duration::ZERO,
            error: "refused".into(),
        };
        Settlement::new(claimed.event.id, outcome)
    };
    let settlements: Vec<_> = claim.events.iter().map(failed).collect();
    let settled = store.settle(claim.token, &settlements).await;
    settled.expect("settled");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_never_failed_is_not_reported() {
    let (events, broker) = (keyed_events(3, 1), MemoryBroker::new());
    let mut shop = Shop::new(&events, &broker, OutboxConfig::builder()).await;
    assert_eq!(shop.pass().await, 3);
    assert_eq!(shop.faults.failed(), 1, "failed events were reported");
    let (store, faults) = (MemoryStore::new(), Arc::new(Faulty::default()));
    store.append(&events).expect("appended");
    faults.fail(Fails::Before);
    let heap = Decorated::new(Arc::new(MemoryDlqHeap::new()), faults.clone());
    let mut worker = OutboxProcessor::new(store, broker).dlq_heap(Arc::new(heap));
    let report = worker.process_pending_events().await.expect("a pass");
    assert_eq!((report.published, faults.failed()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_heap_that_fails_is_called_again_after_pauses_that_double() {
    let (events, broker) = (keyed_events(3, 1), MemoryBroker::new());
    let mut shop = Shop::new(&events, &broker, OutboxConfig::builder()).await;
    assert_eq!(shop.pass().await, 3);
    for (failed, pause) in [(1, 1000), (2, 2000), (3, 4000)] {
        assert_eq!(shop.faults.failed(), failed);
        shop.pass().await;
        advance((pause - 1) * MS).await;
        shop.pass().await;
        assert_eq!(shop.faults.failed(), failed, "asked again too early");
        advance(MS).await;
        shop.pass().await;
    }
    assert_eq!((shop.faults.failed(), shop.counted().await), (4, 3));
    shop.faults.mend();
    advance(8000 * MS).await;
    shop.pass().await;
    assert_eq!(shop.counted().await, 0, "a success was not reported");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_reports_the_outcomes_that_it_kept() {
    let (events, broker) = (keyed_events(3, 1), MemoryBroker::new());
    let config = OutboxConfig::builder().poll_interval(60_000 * MS);
    let shop = Shop::new(&events, &broker, config).await;
    let (faults, counts) = (shop.faults, shop.counts);
    let stop = async {
        sleep(5000 * MS).await;
        faults.mend();
    };
    shop.worker.run(stop).await.expect("a clean end");
    let size = counts
        .size()
        .await
        .expect("a size")
        .expect("this heap has a size");
    assert_eq!(size.entries, 0, "a success was not reported");
}

/// Rejects the first attempt of one event and all attempts of another.
fn rejecting(once: EventId, always: EventId) -> MemoryBroker {
    MemoryBroker::with_rule(move |event, attempt| match event.id {
        id if id == always => Err(PublishErrorKind::Rejected),
        id if id == once && attempt == 1 => Err(PublishErrorKind::Rejected),
        _ => Ok(()),
    })
}

#[tokio::test(start_paused = true)]
async fn kept_failures_are_reported_except_for_events_that_left() {
    let events = keyed_events(2, 1);
    let (left, stays) = (events[0].id, events[1].id);
    let config = OutboxConfig::builder().retry_initial(MS).retry_max(MS);
    let mut shop = Shop::new(&events, &rejecting(left, stays), config).await;
    shop.counts.forget(&[left]).await.expect("forgotten");
    assert_eq!(shop.pass().await, 0);
    advance(10 * MS).await;
    assert_eq!(shop.pass().await, 1);

    // Of two calls only the first is applied, so it shows which failures were reported.
    shop.faults.fail(Fails::After);
    advance(1000 * MS).await;
    shop.pass().await;
    let drained = shop.counts.drain_exceeded(1).await.expect("drained");
    let counts: Vec<_> = drained
        .iter()
        .map(|entry| (entry.id, entry.failure_count))
        .collect();
    assert_eq!(counts, [(stays, 3)]);
}

#[tokio::test(start_paused = true)]
async fn outcomes_beyond_ten_thousand_drop_the_oldest_with_a_warning() {
    let (events, broker) = (keyed_events(10_001, 1), MemoryBroker::new());
    let config = OutboxConfig::builder().batch_size(10_000);
    let mut shop = Shop::new(&events, &broker, config).await;
    // One warning says that the heap does not answer, and one that an outcome is dropped.
    assert_eq!(warnings(shop.pass()).await, (10_000, 1));
    assert_eq!(warnings(shop.pass()).await, (1, 1));
    assert_eq!(warnings(shop.pass()).await, (0, 0));
    shop.faults.mend();
    advance(1000 * MS).await;
    shop.pass().await;
    let left = shop.counts.drain_exceeded(1).await.expect("drained");
    let left: Vec<_> = left.iter().map(|entry| entry.id).collect();
    assert_eq!(left, [events[0].id]);
}
