//! Calls that the suite does not make, dropped at each await point: an append, a migration, an opening.
//! The pool has a single connection, so a call that keeps it is found.

use outbox_conformance::{CrashPoint, at_each_point};
use outbox_core::{ClaimLimit, Event, EventId, OutboxStorage, Outcome, Settlement};
use outbox_store_postgres::sqlx::{Connection, PgPool};
use outbox_store_postgres::{Appender, PostgresConfig, PostgresStore, Schema};
use std::time::Duration;
use test_servers::postgres::Database;

/// Appends in a transaction, and commits it if the append returned. Otherwise it rolls back, as it must.
#[allow(
    clippy::disallowed_methods,
    reason = "an application starts its transaction like this, and this call is not dropped"
)]
async fn append_at(
    pool: &PgPool,
    schema: &Schema,
    events: &[Event],
    point: Option<CrashPoint>,
) -> bool {
    let mut connection = pool.acquire().await.expect("a connection");
    let mut transaction = connection.begin().await.expect("begun");
    let appender = Appender::new(schema);
    let appending = appender.append(&mut transaction, events);
    let appended = match point {
        Some(point) => point.reach(appending).await,
        None => Some(appending.await),
    };
    let Some(appended) = appended else {
        return false;
    };
    appended.expect("appended");
    transaction.commit().await.expect("committed");
    true
}

/// Publishes all events that can be claimed, and returns them in their order.
async fn publish_all(store: &PostgresStore) -> Vec<EventId> {
    let mut published = Vec::new();
    loop {
        let claim = store
            .claim(ClaimLimit::events(10), Duration::from_secs(30))
            .await;
        let claim = claim.expect("claimed");
        if claim.events.is_empty() {
            return published;
        }
        let ids: Vec<_> = claim.events.iter().map(|one| one.event.id).collect();
        let settlement = |id: &EventId| Settlement::new(*id, Outcome::Published);
        let settlements: Vec<_> = ids.iter().map(settlement).collect();
        let settled = store.settle(claim.token, &settlements).await;
        settled.expect("settled");
        published.extend(ids);
    }
}

fn events(count: usize) -> Vec<Event> {
    let numbers = 0..count;
    numbers
        .map(|number| {
            let event = Event::new("dropped", number.to_string()).ordering_key("key");
            event.idempotency_token(EventId::new().to_string())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_append_leaves_nothing_and_can_be_repeated() {
    let database = Database::create().await;
    let (pool, schema) = (database.pool_of(1), Schema::default());
    let store = PostgresStore::migrate(pool.clone()).await;
    let store = store.expect("migrated");
    for count in [1, 3] {
        at_each_point(&format!("append of {count}"), async |point| {
            let events = events(count);
            let ended = append_at(&pool, &schema, &events, Some(point)).await;
            if !ended {
                assert_eq!(publish_all(&store).await, [], "{point:?}");
                append_at(&pool, &schema, &events, None).await;
            }
            let ids: Vec<_> = events.iter().map(|event| event.id).collect();
            assert_eq!(publish_all(&store).await, ids, "{point:?}");
            ended
        })
        .await;
    }
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
    let works = async |store: PostgresStore, number: i32| {
        let schema = Schema::new(format!("outbox {number}")).expect("a name");
        let events = events(1);
        append_at(&pool, &schema, &events, None).await;
        assert_eq!(publish_all(&store).await, [events[0].id]);
    };
    at_each_point("migrate", async |point| {
        let number = schemas.next().unwrap_or(0);
        let migrate = || PostgresStore::migrate(config(number));
        let ended = point.reach(migrate()).await.map(Result::unwrap);
        works(migrate().await.expect("migrated again"), number).await;
        ended.is_some()
    })
    .await;
    at_each_point("open", async |point| {
        let open = || PostgresStore::open(config(0));
        let ended = point.reach(open()).await.map(Result::unwrap);
        works(open().await.expect("opened again"), 0).await;
        ended.is_some()
    })
    .await;
}
