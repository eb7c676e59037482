//! Statements are not logged: sqlx would log 2 KB of SQL for each slow one.

use outbox_driver_postgres::sqlx::PgPool;
use outbox_driver_postgres::sqlx::postgres::PgPoolOptions;
use outbox_driver_postgres::{Component, PostgresConfig, sqlx};
use std::sync::atomic::{AtomicUsize, Ordering};
use test_servers::postgres::Database;
use tracing::{Event, Metadata, Subscriber, span};

/// How many statements were logged.
static STATEMENTS: AtomicUsize = AtomicUsize::new(0);

struct Counter;

impl Subscriber for Counter {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        if event.metadata().target() == "sqlx::query" {
            STATEMENTS.fetch_add(1, Ordering::SeqCst);
        }
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

const COMPONENT: Component = Component {
    name: "counts",
    tables: &["outbox_counts"],
    migrations: &["CREATE TABLE outbox.outbox_counts (count bigint);"],
};

async fn connected(database: &Database) -> PgPool {
    let options = PgPoolOptions::new().max_connections(1);
    let pool = options.connect_with(database.options()).await;
    pool.expect("connected")
}

#[tokio::test]
async fn no_statement_is_logged_on_a_pool_that_had_connected_before() {
    tracing::subscriber::set_global_default(Counter).expect("the only subscriber");
    let database = Database::create().await;
    let plain = connected(&database).await;
    let pool = connected(&database).await;
    let before = STATEMENTS.load(Ordering::SeqCst);
    let driver = COMPONENT.migrate(PostgresConfig::new(pool)).await;
    let driver = driver.expect("migrated");
    let insert = sqlx::query("INSERT INTO outbox.outbox_counts VALUES (1)");
    driver.execute("count", insert).await.expect("inserted");
    assert_eq!(STATEMENTS.load(Ordering::SeqCst), before);
    // The subscriber would see one.
    let read = sqlx::query("SELECT count FROM outbox.outbox_counts");
    read.fetch_one(&plain).await.expect("read");
    assert!(STATEMENTS.load(Ordering::SeqCst) > before);
}
