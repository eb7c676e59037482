//! A relay publishes while its server is killed and started again: each event arrives, in the order of
//! its key.

mod support;

use outbox_core::{Event, EventId, OutboxConfig, OutboxStorage, Relay};
use outbox_dlq_memory::MemoryDlqHeap;
use outbox_store_memory::MemoryStore;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use support::{Raw, open, server};
use tokio::sync::oneshot;

const KEYS: usize = 50;

fn events(count: usize) -> Vec<Event> {
    let event = |number: usize| {
        let key = format!("key {}", number % KEYS);
        Event::new("order", number.to_string()).ordering_key(key)
    };
    (0..count).map(event).collect()
}

/// The events without repetitions, and how many repetitions there were.
fn first_arrivals(arrived: Vec<Event>) -> (Vec<Event>, usize) {
    let (mut seen, total) = (HashSet::new(), arrived.len());
    let first: Vec<Event> = arrived
        .into_iter()
        .filter(|event| seen.insert(event.id))
        .collect();
    let repeated = total - first.len();
    (first, repeated)
}

fn by_key(events: &[Event]) -> HashMap<Option<String>, Vec<EventId>> {
    let mut keys: HashMap<_, Vec<_>> = HashMap::new();
    for event in events {
        keys.entry(event.ordering_key.clone())
            .or_default()
            .push(event.id);
    }
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_arrives_in_order_while_the_server_is_killed_three_times() {
    const COUNT: usize = 10_000;
    let mut server = server("");
    Raw::connect(server.url()).create_stream("ORDERS", "outbox.>", "");
    let (store, heap) = (Arc::new(MemoryStore::new()), Arc::new(MemoryDlqHeap::new()));
    let sent = events(COUNT);
    store.append(&sent).expect("appended");
    let config = OutboxConfig::builder()
        .breaker_max(Duration::from_secs(1))
        .build()
        .expect("options");
    let transport = open(server.url(), Duration::from_secs(5));
    let relay = Relay::new(Arc::clone(&store), transport)
        .dlq_heap(Arc::clone(&heap))
        .config(config);
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(relay.run(async move {
        let _ = stopped.await;
    }));
    let mut kills = 0;
    loop {
        let count = Raw::connect(server.url()).count("ORDERS");
        if count >= COUNT {
            break;
        }
        if kills < 3 && count > (kills + 1) * COUNT / 5 {
            server.kill().expect("killed");
            tokio::time::sleep(Duration::from_millis(300)).await;
            server.restart().expect("started");
            kills += 1;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let backlog = loop {
        let backlog = store.backlog().await.expect("a backlog");
        if backlog.pending == 0 {
            break backlog;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    stop.send(()).expect("running");
    running.await.expect("ended").expect("no error");
    let (arrived, repeated) = first_arrivals(Raw::connect(server.url()).events("ORDERS"));
    println!("{kills} kills, {repeated} events arrived again");
    assert_eq!((kills, backlog.dead_letters), (3, 0));
    assert_eq!(arrived.len(), COUNT);
    assert_eq!(by_key(&arrived), by_key(&sent));
}
