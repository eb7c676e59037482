//! A heap in another place than the store.

use super::Shop;
use crate::redis::Shared;
use crate::support::{blocking, events, json};
use outbox_core::{DlqHeap, EventId, FailedAttempt};
use outbox_dlq_postgres::PostgresDlqHeap;
use outbox_dlq_sqlite::SqliteDlqHeap;
use outbox_store_postgres::{PostgresConfig, Schema};
use std::sync::Arc;
use test_servers::Kind;

async fn open(shop: &Shop, redis: &Shared, url: &str) -> Arc<dyn DlqHeap> {
    if url.starts_with("redis:") {
        return Arc::new(redis.open().await);
    }
    if let Some(path) = url.strip_prefix("sqlite:") {
        return Arc::new(SqliteDlqHeap::open(shop.folder().join(path)).await.unwrap());
    }
    let schema = Schema::new("counts").unwrap();
    let config = PostgresConfig::new(shop.database.pool()).schema(schema);
    let heap = PostgresDlqHeap::open(config).await;
    Arc::new(heap.unwrap())
}

async fn fail(shop: &Shop, redis: &Shared, url: &str, id: EventId) {
    let heap = open(shop, redis, url).await;
    let failures = vec![FailedAttempt::new(id); 3];
    heap.record_failures(&failures).await.unwrap();
}

#[test]
fn a_heap_in_another_schema_in_a_file_or_in_redis_counts_and_is_forgotten_there() {
    for elsewhere in [
        |shop: &Shop, _: &Shared| shop.url_with("schema=counts"),
        |_: &Shop, _: &Shared| "sqlite:heap.db".to_owned(),
        |_: &Shop, redis: &Shared| redis.url(),
    ] {
        let (shop, redis) = (Shop::empty(), Shared::new(Kind::Redis));
        let heap = elsewhere(&shop, &redis);
        let both = |arguments: &[&str]| shop.done(&[arguments, &["--heap", &heap]].concat());
        both(&["migrate"]);
        shop.refused(&["status"], 2, &["dlq-heap", "outbox migrate"]);
        let entries = || json(&both(&["status", "--json"]))["heap_entries"].clone();
        assert_eq!(entries(), 0);

        let id = shop.quarantined(&events("order.placed", 1), "refused")[0];
        blocking(fail(&shop, &redis, &heap, id));
        assert_eq!(entries(), 1);
        both(&["dlq", "replay", "--all"]);
        assert_eq!(entries(), 0);
        assert_eq!(both(&["relay", "--drain"]).lines().count(), 1);

        // The event is due in an hour, so only the quarantine can end this relay.
        let late = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
        let delayed = events("order.placed", 1).remove(0).available_at(late);
        shop.appended(std::slice::from_ref(&delayed));
        blocking(fail(&shop, &redis, &heap, delayed.id));
        assert_eq!(both(&["relay", "--drain", "--failure-threshold", "3"]), "");
        let dead_letter = json(&shop.done(&["dlq", "list", "--json"]));
        assert_eq!(dead_letter["event"]["id"], delayed.id.to_string());
        assert_eq!(dead_letter["failure_count"], 3);
    }
}
