//! The relay on SQLite and on PostgreSQL, with a heap in a Redis that is killed and started again.

use integration_tests::{assert_each_once, assert_ordered_per_key, drained, keyed_events};
use outbox_conformance::transport::MemoryBroker;
use outbox_core::{
    DeadLetterFilter, DeadLetters, DlqProcessor, Event, EventId, OutboxConfig, OutboxStorage,
    PublishErrorKind, Relay,
};
use outbox_dlq_redis::{RedisConfig, RedisDlqHeap, Server};
use outbox_store_postgres::PostgresStore;
use outbox_store_sqlite::SqliteStore;
use outbox_store_sqlite::rusqlite::{Connection, TransactionBehavior};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use test_servers::postgres::Database;
use test_servers::{Server as Started, search_path};
use tokio::sync::oneshot;

const POISON: &str = "poison";

fn config() -> OutboxConfig {
    let ms = Duration::from_millis;
    let config = OutboxConfig::builder()
        .failure_threshold(3)
        .retry_initial(ms(10))
        .retry_max(ms(50))
        .poll_interval(ms(20))
        .heap_interval(ms(50));
    config.build().expect("a valid config")
}

/// Twenty events of four keys, and the same with an event that the broker always rejects.
fn with_poison() -> (Vec<Event>, Vec<Event>) {
    let good = keyed_events(4, 5);
    let mut all = good.clone();
    all.insert(7, Event::new(POISON, "{}"));
    (good, all)
}

async fn arrived(broker: &MemoryBroker, events: &[Event]) {
    let all = async {
        loop {
            let received: HashSet<EventId> = broker.events().iter().map(|event| event.id).collect();
            if events.iter().all(|event| received.contains(&event.id)) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), all).await;
    assert!(waited.is_ok(), "{} events arrived", broker.events().len());
}

/// Runs a relay on a store while its Redis is killed and started again.
async fn delivers_and_quarantines<S>(store: S, append: impl AsyncFn(&[Event]))
where
    S: OutboxStorage + DeadLetters + 'static,
{
    let store = Arc::new(store);
    let as_storage = Arc::clone(&store) as Arc<dyn OutboxStorage>;
    let dead_letters = async || {
        let all = DeadLetterFilter::all();
        store.list(&all, None, 10).await.expect("listed")
    };
    let broker = MemoryBroker::with_rule(|event, _| match &*event.event_type {
        POISON => Err(PublishErrorKind::Rejected),
        _ => Ok(()),
    });
    let mut redis = Started::start_redis(&search_path(), None, &[]).expect("started");
    let server = Server::from_url(redis.url()).expect("a URL");
    let heap = RedisDlqHeap::open(RedisConfig::new(server).namespace("shop"))
        .await
        .expect("opened");
    let relay = Relay::new(Arc::clone(&as_storage), Arc::new(broker.clone()))
        .dlq_heap(Arc::new(heap.clone()))
        .config(config());
    let (stop, stopped) = oneshot::channel::<()>();
    let relay = tokio::spawn(relay.run(async { drop(stopped.await) }));

    let (mut good, all) = with_poison();
    append(&all).await;
    drained(&as_storage).await;
    assert_each_once(&broker.events(), &good);
    assert_ordered_per_key(&broker.events());
    let [dead_letter] = &dead_letters().await[..] else {
        panic!("not exactly one dead letter")
    };
    assert_eq!(&*dead_letter.event_type, POISON);
    assert!(
        dead_letter.failure_count >= 3,
        "{}",
        dead_letter.failure_count
    );

    redis.kill().expect("killed");
    let (more, all) = with_poison();
    append(&all).await;
    arrived(&broker, &more).await;
    good.extend(more);
    assert_eq!(dead_letters().await.len(), 1, "quarantined without a heap");

    redis.restart().expect("started again");
    drained(&as_storage).await;
    assert_eq!(dead_letters().await.len(), 2);
    assert_each_once(&broker.events(), &good);
    drop(stop);
    relay
        .await
        .expect("no panic")
        .expect("a relay that ends without an error");
    // An attempt that failed just before the quarantine may be counted after it. Nothing else is left.
    let all = OutboxConfig::builder().failure_threshold(1).build();
    let mut processor = DlqProcessor::new(heap, as_storage).config(all.expect("a valid config"));
    let left = processor.tick().await.expect("a tick");
    assert_eq!((left.moved, left.busy), (0, 0), "{left:?}");
    assert!(left.missing <= 1, "the heap has not forgotten: {left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_on_sqlite_is_quarantined_and_delivery_continues_without_redis() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("shop.db");
    let store = SqliteStore::migrate(&path).await.expect("migrated");
    delivers_and_quarantines(store, async |events: &[Event]| {
        let mut connection = Connection::open(&path).expect("opened");
        let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let tx = begun.expect("begun");
        outbox_store_sqlite::append(&tx, events).expect("appended");
        tx.commit().expect("committed");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_on_postgres_is_quarantined_and_delivery_continues_without_redis() {
    let database = Database::create().await;
    let store = PostgresStore::migrate(database.pool()).await;
    delivers_and_quarantines(store.expect("migrated"), async |events: &[Event]| {
        let mut connection = database.pool().acquire().await.expect("a connection");
        let appended = outbox_store_postgres::append(&mut connection, events).await;
        appended.expect("appended");
    })
    .await;
}
