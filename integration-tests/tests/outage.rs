//! A broker that is away for a long time of tokio's paused clock, and comes back.

use async_trait::async_trait;
use integration_tests::brokers::{self, Broker, LONG_RUN};
use integration_tests::{assert_ordered_per_key, drained, keyed_events};
use outbox_core::{
    DeadLetterFilter, DeadLetters, DlqHeap, Event, OutboxConfig, OutboxStorage, PublishError,
    Relay, Transport, TransportCheck,
};
use outbox_dlq_memory::MemoryDlqHeap;
use outbox_store_memory::MemoryStore;
use std::borrow::Cow;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The pages that a process may have more after the outage than after its first seventh: 4 MiB.
const GROWTH: usize = 1024;

/// Counts the calls. Before the first call after the return of the broker it lets the clock run, as a
/// paused clock jumps to the end of each time limit while the broker works.
#[derive(Debug)]
struct Watched {
    transport: Arc<dyn Transport>,
    calls: AtomicUsize,
    is_back: AtomicBool,
    /// Notified before the first call after the return.
    probed: Notify,
}

#[async_trait]
impl Transport for Watched {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        self.calls.fetch_add(1, SeqCst);
        if self.is_back.swap(false, SeqCst) {
            tokio::time::resume();
            self.probed.notify_one();
        }
        self.transport.publish(events).await
    }

    fn keeps_order(&self) -> bool {
        self.transport.keeps_order()
    }

    fn destination<'a>(&'a self, event: &'a Event) -> Option<Cow<'a, str>> {
        self.transport.destination(event)
    }

    async fn check(&self) -> TransportCheck {
        self.transport.check().await
    }
}

/// The resident memory of this process, in pages.
fn pages() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux");
    let resident = statm.split(' ').nth(1).expect("a field");
    resident.parse().expect("a number")
}

async fn outage<B: Broker>() {
    // A long run has the longest pause that relays have by default.
    let (seventh, longest_pause) = match std::env::var_os(LONG_RUN) {
        Some(_) => (24 * 60 * MINUTE, MINUTE / 2),
        None => (10 * MINUTE, SECOND),
    };
    let start = std::time::Instant::now();
    let mut broker = B::start().await;
    broker.create().await;
    let watched = Arc::new(Watched {
        transport: broker.transport(),
        calls: AtomicUsize::new(0),
        is_back: AtomicBool::new(false),
        probed: Notify::new(),
    });
    broker.server().kill().expect("killed");
    tokio::time::pause();

    let (store, heap) = (Arc::new(MemoryStore::new()), Arc::new(MemoryDlqHeap::new()));
    let sent = keyed_events(10, 100);
    store.append(&sent).expect("appended");
    let config = OutboxConfig::builder()
        .breaker_max(longest_pause)
        .poll_interval(MINUTE * 60)
        .heap_interval(MINUTE * 60);
    let relay = Relay::new(Arc::clone(&store), Arc::clone(&watched))
        .dlq_heap(Arc::clone(&heap))
        .config(config.build().expect("a valid config"));
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(relay.run(async { drop(stopped.await) }));
    sleep(seventh).await;
    let (calls, before) = (watched.calls.load(SeqCst), pages());
    sleep(6 * seventh).await;
    assert!(watched.calls.load(SeqCst) > 2 * calls, "it stopped trying");
    let grown = pages().saturating_sub(before);
    assert!(grown <= GROWTH, "{grown} pages more");
    let backlog = store.backlog().await.expect("read");
    assert_eq!(backlog.pending, sent.len() as u64);
    assert_eq!(
        heap.size().await.expect("read").expect("counted").entries,
        0
    );

    broker.server().restart().expect("started again");
    watched.is_back.store(true, SeqCst);
    watched.probed.notified().await;
    // The relay pauses after each failure. After one success it must not pause again.
    let back = std::time::Instant::now();
    drained(&(Arc::clone(&store) as Arc<dyn OutboxStorage>)).await;
    println!("drained in {:?} after the return", back.elapsed());
    drop(stop);
    running.await.expect("no panic").expect("stopped");
    let dead = store.list(&DeadLetterFilter::default(), None, 10).await;
    assert!(dead.expect("read").is_empty());
    let received = broker.received().await;
    assert_ordered_per_key(&received);
    assert_eq!(&*received[0].payload, b"0", "a first event of a key");
    assert_eq!(received.len(), sent.len());
    let took = start.elapsed();
    println!("{calls} calls in {seventh:?}, {grown} pages more after six times that, {took:?}");
}

/// One after another, as the memory is that of the process.
#[tokio::test]
async fn a_long_outage_of_its_broker_costs_a_relay_nothing() {
    outage::<brokers::Nats>().await;
    outage::<brokers::Stream>().await;
    outage::<brokers::Arrived>().await;
    outage::<brokers::RabbitMq>().await;
    outage::<brokers::Endpoint>().await;
}
