//! The relay on memory with tokio's paused clock: outages, heaps that fail, and events that fail.

use integration_tests::{
    SeedHeap, assert_each_once, assert_ordered_per_key, drained, keyed_events,
};
use outbox_conformance::transport::MemoryBroker;
use outbox_conformance::{Decorated, Fails, Faulty};
use outbox_core::{
    DeadLetterFilter, DeadLetters, DlqHeap, Event, OutboxConfig, OutboxStorage, PublishErrorKind,
    Relay,
};
use outbox_dlq_memory::MemoryDlqHeap;
use outbox_store_memory::MemoryStore;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);

/// A running relay, and the sender that stops it.
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), outbox_core::OutboxError>>,
}

impl Running {
    async fn stop(self) {
        self.stop.send(()).expect("the relay ended by itself");
        self.task
            .await
            .expect("the relay panicked")
            .expect("the relay failed");
    }
}

fn config() -> OutboxConfig {
    OutboxConfig::builder()
        .failure_threshold(3)
        .build()
        .expect("a valid config")
}

fn start(store: &MemoryStore, broker: &MemoryBroker, heap: Arc<dyn DlqHeap>) -> Running {
    let relay = Relay::new(Arc::new(store.clone()), Arc::new(broker.clone()))
        .dlq_heap(heap)
        .config(config());
    let (stop, stopped) = oneshot::channel();
    let shutdown = async { drop(stopped.await) };
    Running {
        stop,
        task: tokio::spawn(relay.run(shutdown)),
    }
}

fn filled(events: &[Event]) -> MemoryStore {
    let store = MemoryStore::new();
    store.append(events).expect("appended");
    store
}

async fn drain(store: &MemoryStore) {
    let store: Arc<dyn OutboxStorage> = Arc::new(store.clone());
    drained(&store).await;
}

