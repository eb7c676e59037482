//! Workers that hang, are dropped or are stopped, on memory with tokio's paused clock.

use async_trait::async_trait;
use integration_tests::{assert_each_once, keyed_events};
use outbox_conformance::transport::MemoryBroker;
use outbox_core::{
    ClaimLimit, DeadLetterFilter, DeadLetters, DlqHeap, DlqProcessor, Event, EventId, OutboxConfig,
    OutboxProcessor, OutboxStorage, PassReport, PublishError, PublishErrorKind, Relay, Transport,
};
use outbox_dlq_memory::MemoryDlqHeap;
use outbox_store_memory::MemoryStore;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// A broker that never answers a call with the poison event.
#[derive(Clone, Debug)]
struct Hanging {
    broker: MemoryBroker,
    poison: EventId,
    /// Notified when a call starts to hang.
    caught: Arc<Notify>,
}

impl Hanging {
    fn new(poison: EventId) -> Self {
        Self {
            broker: MemoryBroker::new(),
            poison,
            caught: Arc::default(),
        }
    }
}

#[async_trait]
impl Transport for Hanging {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        if events.iter().any(|event| event.id == self.poison) {
            self.caught.notify_one();
            pending::<()>().await;
        }
        self.broker.publish(events).await
    }
}

fn config() -> OutboxConfig {
    OutboxConfig::builder()
        .failure_threshold(3)
        .build()
        .expect("a valid config")
}

fn filled(events: &[Event]) -> MemoryStore {
    let store = MemoryStore::new();
    store.append(events).expect("appended");
    store
}

async fn dead_ids(store: &MemoryStore) -> Vec<EventId> {
    let dead_letters = store
        .list(&DeadLetterFilter::all(), None, 1000)
        .await
        .expect("listed");
    dead_letters
        .iter()
        .map(|dead_letter| dead_letter.id)
        .collect()
}

fn without(events: &[Event], id: EventId) -> Vec<Event> {
    events
        .iter()
        .filter(|event| event.id != id)
        .cloned()
        .collect()
}

