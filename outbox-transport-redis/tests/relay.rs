//! A relay from a store to a server that is killed and started again.

mod support;

use outbox_core::{Event, EventId, OutboxConfig, OutboxStorage, Relay};
use outbox_store_memory::MemoryStore;
use outbox_transport_redis::redis::Connection;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{Redis, command, config, connection, events, keyed, open};
use tokio::sync::oneshot;

const STREAM: &str = "outbox";

/// How long all events of a test may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A relay that runs until the test ends it.
struct Running {
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(store: &Arc<MemoryStore>, url: &str) -> Self {
        let transport = open(config(url).call_timeout(Duration::from_secs(5)));
        let options = OutboxConfig::builder()
            .batch_size(500)
            .breaker_initial(Duration::from_millis(20))
            .breaker_max(Duration::from_millis(100))
            .build()
            .expect("options");
        let relay = Relay::new(Arc::clone(store), transport).config(options);
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

fn length(connection: &mut Connection) -> usize {
    let length = command(&["XLEN", STREAM]).query(connection);
    length.unwrap_or_default()
}

/// Waits until the stream has `count` entries, and asks again after each pause.
async fn until(redis: &Mutex<Redis>, count: usize) {
    let url = redis.lock().expect("no panic").url();
    let mut connection = connection(&url);
    let begun = Instant::now();
    while length(&mut connection) < count {
        assert!(
            begun.elapsed() < PATIENCE,
            "{} entries",
            length(&mut connection)
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn until_empty(store: &MemoryStore) {
    let begun = Instant::now();
    while store.backlog().await.expect("a backlog").pending > 0 {
        assert!(begun.elapsed() < PATIENCE, "events are left");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Checks that all events have arrived, each key's in order of their first arrivals. Returns the number of
/// duplicates.
fn check_arrived(sent: &[Event], received: &[Event]) -> usize {
    let mut seen = HashSet::new();
    let first = received.iter().filter(|event| seen.insert(event.id));
    let mut of_keys = HashMap::<_, Vec<EventId>>::new();
    for event in first {
        of_keys
            .entry(event.ordering_key.clone())
            .or_default()
            .push(event.id);
    }
    let mut expected = HashMap::<_, Vec<EventId>>::new();
    for event in sent {
        expected
            .entry(event.ordering_key.clone())
            .or_default()
            .push(event.id);
    }
    assert_eq!(of_keys, expected, "the events of each key in order");
    received.len() - sent.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_events_arrive_in_order_while_the_server_is_killed_three_times() {
    let settings = ["--appendonly", "yes", "--appendfsync", "always"];
    let redis = Mutex::new(Redis::start(&settings));
    let url = redis.lock().expect("no panic").url();
    let store = Arc::new(MemoryStore::new());
    let sent = keyed(10_000, 50);
    let mut parts = sent.chunks(2500);
    let mut append = || {
        store
            .append(parts.next().expect("a part"))
            .expect("appended");
    };
    append();
    let relay = Running::start(&store, &url);
    for round in 0..3 {
        until(&redis, 2500 * round + 500).await;
        append();
        redis.lock().expect("no panic").0.kill().expect("killed");
        redis
            .lock()
            .expect("no panic")
            .0
            .restart()
            .expect("started");
    }
    until_empty(&store).await;
    relay.end().await;
    let duplicates = check_arrived(&sent, &events(&url, STREAM));
    println!("{duplicates} duplicates");
    let backlog = store.backlog().await.expect("a backlog");
    assert_eq!(backlog.dead_letters, 0, "quarantined events");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_one_hot_key_are_published_in_large_calls() {
    let redis = Redis::start(&[]);
    let store = Arc::new(MemoryStore::new());
    let sent = keyed(10_000, 1);
    store.append(&sent).expect("appended");
    let begun = Instant::now();
    let relay = Running::start(&store, &redis.url());
    until_empty(&store).await;
    let time = begun.elapsed();
    relay.end().await;
    println!(
        "{:.0} events of one key a second",
        10_000.0 / time.as_secs_f64()
    );
    assert_eq!(check_arrived(&sent, &events(&redis.url(), STREAM)), 0);
    // One by one it would be as many transactions as events.
    let stats: String = redis.send(&["INFO", "commandstats"]);
    let line = stats.lines().find(|line| line.starts_with("cmdstat_exec:"));
    let calls = line.and_then(|line| line.split(['=', ',']).nth(1)?.parse::<u32>().ok());
    assert!(calls.is_some_and(|calls| calls < 500), "{line:?}");
}
