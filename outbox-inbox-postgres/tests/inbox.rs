//! Names and schemas that are refused, and deliveries through PgBouncer.

use outbox_core::{ErrorKind, EventId};
use outbox_inbox_postgres::sqlx::postgres::PgPoolOptions;
use outbox_inbox_postgres::sqlx::{ConnectOptions, Executor};
use outbox_inbox_postgres::{PostgresConfig, PostgresInbox};
use std::time::Duration;
use test_servers::postgres::Database;
use test_servers::{Kind, Server, search_path};

#[tokio::test]
async fn a_consumer_without_a_name_or_with_one_that_no_index_holds_is_refused() {
    let database = Database::create().await;
    let long = "é".repeat(512);
    for name in ["", "a\0b", &*format!("{long}x")] {
        let opened = PostgresInbox::migrate(database.pool(), name).await;
        let error = opened.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("1 to 1024 bytes"), "{error}");
    }
    let inbox = PostgresInbox::migrate(database.pool(), long).await;
    let inbox = inbox.expect("migrated");
    let mut connection = database.options().connect().await.expect("connected");
    let accepted = inbox.accept(&mut connection, EventId::new()).await;
    assert!(accepted.expect("accepted"));
}

#[tokio::test]
async fn a_schema_without_the_table_is_refused() {
    let database = Database::create().await;
    let opened = PostgresInbox::open(database.pool(), "billing").await;
    assert_eq!(opened.expect_err("no table").kind(), ErrorKind::Invalid);
}

/// Each transaction of the six consumers may use another connection of the server.
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
