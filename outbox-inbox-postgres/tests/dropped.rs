//! Calls that are dropped at each await point. The pool has a single connection, so a call that keeps it
//! is found.

use outbox_conformance::{CrashPoint, at_each_point};
use outbox_core::EventId;
use outbox_inbox_postgres::sqlx::{Connection, Executor, PgPool, Row};
use outbox_inbox_postgres::{PostgresConfig, PostgresInbox, Schema};
use std::time::Duration;
use test_servers::postgres::Database;

async fn inbox(pool: &PgPool) -> PostgresInbox {
    let inbox = PostgresInbox::migrate(pool.clone(), "billing").await;
    inbox.expect("migrated")
}

/// Accepts in a transaction, and commits it if the call returned. Otherwise it rolls back, as it must.
#[allow(
    clippy::disallowed_methods,
    reason = "an application starts its transaction like this; the future is not dropped in it"
)]
async fn accept(
    pool: &PgPool,
    inbox: &PostgresInbox,
    id: EventId,
    point: Option<CrashPoint>,
) -> Option<bool> {
    let mut connection = pool.acquire().await.expect("a connection");
    let mut transaction = connection.begin().await.expect("begun");
    let asked = inbox.accept(&mut transaction, id);
    let answer = match point {
        Some(point) => point.reach(asked).await?,
        None => asked.await,
    };
    transaction.commit().await.expect("committed");
    Some(answer.expect("asked"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_dropped_accept_the_next_delivery_is_the_first() {
    let database = Database::create().await;
    let pool = database.pool_of(1);
    let inbox = inbox(&pool).await;
    at_each_point("accept", async |point| {
        let id = EventId::new();
        let answer = accept(&pool, &inbox, id, Some(point)).await;
        assert!(answer.unwrap_or(true), "{point:?}");
        let first = accept(&pool, &inbox, id, None).await;
        assert_eq!(first, Some(answer.is_none()), "{point:?}");
        assert_eq!(accept(&pool, &inbox, id, None).await, Some(false));
        answer.is_some()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_clean_up_deletes_all_or_none_of_its_events() {
    const EVENTS: i64 = 3;
    let database = Database::create().await;
    let pool = database.pool_of(1);
    let inbox = inbox(&pool).await;
    let left = async || {
        let count = "SELECT count(*) FROM outbox.outbox_inbox";
        let row = pool.fetch_one(count).await.expect("counted");
        row.get::<i64, _>(0)
    };
    at_each_point("clean_up", async |point| {
        for _ in 0..EVENTS {
            accept(&pool, &inbox, EventId::new(), None).await;
        }
        let cleaning = inbox.clean_up(Duration::ZERO, 10);
        let done = point.reach(cleaning).await.map(|done| done.expect("done"));
        let found = left().await;
        match done {
            Some(count) => assert_eq!((count, found), (3, 0)),
            None => assert!([0, EVENTS].contains(&found), "{found} left at {point:?}"),
        }
        // What the server is still at, it has done or will have.
        while left().await > 0 {
            inbox.clean_up(Duration::ZERO, 10).await.expect("done");
        }
        done.is_some()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_migration_or_opening_can_be_repeated() {
    let database = Database::create().await;
    let pool = database.pool_of(1);
    let (mut schemas, id) = (0.., EventId::new());
    at_each_point("migrate", async |point| {
        let schema = Schema::new(format!("inbox {}", schemas.next().unwrap_or(0)));
        let config = PostgresConfig::new(pool.clone()).schema(schema.expect("a name"));
        let migrate = || PostgresInbox::migrate(config.clone(), "billing");
        let ended = point
            .reach(migrate())
            .await
            .map(|inbox| inbox.expect("migrated"));
        let inbox = migrate().await.expect("migrated again");
        assert_eq!(accept(&pool, &inbox, id, None).await, Some(true));
        ended.is_some()
    })
    .await;
    let schema = Schema::new("inbox 0").expect("a name");
    let config = PostgresConfig::new(pool.clone()).schema(schema);
    at_each_point("open", async |point| {
        let open = || PostgresInbox::open(config.clone(), "billing");
        let ended = point
            .reach(open())
            .await
            .map(|inbox| inbox.expect("opened"));
        let inbox = open().await.expect("opened again");
        assert_eq!(accept(&pool, &inbox, id, None).await, Some(false));
        ended.is_some()
    })
    .await;
}
