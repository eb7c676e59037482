//! A relay from the memory store, whose events go to a server that is killed.

#[path = "support/mod.rs"]
mod support;

use outbox_core::{
    DeadLetterFilter, DeadLetters, Event, EventId, OutboxConfig, OutboxStorage, Relay,
};
use outbox_dlq_memory::MemoryDlqHeap;
use outbox_store_memory::MemoryStore;
use outbox_transport_postgres::sqlx::{Executor, Row};
use outbox_transport_postgres::{PostgresTransport, PostgresTransportConfig, Schema};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use support::publish;
use test_servers::postgres::Database;
use test_servers::{Kind, Server, search_path};
use tokio::sync::oneshot;

/// Events of this many keys, in the order of each key.
fn events(count: usize, keys: usize) -> Vec<Event> {
    let event = |n: usize| {
        Event::new("order.placed", n.to_string()).ordering_key(format!("key {}", n % keys))
    };
    (0..count).map(event).collect()
}

fn by_key<'e>(events: impl Iterator<Item = (&'e str, EventId)>) -> BTreeMap<&'e str, Vec<EventId>> {
    let mut keys: BTreeMap<&str, Vec<EventId>> = BTreeMap::new();
    for (key, id) in events {
        keys.entry(key).or_default().push(id);
    }
    keys
}

/// Each event arrived once, and each key in order.
async fn check_arrived(database: &Database, sent: &[Event]) {
    let pool = database.pool_of(1);
    let all = "SELECT ordering_key, id::text FROM outbox.outbox_arrived ORDER BY seq";
    let rows = pool.fetch_all(all).await.expect("read");
    let arrived = rows
        .iter()
        .map(|row| (row.get(0), row.get::<&str, _>(1).parse().expect("an id")));
    let sent = sent
        .iter()
        .map(|event| (event.ordering_key.as_deref().expect("a key"), event.id));
    assert!(
        by_key(arrived) == by_key(sent),
        "events are missing, there twice or out of order"
    );
}

/// Runs a relay until the store is empty. `during` is called with how many events are pending.
async fn relay(
    store: &Arc<MemoryStore>,
    transport: PostgresTransport,
    mut during: impl FnMut(u64),
) {
    let config = OutboxConfig::builder()
        .batch_size(100)
        .breaker_initial(Duration::from_millis(50))
        .breaker_max(Duration::from_millis(200));
    let relay = Relay::new(Arc::clone(store), transport)
        .dlq_heap(MemoryDlqHeap::new())
        .config(config.build().expect("valid"));
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(relay.run(async { drop(stopped.await) }));
    loop {
        let pending = store.backlog().await.expect("read").pending;
        if pending == 0 {
            break;
        }
        during(pending);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(stop);
    running.await.expect("no panic").expect("stopped");
    let dead = store
        .list(&DeadLetterFilter::default(), None, 10)
        .await
        .expect("read");
    assert!(dead.is_empty(), "{dead:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_events_arrive_in_order_while_the_server_is_killed_three_times() {
    const EVENTS: usize = 10_000;
    let mut server = Server::start(Kind::Postgres, &search_path()).expect("a server");
    let database = Database::create_on(server.url()).await;
    database
        .execute(&PostgresTransport::script(&Schema::default()))
        .await;
    let config =
        PostgresTransportConfig::new(database.pool_of(10)).call_timeout(Duration::from_secs(2));
    let transport = PostgresTransport::open(config).expect("opened");
    let (store, sent) = (Arc::new(MemoryStore::new()), events(EVENTS, 50));
    store.append(&sent).expect("appended");
    let mut kills = vec![2500, 5000, 7500];
    relay(&store, transport, |pending| {
        if kills.last().is_some_and(|&left| pending < left) {
            kills.pop();
            tokio::task::block_in_place(|| server.crash()).expect("back");
        }
    })
    .await;
    assert!(kills.is_empty(), "the server was killed too late");
    check_arrived(&database, &sent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_with_many_events_is_published_in_batches() {
    let database = Database::create().await;
    let transport = PostgresTransport::migrate(database.pool_of(10))
        .await
        .expect("migrated");
    let (store, sent) = (Arc::new(MemoryStore::new()), events(10_000, 1));
    store.append(&sent).expect("appended");
    let start = std::time::Instant::now();
    relay(&store, transport, |_| ()).await;
    let rate = 10_000.0 / start.elapsed().as_secs_f64();
    println!("{rate:.0} events of one key a second");
    check_arrived(&database, &sent).await;
    // A call for each event would send no more than a call a millisecond or so.
    let batches = "SELECT count(DISTINCT xmin::text) FROM outbox.outbox_arrived";
    let row = database.pool_of(1).fetch_one(batches).await.expect("read");
    let calls: i64 = row.get(0);
    assert!(calls <= 400, "{calls} calls");
}

/// The destination is missing when the relay starts. A person creates it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_quarantined_while_the_table_is_missing() {
    let database = Database::create().await;
    let transport = PostgresTransport::open(database.pool_of(10)).expect("opened");
    let (store, sent) = (Arc::new(MemoryStore::new()), events(1000, 10));
    store.append(&sent).expect("appended");
    let script = PostgresTransport::script(&Schema::default());
    let mut turns = 0;
    relay(&store, transport, |pending| {
        turns += 1;
        if turns == 500 {
            assert_eq!(pending, 1000);
            let create = database.execute(&script);
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(create));
        }
    })
    .await;
    check_arrived(&database, &sent).await;
}

/// One event that the table refuses is quarantined with the server's words, and the others arrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_poison_event_is_quarantined_with_the_words_of_the_server() {
    let database = Database::create().await;
    let transport = PostgresTransport::migrate(database.pool_of(10))
        .await
        .expect("migrated");
    let poison =
        "ALTER TABLE outbox.outbox_arrived ADD CONSTRAINT no_poison CHECK (event_type <> 'poison')";
    database.execute(poison).await;
    let (store, sent) = (Arc::new(MemoryStore::new()), events(200, 10));
    store
        .append(&[Event::new("poison", "x")])
        .expect("appended");
    store.append(&sent).expect("appended");
    let config = OutboxConfig::builder()
        .retry_initial(Duration::from_millis(1))
        .retry_max(Duration::from_millis(5))
        .heap_interval(Duration::from_millis(20))
        .failure_threshold(3);
    let relay = Relay::new(Arc::clone(&store), transport.clone())
        .dlq_heap(MemoryDlqHeap::new())
        .config(config.build().expect("valid"));
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(relay.run(async { drop(stopped.await) }));
    let dead = loop {
        let dead = store
            .list(&DeadLetterFilter::default(), None, 10)
            .await
            .expect("read");
        if !dead.is_empty() && store.backlog().await.expect("read").pending == 0 {
            break dead;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    drop(stop);
    running.await.expect("no panic").expect("stopped");
    let reason = format!("{:?}", dead[0]);
    assert!(dead.len() == 1 && reason.contains("no_poison"), "{reason}");
    check_arrived(&database, &sent).await;
    publish(
        &transport,
        &[Event::new("a", "still works").ordering_key("key 0")],
    )
    .await;
}
