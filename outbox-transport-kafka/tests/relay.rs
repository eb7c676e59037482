//! A relay from a store in memory to a cluster: an event that is too large, one hot key, and brokers that go
//! away and come back.

mod support;

use outbox_core::{
    Event, EventId, OutboxConfig, OutboxStorage, PublishErrorKind, Relay, Transport,
};
use outbox_dlq_memory::MemoryDlqHeap;
use outbox_store_memory::MemoryStore;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Cluster, Fake, Mock, PATIENCE, TOPIC, keyed, open};
use tokio::sync::oneshot;

/// Longer than a call, so that calls fail in an outage.
const OUTAGE: Duration = Duration::from_secs(2);

/// A relay that runs until the test ends it.
struct Running {
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(store: &Arc<MemoryStore>, cluster: &impl Cluster) -> Self {
        let transport = open(cluster.config().call_timeout(OUTAGE / 2));
        let options = OutboxConfig::builder()
            .batch_size(500)
            .breaker_initial(Duration::from_millis(20))
            .breaker_max(Duration::from_millis(100))
            .build()
            .expect("options");
        let relay = Relay::new(Arc::clone(store), transport).dlq_heap(MemoryDlqHeap::new());
        let relay = relay.config(options);
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            relay.run(shutdown).await.expect("it ends without an error");
        });
        Self { stop, task }
    }

    async fn end(self) {
        self.stop.send(()).expect("it runs");
        self.task.await.expect("no panic");
    }
}

/// Waits until at most `left` events are pending, and asks again after each pause.
async fn until(store: &MemoryStore, left: u64) {
    let begun = Instant::now();
    while store.backlog().await.expect("a backlog").pending > left {
        assert!(
            begun.elapsed() < 5 * PATIENCE,
            "more than {left} events are left"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Checks that the events have arrived, each key's in order of their first arrivals. Returns the number of
/// duplicates.
fn check_arrived(sent: &[Event], received: &[Event]) -> usize {
    fn by_key<'e>(
        events: impl Iterator<Item = &'e Event>,
    ) -> HashMap<Option<String>, Vec<EventId>> {
        let mut keys = HashMap::<_, Vec<EventId>>::new();
        for event in events {
            keys.entry(event.ordering_key.clone())
                .or_default()
                .push(event.id);
        }
        keys
    }
    let mut seen = HashSet::new();
    let first = received.iter().filter(|event| seen.insert(event.id));
    assert_eq!(
        by_key(first),
        by_key(sent.iter()),
        "the events of each key in order"
    );
    received.len() - sent.len()
}

/// The largest of 10,000 events of one key becomes a dead letter, and all others arrive in order.
async fn check_oversized(cluster: impl Cluster) {
    let store = Arc::new(MemoryStore::new());
    let mut sent = keyed(10_000, 1);
    sent[5000].payload = vec![b'x'; 2 << 20].into();
    store.append(&sent).expect("appended");
    let relay = Running::start(&store, &cluster);
    until(&store, 0).await;
    relay.end().await;
    let backlog = store.backlog().await.expect("a backlog");
    assert_eq!(backlog.dead_letters, 1, "quarantined events");
    sent.remove(5000);
    // A call without a report within its timeout is repeated, so a slow machine may see duplicates.
    let duplicates = check_arrived(&sent, &cluster.events(TOPIC).await);
    println!("{} events, {duplicates} duplicates", sent.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_around_one_that_is_too_large_arrive_in_order() {
    check_oversized(Fake::start(1).await).await;
    check_oversized(Mock::start(1, 1)).await;
}

/// How many events a relay publishes while its broker goes away.
fn number_of_events() -> usize {
    let number = std::env::var("OUTBOX_TEST_BROKER_EVENTS").ok();
    number.map_or(9000, |number| number.parse().expect("a number"))
}

/// The cluster goes away and comes back three times, each time in the middle of what is left.
async fn check_outages<C: Cluster>(cluster: C, is_away: bool, down: impl Fn(&C), up: impl Fn(&C)) {
    let store = Arc::new(MemoryStore::new());
    let count = number_of_events();
    let sent = keyed(count, 500);
    let relay = Running::start(&store, &cluster);
    let part = count / 3;
    for (round, events) in (0..).zip(sent.chunks(part)) {
        store.append(events).expect("appended");
        if round < 3 {
            until(&store, u64::try_from(part / 2).expect("small")).await;
            down(&cluster);
            if is_away {
                let beside = open(cluster.config().call_timeout(OUTAGE));
                let problems = beside.check().await.problems;
                assert_eq!(problems[0].kind(), PublishErrorKind::Unavailable);
            }
            up(&cluster);
        }
    }
    until(&store, 0).await;
    relay.end().await;
    let backlog = store.backlog().await.expect("a backlog");
    assert_eq!(backlog.dead_letters, 0, "quarantined events");
    let duplicates = check_arrived(&sent, &cluster.events(TOPIC).await);
    println!("{count} events, {duplicates} duplicates");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_events_arrive_in_order_while_the_broker_crashes_three_times() {
    let fake = Fake::start(12).await;
    check_outages(fake, true, |fake| fake.0.crash(0), |fake| fake.0.restart(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_events_arrive_in_order_while_a_cluster_is_down_three_times() {
    let down = |mock: &Mock| mock.run(|cluster| cluster.broker_down(-1)).expect("down");
    let up = |mock: &Mock| mock.run(|cluster| cluster.broker_up(-1)).expect("up");
    check_outages(Mock::start(3, 12), true, down, up).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_events_arrive_in_order_while_the_leaders_move() {
    let moved = |fake: &Fake| {
        let leader = |partition: i32| {
            fake.0.with_state(|s| {
                s.topics[TOPIC].partitions[partition.unsigned_abs() as usize].leader
            })
        };
        for partition in 0..12 {
            assert!(
                fake.0
                    .set_leader(TOPIC, partition, (leader(partition) + 1) % 3)
            );
        }
    };
    check_outages(Fake::start_cluster(3, 12).await, false, moved, |_| {}).await;
}
