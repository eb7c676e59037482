//! Outages, privileges, missing schemas.

use outbox_conformance::{TcpWire, Wire};
use outbox_core::{DlqHeap, ErrorKind, EventId, FailedAttempt, OutboxError};
use outbox_dlq_postgres::sqlx::postgres::PgPoolOptions;
use outbox_dlq_postgres::{PostgresConfig, PostgresDlqHeap, Schema};
use std::net::TcpListener;
use std::time::Duration;
use test_servers::postgres::Database;
use test_servers::{Kind, Server, search_path};

const LEASE: Duration = Duration::from_secs(60);

async fn open(database: &Database) -> PostgresDlqHeap {
    PostgresDlqHeap::migrate(database.pool())
        .await
        .expect("opened")
}

#[track_caller]
fn refused<T>(result: Result<T, OutboxError>, kind: ErrorKind) -> String {
    let error = result.err().expect("refused");
    assert_eq!(error.kind(), kind, "{error}");
    error.to_string()
}

fn kind<T>(result: Result<T, OutboxError>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

/// Calls each method, and returns the kinds of the errors. None for a call that succeeds.
async fn every_method(heap: &PostgresDlqHeap) -> Vec<Option<ErrorKind>> {
    let id = EventId::new();
    vec![
        kind(heap.record_failure(id).await),
        kind(heap.record_failures(&[FailedAttempt::new(id)]).await),
        kind(heap.lease_exceeded(2, 1, LEASE).await),
        kind(heap.size().await),
        kind(heap.prune(LEASE, 10).await),
        kind(heap.record_success(id).await),
        kind(heap.forget(&[id]).await),
        kind(heap.drain_exceeded(1).await),
    ]
}

#[tokio::test]
async fn a_schema_without_a_heap_is_named_with_what_to_do() {
    let database = Database::create().await;
    let text = refused(
        PostgresDlqHeap::open(database.pool()).await,
        ErrorKind::Invalid,
    );
    assert!(
        text.contains("\"outbox\"") && text.contains("outbox migrate"),
        "{text}"
    );
    open(&database).await;
    PostgresDlqHeap::open(database.pool())
        .await
        .expect("migrated");
    let schema = Schema::new("Outbox").expect("a name");
    let other = PostgresConfig::new(database.pool()).schema(schema);
    let opened = PostgresDlqHeap::open(other).await;
    let text = refused(opened, ErrorKind::Invalid);
    assert!(text.contains("\"Outbox\""), "{text}");
}

#[tokio::test]
async fn a_heap_whose_table_is_gone_says_to_migrate() {
    let database = Database::create().await;
    let heap = open(&database).await;
    database.execute("DROP TABLE outbox.outbox_dlq_heap").await;
    assert_eq!(every_method(&heap).await, [Some(ErrorKind::Invalid); 8]);
    let text = refused(heap.size().await, ErrorKind::Invalid);
    assert!(text.contains("outbox migrate"), "{text}");
}

#[tokio::test]
async fn an_outage_is_unavailable_and_the_handle_works_again_after_it() {
    let database = Database::create().await;
    let pool = database.pool();
    let config = PostgresConfig::new(pool.clone()).call_timeout(Duration::from_millis(200));
    let heap = PostgresDlqHeap::migrate(pool.clone()).await;
    heap.expect("migrated");
    let heap = PostgresDlqHeap::open(config).await.expect("opened");
    assert_eq!(every_method(&heap).await, [None; 8]);
    let closed = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = closed.local_addr().expect("an address").port();
    drop(closed);
    pool.set_connect_options(database.options().host("127.0.0.1").port(port));
    database.disconnect_all().await;
    assert_eq!(every_method(&heap).await, [Some(ErrorKind::Unavailable); 8]);
    let config = PostgresConfig::new(pool.clone()).call_timeout(Duration::from_millis(200));
    let nowhere = PostgresDlqHeap::open(config);
    refused(nowhere.await, ErrorKind::Unavailable);
    pool.set_connect_options(database.options());
    // The last call's closing may still be under way; the pool itself is back at once.
    pool.acquire().await.expect("the server is back");
    assert_eq!(every_method(&heap).await, [None; 8]);
}

#[tokio::test]
async fn connections_that_the_server_ended_lose_no_count() {
    let database = Database::create().await;
    let (heap, id) = (open(&database).await, EventId::new());
    for _ in 0..5 {
        heap.record_failure(id).await.expect("recorded");
        database.disconnect_all().await;
    }
    assert_eq!(
        heap.drain_exceeded(1).await.expect("drained")[0].failure_count,
        5
    );
}

const SCHEMA_PAGE: &str = include_str!("../../outbox-store-postgres/docs/postgres-schema.md");

/// Whether the heap needs this GRANT of the page. The others are for the tables of the store.
fn is_for_the_heap(line: &str) -> bool {
    let objects = [
        "SCHEMA outbox TO",
        "outbox_migrations TO",
        "outbox_dlq_heap TO",
    ];
    line.starts_with("GRANT")
        && line.ends_with("TO relay;")
        && objects.iter().any(|object| line.contains(object))
}

#[tokio::test]
async fn the_privileges_that_are_documented_are_enough() {
    let database = Database::create().await;
    open(&database).await;
    let role = format!("{}_role", database.name());
    database.execute(&format!("CREATE ROLE {role} LOGIN")).await;
    let mut granted = 0;
    for line in SCHEMA_PAGE.lines().filter(|line| is_for_the_heap(line)) {
        let grant = line.replace(" TO relay;", &format!(" TO {role}"));
        database.execute(&grant).await;
        granted += 1;
    }
    assert_eq!(granted, 3);
    let pool = PgPoolOptions::new().connect_lazy_with(database.options().username(&role));
    let heap = PostgresDlqHeap::open(pool.clone()).await.expect("opened");
    assert_eq!(every_method(&heap).await, [None; 8]);
    database
        .execute(&format!(
            "REVOKE DELETE ON outbox.outbox_dlq_heap FROM {role}"
        ))
        .await;
    let text = refused(heap.drain_exceeded(1).await, ErrorKind::Invalid);
    assert!(text.contains("postgres-schema.md#privileges"), "{text}");
    pool.close().await;
    database
        .execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await;
}

#[tokio::test]
async fn the_printed_script_makes_a_heap() {
    let database = Database::create().await;
    let schema = Schema::new("by \"hand\"").expect("a name");
    database.execute(&PostgresDlqHeap::script(&schema)).await;
    let config = PostgresConfig::new(database.pool()).schema(schema);
    let heap = PostgresDlqHeap::open(config).await.expect("opened");
    assert_eq!(every_method(&heap).await, [None; 8]);
}

#[tokio::test]
async fn a_silent_connection_is_unavailable_and_the_handle_works_again_after_it() {
    let database = Database::create().await;
    let wire = TcpWire::to(database.address()).expect("a wire");
    open(&database).await;
    let pool = database.pool_over(wire.port(), 4);
    let config = PostgresConfig::new(pool).call_timeout(Duration::from_millis(500));
    let heap = PostgresDlqHeap::open(config).await;
    let heap = heap.expect("opened");
    assert_eq!(every_method(&heap).await, [None; 8]);
    wire.go_silent();
    assert_eq!(every_method(&heap).await, [Some(ErrorKind::Unavailable); 8]);
    assert!(!wire.repair(), "nothing was cut");
    assert_eq!(every_method(&heap).await, [None; 8]);
}

/// Several clients, whose calls may each reach another connection of the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_of_pgbouncer_in_transaction_mode_count_every_failure() {
    const CLIENTS: u32 = 6;
    const FAILURES: u32 = 20;
    let url = test_servers::url(Kind::Postgres).unwrap_or_else(|error| panic!("{error}"));
    let database = Database::create_on(&url).await;
    let bouncer = Server::start_pgbouncer(&search_path(), &url);
    let bouncer = bouncer.unwrap_or_else(|error| panic!("{error}"));
    let (id, other) = (EventId::new(), EventId::new());
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let options = database.options_through(bouncer.url());
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .connect_lazy_with(options);
        let config = PostgresConfig::new(pool).through_pgbouncer();
        let heap = PostgresDlqHeap::migrate(config).await.expect("migrated");
        clients.push(tokio::spawn(async move {
            for _ in 0..FAILURES {
                heap.record_failure(id).await.expect("recorded");
                heap.record_failure(other).await.expect("recorded");
                heap.record_success(other).await.expect("forgotten");
                heap.lease_exceeded(u32::MAX, 10, Duration::from_secs(1))
                    .await
                    .expect("leased");
                heap.size().await.expect("counted");
                heap.prune(Duration::from_secs(3600), 10)
                    .await
                    .expect("pruned");
            }
            heap
        }));
    }
    let mut heap = None;
    for client in clients {
        heap = Some(client.await.expect("counted"));
    }
    let drained = heap
        .expect("a client")
        .drain_exceeded(1)
        .await
        .expect("drained");
    let counts: Vec<(EventId, u32)> = drained
        .iter()
        .map(|one| (one.id, one.failure_count))
        .collect();
    assert_eq!(counts, [(id, CLIENTS * FAILURES)]);
}
