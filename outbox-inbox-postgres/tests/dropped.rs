//! Calls whose future is dropped at each of its await points in turn. The pool has one connection, so
//! the next call fails if a dropped call keeps it. The suite drops deliveries.

use outbox_conformance::at_each_point;
use outbox_core::EventId;
use outbox_inbox_postgres::sqlx::{Executor, PgPool, Row};
use outbox_inbox_postgres::{PostgresConfig, PostgresInbox, Schema};
use std::time::Duration;
use test_servers::postgres::Database;

async fn inbox(pool: &PgPool) -> PostgresInbox {
    let inbox = PostgresInbox::migrate(pool.clone(), "billing").await;
    inbox.expect("migrated")
}

/// In a separate transaction.
async fn accept(pool: &PgPool, inbox: &PostgresInbox, id: EventId) -> bool {
    let mut connection = pool.acquire().await.expect("a connection");
    let accepted = inbox.accept(&mut connection, id).await;
    accepted.expect("accepted or refused")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_clean_up_forgets_all_or_none_of_its_events() {
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
            accept(&pool, &inbox, EventId::new()).await;
        }
        let cleaning = inbox.clean_up(Duration::ZERO, 10);
        let done = point.reach(cleaning).await.map(|done| done.expect("done"));
        let found = left().await;
        match done {
            Some(count) => assert_eq!((count, found), (3, 0)),
            None => assert!([0, EVENTS].contains(&found), "{found} left at {point:?}"),
        }
        // The server may still run the dropped call.
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
        assert!(accept(&pool, &inbox, id).await);
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
        assert!(!accept(&pool, &inbox, id).await);
        ended.is_some()
    })
    .await;
}
