//! A relay to a broker that is killed and started again.

mod support;

use outbox_core::{Event, EventId, OutboxConfig, OutboxStorage, Relay};
use outbox_store_memory::MemoryStore;
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Broker, Place};
use test_servers::{Kind, Server, search_path};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, block_in_place};

/// How long all events may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

fn keyed(count: usize, keys: usize) -> Vec<Event> {
    let event = |number: usize| Event::new("conformance.restarts", number.to_string());
    (0..count)
        .map(|number| event(number).ordering_key((number % keys).to_string()))
        .collect()
}

/// A relay that runs until the test ends it.
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    fn start(store: &Arc<MemoryStore>, place: &Place) -> Self {
        let options = OutboxConfig::builder()
            .batch_size(500)
            .breaker_initial(Duration::from_millis(20))
            .breaker_max(Duration::from_millis(100))
            .build();
        let relay = Relay::new(Arc::clone(store), place.transport());
        let relay = relay.config(options.expect("options"));
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

async fn until_pending(store: &MemoryStore, most: u64) {
    let begun = Instant::now();
    while store.backlog().await.expect("a backlog").pending > most {
        assert!(begun.elapsed() < PATIENCE, "events are left");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The events of each key, in their order.
fn by_key<'e>(events: impl Iterator<Item = &'e Event>) -> HashMap<Option<String>, Vec<EventId>> {
    let mut keys = HashMap::<_, Vec<EventId>>::new();
    for event in events {
        keys.entry(event.ordering_key.clone())
            .or_default()
            .push(event.id);
    }
    keys
}

/// Checks that all events have arrived, each key's in the order of their first arrivals. Returns the
/// number of duplicates.
fn check_arrived(sent: &[Event], received: &[Event]) -> usize {
    let mut seen = HashSet::new();
    let first = received.iter().filter(|event| seen.insert(event.id));
    assert_eq!(
        by_key(first),
        by_key(sent.iter()),
        "the events of each key in order"
    );
    received.len() - sent.len()
}

/// `integration-tests` kill a broker with a classic queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_events_arrive_in_a_quorum_queue_while_the_broker_is_killed() {
    let server = Server::start(Kind::RabbitMq, &search_path());
    let mut server = server.expect("a server");
    let queue = json!({"x-queue-type": "quorum"});
    let place = Place::with_queue(Broker::at(server.url()), queue);
    let store = Arc::new(MemoryStore::new());
    let sent = keyed(10_000, 50);
    store.append(&sent).expect("appended");
    let relay = Running::start(&store, &place);
    until_pending(&store, 5_000).await;
    block_in_place(|| server.crash()).expect("started again");
    until_pending(&store, 0).await;
    relay.end().await;
    let duplicates = check_arrived(&sent, &place.received());
    println!("{duplicates} duplicates");
    let backlog = store.backlog().await.expect("a backlog");
    assert_eq!(backlog.dead_letters, 0, "quarantined events");
}