#[tokio::test(start_paused = true)]
async fn an_event_that_hangs_the_broker_ends_in_the_quarantine_and_the_rest_arrives() {
    let events = keyed_events(20, 3);
    let transport = Hanging::new(events[25].id);
    let store = filled(&events);
    let relay = Relay::new(Arc::new(store.clone()), Arc::new(transport.clone()))
        .dlq_heap(Arc::new(MemoryDlqHeap::new()))
        .config(config());
    let task = tokio::spawn(relay.run(pending()));
    // Each attempt takes a publish timeout and a pause. New events make it count as a failure.
    let mut expected = without(&events, transport.poison);
    for _ in 0..40 {
        let more = keyed_events(1, 1);
        store.append(&more).expect("appended");
        expected.extend(more);
        sleep(Duration::from_secs(60)).await;
    }
    task.abort();
    assert_eq!(dead_ids(&store).await, [transport.poison]);
    assert_each_once(&transport.broker.events(), &expected);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_kills_its_worker_is_quarantined_and_no_neighbour_is_blamed() {
    let events = keyed_events(10, 2);
    let transport = Hanging::new(events[4].id);
    let store = filled(&events);
    let heap = Arc::new(MemoryDlqHeap::new());
    let mut deaths = 0;
    // Each worker is dropped as soon as it publishes the poison, as if the process had died.
    while store.backlog().await.unwrap().pending > 0 {
        let relay = Relay::new(Arc::new(store.clone()), Arc::new(transport.clone()))
            .dlq_heap(heap.clone())
            .config(config());
        tokio::select! {
            biased;
            () = transport.caught.notified() => deaths += 1,
            _ = relay.run(pending()) => panic!("the relay ended"),
            () = sleep(Duration::from_secs(600)) => {}
        }
        sleep(Duration::from_secs(31)).await;
    }
    assert_eq!(dead_ids(&store).await, [transport.poison]);
    assert_each_once(
        &transport.broker.events(),
        &without(&events, transport.poison),
    );
    // Once with other events, then alone for each attempt of the threshold.
    assert_eq!(deaths, 4);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_releases_what_it_holds_uncharged() {
    let events = keyed_events(5, 2);
    let transport = Hanging::new(events[2].id);
    let store = filled(&events);
    let grace = Duration::from_secs(5);
    let config = OutboxConfig::builder()
        .shutdown_grace(grace)
        .build()
        .unwrap();
    let worker =
        OutboxProcessor::new(Arc::new(store.clone()), Arc::new(transport.clone())).config(config);
    let stop = Arc::clone(&transport.caught);
    let mut stopped = false;
    let shutdown = async {
        stop.notified().await;
        stopped = true;
    };
    worker.run(shutdown).await.expect("a clean end");
    assert!(stopped, "the worker ended before it was stopped");

    let claim = store
        .claim(ClaimLimit::events(100), Duration::from_secs(30))
        .await
        .unwrap();
    assert_eq!(claim.events.len(), events.len(), "an event is held or lost");
    assert!(
        claim
            .events
            .iter()
            .all(|claimed| claimed.attempts == 0 && !claimed.worker_lost)
    );
}

#[tokio::test(start_paused = true)]
async fn a_pass_reports_what_it_did() {
    let events = keyed_events(3, 2);
    let (rejected, dead) = (events[0].id, events[1].id);
    let broker = MemoryBroker::with_rule(move |event, _| match event.id {
        id if id == rejected => Err(PublishErrorKind::Rejected),
        id if id == dead => Err(PublishErrorKind::Permanent),
        _ => Ok(()),
    });
    let mut worker = OutboxProcessor::new(Arc::new(filled(&events)), Arc::new(broker));
    let report = worker.process_pending_events().await.expect("a pass");
    // The successor of the rejected event is released. The successor of the dead one is published.
    let outcomes = (report.published, report.retried, report.dead);
    assert_eq!(
        (report.claimed, outcomes, report.released),
        (6, (3, 1, 1), 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_pass_takes_what_waits_and_the_next_finds_nothing() {
    let events = keyed_events(3, 2);
    let (store, broker) = (filled(&events), MemoryBroker::new());
    let mut worker = OutboxProcessor::new(Arc::new(store), Arc::new(broker.clone()));
    let mut pass = async || worker.process_pending_events().await.expect("a pass");
    assert_eq!(pass().await.published, 6);
    assert_each_once(&broker.events(), &events);
    assert_eq!(pass().await, PassReport::default());
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_processor_runs_until_it_is_stopped() {
    let events = keyed_events(3, 1);
    let (store, heap) = (filled(&events), MemoryDlqHeap::new());
    for _ in 0..10 {
        heap.record_failure(events[1].id).await.expect("recorded");
    }
    let processor = DlqProcessor::new(Arc::new(heap.clone()), Arc::new(store.clone()));
    let start = Instant::now();
    processor.run(sleep(Duration::from_secs(60))).await;
    assert_eq!(start.elapsed(), Duration::from_secs(60));
    assert_eq!(dead_ids(&store).await, [events[1].id]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_reaches_the_threshold_is_quarantined_at_once() {
    let events = keyed_events(1, 1);
    let (store, day) = (filled(&events), Duration::from_secs(24 * 3600));
    let broker = MemoryBroker::with_rule(|_, _| Err(PublishErrorKind::Rejected));
    let config = OutboxConfig::builder()
        .failure_threshold(3)
        .heap_interval(day);
    let relay = Relay::new(Arc::new(store.clone()), Arc::new(broker))
        .dlq_heap(Arc::new(MemoryDlqHeap::new()))
        .config(config.build().expect("a valid config"));
    relay.run(sleep(day / 24)).await.expect("a clean end");
    assert_eq!(dead_ids(&store).await, [events[0].id]);
}

#[tokio::test(start_paused = true)]
async fn two_workers_share_an_outbox_and_deliver_each_event_once() {
    let events = keyed_events(50, 20);
    let (store, broker) = (filled(&events), MemoryBroker::new());
    let workers = (0..2).map(|_| {
        let relay = Relay::new(Arc::new(store.clone()), Arc::new(broker.clone()));
        tokio::spawn(relay.run(sleep(Duration::from_secs(60))))
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.expect("no panic").expect("a clean end");
    }
    assert_each_once(&broker.events(), &events);
    integration_tests::assert_ordered_per_key(&broker.events());
}
