//! A worker with a transport that keeps order: many events of a key in one call.

use async_trait::async_trait;
use integration_tests::{assert_each_once, keyed_events};
use outbox_conformance::transport::MemoryBroker;
use outbox_core::{
    Event, EventId, OutboxConfig, OutboxProcessor, PublishError, PublishErrorKind, Transport,
};
use outbox_store_memory::MemoryStore;
use std::sync::Arc;
use std::time::Duration;

fn filled(events: &[Event]) -> Arc<MemoryStore> {
    let store = MemoryStore::new();
    store.append(events).expect("appended");
    Arc::new(store)
}

fn ids(events: &[Event]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

#[tokio::test(start_paused = true)]
async fn a_key_with_many_events_takes_one_call() {
    let events = keyed_events(1, 100);
    for (broker, calls) in [
        (MemoryBroker::new(), 100),
        (MemoryBroker::new().keeping_order(), 1),
    ] {
        let mut worker = OutboxProcessor::new(filled(&events), Arc::new(broker.clone()));
        let report = worker.process_pending_events().await.expect("a pass");
        assert_eq!((report.published, broker.calls()), (100, calls));
        assert_eq!(ids(&broker.events()), ids(&events));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_within_the_bytes_of_a_batch() {
    let events: Vec<Event> = (0..10)
        .map(|_| Event::new("x", vec![0; 1000]).ordering_key("key"))
        .collect();
    let (store, broker) = (filled(&events), MemoryBroker::new().keeping_order());
    let config = OutboxConfig::builder().batch_bytes(3000).build();
    let mut worker =
        OutboxProcessor::new(store, Arc::new(broker.clone())).config(config.expect("valid"));
    while worker
        .process_pending_events()
        .await
        .expect("a pass")
        .claimed
        > 0
    {}
    assert_eq!(broker.calls(), 4);
    assert_eq!(ids(&broker.events()), ids(&events));
}

/// The third event fails once. The events behind it wait without a failed attempt, and follow in order.
#[tokio::test(start_paused = true)]
async fn events_behind_a_failed_event_are_released_and_follow_it() {
    for (kind, retried, dead) in [
        (PublishErrorKind::Rejected, 1, 0),
        (PublishErrorKind::Permanent, 0, 1),
    ] {
        let events = keyed_events(1, 6);
        let third = events[2].id;
        let refuses = move |event: &Event, attempt| {
            if event.id == third && attempt == 1 {
                return Err(kind);
            }
            Ok(())
        };
        let broker = MemoryBroker::with_rule(refuses).keeping_order();
        let mut worker = OutboxProcessor::new(filled(&events), Arc::new(broker.clone()));
        let report = worker.process_pending_events().await.expect("a pass");
        assert_eq!((report.published, report.released), (2, 3), "{kind:?}");
        assert_eq!((report.retried, report.dead), (retried, dead), "{kind:?}");
        // The results of the events behind it do not mean that the broker is unavailable.
        let next = worker.process_pending_events().await.expect("a pass");
        assert_eq!(next.published, if dead > 0 { 3 } else { 0 }, "{kind:?}");
        tokio::time::advance(Duration::from_secs(3600)).await;
        while worker
            .process_pending_events()
            .await
            .expect("a pass")
            .claimed
            > 0
        {}
        let mut expected = ids(&events);
        expected.retain(|id| retried > 0 || *id != third);
        assert_eq!(ids(&broker.events()), expected, "{kind:?}");
    }
}

/// Panics if a call has the poison event, and then publishes no event of the call.
#[derive(Debug)]
struct Fragile {
    broker: MemoryBroker,
    poison: EventId,
}

#[async_trait]
impl Transport for Fragile {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        let is_poison = |event: &Event| event.id == self.poison;
        assert!(!events.iter().any(is_poison), "poison");
        self.broker.publish(events).await
    }

    fn keeps_order(&self) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_published_behind_an_event_that_makes_the_transport_panic() {
    let events = keyed_events(2, 12);
    let poison = &events[10];
    let broker = MemoryBroker::new().keeping_order();
    let transport = Fragile {
        broker: broker.clone(),
        poison: poison.id,
    };
    let mut worker = OutboxProcessor::new(filled(&events), Arc::new(transport));
    let report = worker.process_pending_events().await.expect("a pass");
    let is_behind = |event: &&Event| {
        let behind = events.iter().skip_while(|one| one.id != poison.id);
        event.ordering_key == poison.ordering_key && behind.into_iter().any(|one| one == *event)
    };
    let behind: Vec<_> = events.iter().filter(is_behind).collect();
    let rest: Vec<_> = events
        .iter()
        .filter(|event| !is_behind(event))
        .cloned()
        .collect();
    assert_each_once(&broker.events(), &rest);
    assert_eq!(report.retried, 1);
    assert_eq!(report.released, behind.len() - 1);
}
