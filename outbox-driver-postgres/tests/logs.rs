//! Statements are not logged: sqlx would log 2 KB of SQL for each slow one.

use outbox_conformance::Log;
use outbox_driver_postgres::sqlx::PgPool;
use outbox_driver_postgres::sqlx::postgres::PgPoolOptions;
use outbox_driver_postgres::{Component, PostgresConfig, sqlx};
use test_servers::postgres::Database;

const COMPONENT: Component = Component {
    name: "counts",
    tables: &["outbox_counts"],
    migrations: &["CREATE TABLE outbox.outbox_counts (count bigint);"],
    min_compatible: 1,
};

async fn connected(database: &Database) -> PgPool {
    let options = PgPoolOptions::new().max_connections(1);
    let pool = options.connect_with(database.options()).await;
    pool.expect("connected")
}

#[tokio::test]
async fn no_statement_is_logged_on_a_pool_that_had_connected_before() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).expect("the only subscriber");
    let statements = || {
        let lines = log.lines().into_iter();
        lines.filter(|line| line.target == "sqlx::query").count()
    };
    let database = Database::create().await;
    let plain = connected(&database).await;
    let pool = connected(&database).await;
    let before = statements();
    let driver = COMPONENT.migrate(PostgresConfig::new(pool)).await;
    let driver = driver.expect("migrated");
    let insert = sqlx::query("INSERT INTO outbox.outbox_counts VALUES (1)");
    driver.execute("count", insert).await.expect("inserted");
    assert_eq!(statements(), before);
    // The subscriber would see one.
    let read = sqlx::query("SELECT count FROM outbox.outbox_counts");
    read.fetch_one(&plain).await.expect("read");
    assert!(statements() > before);
}
