//! Migrations and openings that are dropped at each await point. The pool has a single connection, so a
//! call that keeps it is found.

use outbox_conformance::at_each_point;
use outbox_core::{DlqHeap, EventId};
use outbox_dlq_postgres::{PostgresConfig, PostgresDlqHeap, Schema};
use test_servers::postgres::Database;

async fn works(heap: PostgresDlqHeap) {
    let id = EventId::new();
    heap.record_failure(id).await.expect("counted");
    let drained = heap.drain_exceeded(1).await.expect("drained");
    let counts = drained.iter().map(|entry| (entry.id, entry.failure_count));
    assert_eq!(counts.collect::<Vec<_>>(), [(id, 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_migration_or_opening_can_be_repeated() {
    let database = Database::create().await;
    let pool = database.pool_of(1);
    let mut schemas = 0..;
    let config = |number| {
        let schema = Schema::new(format!("outbox {number}"));
        PostgresConfig::new(pool.clone()).schema(schema.expect("a name"))
    };
    at_each_point("migrate", async |point| {
        let number = schemas.next().unwrap_or(0);
        let migrate = || PostgresDlqHeap::migrate(config(number));
        let ended = point.reach(migrate()).await.map(Result::unwrap);
        works(migrate().await.expect("migrated again")).await;
        ended.is_some()
    })
    .await;
    at_each_point("open", async |point| {
        let open = || PostgresDlqHeap::open(config(0));
        let ended = point.reach(open()).await.map(Result::unwrap);
        works(open().await.expect("opened again")).await;
        ended.is_some()
    })
    .await;
}
