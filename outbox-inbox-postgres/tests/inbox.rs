//! Repeated, rolled back, concurrent and old deliveries, on a real server.

use outbox_core::{ErrorKind, EventId};
use outbox_inbox_postgres::sqlx::postgres::PgPoolOptions;
use outbox_inbox_postgres::sqlx::{ConnectOptions, Executor, PgConnection};
use outbox_inbox_postgres::{PostgresConfig, PostgresInbox, Schema};
use std::sync::Arc;
use std::time::Duration;
use test_servers::postgres::Database;
use test_servers::{Kind, Server, search_path};
use tokio::sync::Barrier;

async fn inbox(database: &Database, consumer: &str) -> PostgresInbox {
    let schema = Schema::new("My \"inbox\"").expect("a name");
    let config = PostgresConfig::new(database.pool()).schema(schema);
    let inbox = PostgresInbox::migrate(config, consumer).await;
    inbox.expect("migrated")
}

async fn connect(database: &Database) -> PgConnection {
    database.options().connect().await.expect("connected")
}

/// Accepts in a separate transaction, which ends with `end`.
async fn accept(
    connection: &mut PgConnection,
    inbox: &PostgresInbox,
    id: EventId,
    end: &'static str,
) -> bool {
    connection.execute("BEGIN").await.expect("begun");
    let first = inbox.accept(connection, id).await.expect("asked");
    connection.execute(end).await.expect("ended");
    first
}

#[tokio::test]
async fn a_consumer_with_an_empty_or_too_long_name_is_refused() {
    let database = Database::create().await;
    let long = "é".repeat(512);
    for name in ["", "a\0b", &*format!("{long}x")] {
        let opened = PostgresInbox::migrate(database.pool(), name).await;
        let error = opened.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("1 to 1024 bytes"), "{error}");
    }
    let inbox = inbox(&database, &long).await;
    assert!(
        accept(
            &mut connect(&database).await,
            &inbox,
            EventId::new(),
            "COMMIT"
        )
        .await
    );
}

#[tokio::test]
async fn an_event_comes_once_for_the_first_time_to_each_consumer() {
    let database = Database::create().await;
    let (billing, mail) = (
        inbox(&database, "billing").await,
        inbox(&database, "mail").await,
    );
    let mut connection = connect(&database).await;
    let (one, two) = (EventId::new(), EventId::new());
    for (inbox, id, first) in [
        (&billing, one, true),
        (&billing, one, false),
        (&mail, one, true),
        (&billing, two, true),
    ] {
        assert_eq!(accept(&mut connection, inbox, id, "COMMIT").await, first);
    }
}

#[tokio::test]
async fn a_delivery_after_a_rollback_is_the_first_again() {
    let database = Database::create().await;
    let (inbox, id) = (inbox(&database, "billing").await, EventId::new());
    let mut connection = connect(&database).await;
    assert!(accept(&mut connection, &inbox, id, "ROLLBACK").await);
    assert!(accept(&mut connection, &inbox, id, "COMMIT").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_concurrent_deliveries_is_the_first() {
    let database = Database::create().await;
    let inbox = inbox(&database, "billing").await;
    for _ in 0..10 {
        let (id, barrier) = (EventId::new(), Arc::new(Barrier::new(4)));
        let mut deliveries = Vec::new();
        for _ in 0..4 {
            let (inbox, barrier) = (inbox.clone(), Arc::clone(&barrier));
            let mut connection = connect(&database).await;
            deliveries.push(tokio::spawn(async move {
                barrier.wait().await;
                accept(&mut connection, &inbox, id, "COMMIT").await
            }));
        }
        let mut first = 0;
        for delivery in deliveries {
            first += usize::from(delivery.await.expect("answered"));
        }
        assert_eq!(first, 1);
    }
}

#[tokio::test]
async fn old_events_are_deleted_up_to_the_limit_and_young_events_are_not() {
    let database = Database::create().await;
    let inbox = inbox(&database, "billing").await;
    let mut connection = connect(&database).await;
    let (old, young) = ([(); 3].map(|()| EventId::new()), EventId::new());
    for id in old {
        accept(&mut connection, &inbox, id, "COMMIT").await;
    }
    let age =
        "UPDATE \"My \"\"inbox\"\"\".outbox_inbox SET accepted_at = now() - interval '1 hour'";
    database.execute(age).await;
    accept(&mut connection, &inbox, young, "COMMIT").await;
    for forgotten in [2, 1, 0] {
        let minute = Duration::from_secs(60);
        assert_eq!(
            inbox.clean_up(minute, 2).await.expect("cleaned up"),
            forgotten
        );
    }
    assert!(!accept(&mut connection, &inbox, young, "COMMIT").await);
    assert!(accept(&mut connection, &inbox, old[0], "COMMIT").await);
}

#[tokio::test]
async fn a_schema_without_the_table_is_refused() {
    let database = Database::create().await;
    let opened = PostgresInbox::open(database.pool(), "billing").await;
    assert_eq!(opened.expect_err("no table").kind(), ErrorKind::Invalid);
}

/// Concurrent consumers, whose transactions may each reach another connection of the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn through_pgbouncer_in_transaction_mode_an_event_is_handled_once() {
    const CONSUMERS: usize = 6;
    let url = test_servers::url(Kind::Postgres).unwrap_or_else(|error| panic!("{error}"));
    let database = Database::create_on(&url).await;
    let bouncer = Server::start_pgbouncer(&search_path(), &url);
    let bouncer = bouncer.unwrap_or_else(|error| panic!("{error}"));
    let ids: Vec<EventId> = (0..20).map(|_| EventId::new()).collect();
    let mut consumers = Vec::new();
    for _ in 0..CONSUMERS {
        let connect = database.options_through(bouncer.url());
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .connect_lazy_with(connect.clone());
        let config = PostgresConfig::new(pool).through_pgbouncer();
        let inbox = PostgresInbox::migrate(config, "all")
            .await
            .expect("migrated");
        let ids = ids.clone();
        consumers.push(tokio::spawn(async move {
            let mut connection = connect.connect().await.expect("connected");
            let mut handled = 0;
            for id in ids {
                connection.execute("BEGIN").await.expect("begun");
                handled += usize::from(inbox.accept(&mut connection, id).await.expect("asked"));
                connection.execute("COMMIT").await.expect("committed");
                inbox
                    .clean_up(Duration::from_secs(3600), 10)
                    .await
                    .expect("cleaned up");
            }
            handled
        }));
    }
    let mut handled = 0;
    for consumer in consumers {
        handled += consumer.await.expect("handled");
    }
    assert_eq!(handled, ids.len());
}