/// All dead letters.
async fn dead_letters(store: &MemoryStore) -> Vec<outbox_core::DeadLetter> {
    store
        .list(&DeadLetterFilter::all(), None, 1000)
        .await
        .expect("listed")
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_a_broker_counts_nothing_and_quarantines_nothing() {
    let events = keyed_events(10, 20);
    let (store, broker) = (filled(&events), MemoryBroker::new());
    let heap = Arc::new(MemoryDlqHeap::new());
    broker.set_stopped(true);
    let relay = start(&store, &broker, heap.clone());
    sleep(3600 * SECOND).await;

    assert!(
        broker.calls() > 100,
        "the broker was probed {} times",
        broker.calls()
    );
    assert!(
        broker.calls() < 1000,
        "the broker was probed {} times",
        broker.calls()
    );
    assert_eq!(broker.events(), []);
    assert_eq!(
        heap.size().await.unwrap().unwrap().entries,
        0,
        "a failure was counted"
    );
    assert_eq!(store.backlog().await.unwrap().dead_letters, 0);

    broker.set_stopped(false);
    while broker.events().is_empty() {
        sleep(SECOND / 100).await;
    }
    // The key of the last probe that failed continues too.
    sleep(SECOND).await;
    assert_each_once(&broker.events(), &events);
    assert_ordered_per_key(&broker.events());
    assert_eq!(store.backlog().await.unwrap().pending, 0);
    relay.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_heap_that_fails_on_every_call_stops_no_delivery() {
    let events = keyed_events(10, 50);
    let (store, broker) = (filled(&events), MemoryBroker::new());
    let faults = Arc::new(Faulty::default());
    faults.fail(Fails::Before);
    let heap = Decorated::new(Arc::new(MemoryDlqHeap::new()), faults.clone());
    let relay = start(&store, &broker, Arc::new(heap));
    drain(&store).await;
    assert_each_once(&broker.events(), &events);
    assert_ordered_per_key(&broker.events());
    assert!(faults.failed() > 0, "the heap was never asked");
    relay.stop().await;
}

#[tokio::test(start_paused = true)]
async fn outcomes_are_reported_to_a_heap_that_works_again() {
    let events = keyed_events(3, 1);
    let poison = events[0].id;
    let broker = MemoryBroker::with_rule(move |event, _| {
        if event.id == poison {
            Err(PublishErrorKind::Rejected)
        } else {
            Ok(())
        }
    });
    let store = filled(&events);
    let counts = Arc::new(MemoryDlqHeap::new());
    let faults = Arc::new(Faulty::default());
    faults.fail(Fails::Before);
    let heap = Decorated::new(counts.clone(), faults.clone());
    let relay = start(&store, &broker, Arc::new(heap));
    while broker.calls() < 4 {
        sleep(SECOND).await;
    }
    assert_eq!(counts.size().await.unwrap().unwrap().entries, 0);
    faults.mend();
    sleep(120 * SECOND).await;
    let dead_letters = dead_letters(&store).await;
    assert_eq!(dead_letters.len(), 1);
    assert_eq!(dead_letters[0].id, poison);
    assert!(
        dead_letters[0].failure_count >= 3,
        "{}",
        dead_letters[0].failure_count
    );
    relay.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_rejected_event_is_quarantined_once_and_its_neighbours_arrive() {
    let events = keyed_events(5, 4);
    let poison = events[5].id;
    let broker = MemoryBroker::with_rule(move |event, _| {
        if event.id == poison {
            Err(PublishErrorKind::Rejected)
        } else {
            Ok(())
        }
    });
    for seed_only in [false, true] {
        let store = filled(&events);
        let heap: Arc<dyn DlqHeap> = if seed_only {
            Arc::new(SeedHeap::default())
        } else {
            Arc::new(MemoryDlqHeap::new())
        };
        let broker = broker.clone();
        let before = broker.events().len();
        let relay = start(&store, &broker, heap.clone());
        drain(&store).await;
        sleep(60 * SECOND).await;
        relay.stop().await;

        let others: Vec<Event> = events
            .iter()
            .filter(|event| event.id != poison)
            .cloned()
            .collect();
        assert_each_once(&broker.events()[before..], &others);
        assert_ordered_per_key(&broker.events()[before..]);
        let dead_letters = dead_letters(&store).await;
        assert_eq!(dead_letters.len(), 1);
        assert_eq!(
            (dead_letters[0].id, dead_letters[0].failure_count),
            (poison, 3)
        );
        assert_eq!(
            heap.drain_exceeded(1).await.unwrap(),
            [],
            "a count was left"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_makes_the_transport_panic_is_quarantined_and_the_worker_continues() {
    let events = keyed_events(8, 2);
    let poison = events[3].id;
    let broker = MemoryBroker::with_rule(move |event, _| {
        assert!(event.id != poison, "cannot encode this one");
        Ok(())
    });
    let store = filled(&events);
    let relay = start(&store, &broker, Arc::new(MemoryDlqHeap::new()));
    drain(&store).await;
    relay.stop().await;
    let dead_letters = dead_letters(&store).await;
    assert_eq!(dead_letters.len(), 1, "{dead_letters:?}");
    assert_eq!(dead_letters[0].id, poison);
    let error = dead_letters[0].last_error.as_deref().unwrap();
    assert!(error.contains("cannot encode this one"), "{error}");
    assert_ordered_per_key(&broker.events());
    assert_eq!(store.backlog().await.unwrap().pending, 0);
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_is_quarantined_at_once_with_its_reason() {
    let events = keyed_events(3, 3);
    let poison = events[0].id;
    let broker = MemoryBroker::with_rule(move |event, attempt| {
        assert_eq!(attempt, 1, "a second attempt");
        if event.id == poison {
            Err(PublishErrorKind::Permanent)
        } else {
            Ok(())
        }
    });
    let store = filled(&events);
    let relay = start(&store, &broker, Arc::new(MemoryDlqHeap::new()));
    drain(&store).await;
    relay.stop().await;
    let dead_letters = dead_letters(&store).await;
    assert_eq!((dead_letters.len(), dead_letters[0].id), (1, poison));
    assert_eq!(
        dead_letters[0].last_error.as_deref(),
        Some("can never be published")
    );
    assert_ordered_per_key(&broker.events());
    assert_eq!(broker.events().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_holds_keys_lets_no_event_overtake_a_dead_one() {
    let events = keyed_events(3, 4);
    let (dead, rejected) = (events[3].id, events[4].id);
    let mended = Arc::new(AtomicBool::new(false));
    let broker = MemoryBroker::with_rule({
        let mended = Arc::clone(&mended);
        move |event, _| match event.id {
            _ if mended.load(Ordering::SeqCst) => Ok(()),
            id if id == dead => Err(PublishErrorKind::Permanent),
            id if id == rejected => Err(PublishErrorKind::Rejected),
            _ => Ok(()),
        }
    });
    let store = filled(&events).block_key_on_dead_letter();
    let relay = start(&store, &broker, Arc::new(MemoryDlqHeap::new()));
    sleep(600 * SECOND).await;
    // Of two keys only the first of four events has passed.
    assert_eq!(broker.events().len(), 4 + 1 + 1);
    assert_eq!(dead_letters(&store).await.len(), 2);

    mended.store(true, Ordering::SeqCst);
    let replayed = store.replay(&DeadLetterFilter::all(), 10).await;
    assert_eq!(replayed.expect("replayed").len(), 2);
    drain(&store).await;
    relay.stop().await;
    assert_each_once(&broker.events(), &events);
    assert_ordered_per_key(&broker.events());
}

#[tokio::test(start_paused = true)]
async fn a_throttled_worker_waits_as_long_as_asked_and_counts_no_failure() {
    let began = tokio::time::Instant::now();
    let broker = MemoryBroker::with_rule(move |_, _| {
        let patience = Duration::from_secs(90).saturating_sub(began.elapsed());
        if patience.is_zero() {
            Ok(())
        } else {
            Err(PublishErrorKind::Throttled(patience))
        }
    });
    let events = keyed_events(4, 4);
    let store = filled(&events);
    let heap = Arc::new(MemoryDlqHeap::new());
    let relay = start(&store, &broker, heap.clone());
    sleep(89 * SECOND).await;
    assert_eq!(broker.calls(), 1, "asked again too early");
    drain(&store).await;
    relay.stop().await;
    assert_each_once(&broker.events(), &events);
    assert!(dead_letters(&store).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn random_rejections_keep_the_order_of_each_key() {
    let events = keyed_events(7, 30);
    let broker = MemoryBroker::with_rule(|event, attempt| {
        let odd = event.id.as_uuid().as_bytes()[15] % 4 == 0;
        if odd && attempt < 3 {
            Err(PublishErrorKind::Rejected)
        } else {
            Ok(())
        }
    });
    let store = filled(&events);
    let relay = start(&store, &broker, Arc::new(MemoryDlqHeap::new()));
    drain(&store).await;
    relay.stop().await;
    assert_each_once(&broker.events(), &events);
    assert_ordered_per_key(&broker.events());
}
