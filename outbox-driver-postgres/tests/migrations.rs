//! Schemas and migrations against a real server.

use outbox_core::{ErrorKind, OutboxError};
use outbox_driver_postgres::sqlx::{self, AssertSqlSafe, PgPool};
use outbox_driver_postgres::{Component, Driver, PostgresConfig, Schema};
use std::sync::Arc;
use test_servers::postgres::Database;
use tokio::sync::Barrier;

const TABLES: &[&str] = &["outbox_things"];

const MIGRATIONS: &[&str] = &[
    "-- Of outbox.outbox_things.\nCREATE TABLE outbox.outbox_things (x bigint);\n",
    "ALTER TABLE outbox.outbox_things ADD y bigint;\nINSERT INTO outbox.outbox_things VALUES (1, 2);\n",
];
const BROKEN: &[&str] = &[MIGRATIONS[0], "CREATE TABLE outbox.outbox_things ();"];
const ODD: &str = "My \"outbox\"; DROP TABLE é'\n--";

fn config(pool: PgPool, schema: &str) -> PostgresConfig {
    let schema = Schema::new(schema).expect("a name");
    PostgresConfig::new(pool).schema(schema)
}

fn things(migrations: &'static [&'static str]) -> Component {
    Component {
        name: "things",
        tables: TABLES,
        migrations,
        min_compatible: 1,
    }
}

/// The component of a program whose second migration takes something away.
fn breaking() -> Component {
    Component {
        min_compatible: 2,
        ..things(MIGRATIONS)
    }
}

/// The versions that are recorded, each with the oldest one that is compatible.
async fn recorded(config: &PostgresConfig) -> Vec<(i32, i32)> {
    let driver = Driver::new(config.clone());
    let rows =
        driver.sql("SELECT version, min_compatible FROM outbox.outbox_migrations ORDER BY version");
    let rows = sqlx::query_as(rows).fetch_all(driver.pool()).await;
    rows.expect("read")
}

/// Migrates, and returns how many migrations it applied.
async fn migrate(
    config: &PostgresConfig,
    migrations: &'static [&'static str],
) -> Result<usize, OutboxError> {
    let before = applied(config, migrations).await?;
    things(migrations).migrate(config.clone()).await?;
    Ok(applied(config, migrations).await? - before)
}

async fn applied(
    config: &PostgresConfig,
    migrations: &'static [&'static str],
) -> Result<usize, OutboxError> {
    things(migrations).applied(config.clone()).await
}

/// Opens a component that needs `version`.
async fn open(config: &PostgresConfig, version: usize) -> Result<Driver, OutboxError> {
    things(&MIGRATIONS[..version]).open(config.clone()).await
}

#[track_caller]
fn refused(result: Result<impl std::fmt::Debug, OutboxError>, text: &str) {
    let error = result.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains(text), "{error}");
}

#[tokio::test]
async fn a_schema_is_created_and_brought_up_to_date_once() {
    let database = Database::create().await;
    for name in ["outbox", "public", ODD] {
        let config = config(database.pool(), name);
        assert_eq!(applied(&config, MIGRATIONS).await.unwrap(), 0);
        assert_eq!(migrate(&config, &MIGRATIONS[..1]).await.unwrap(), 1);
        assert_eq!(applied(&config, MIGRATIONS).await.unwrap(), 1);
        refused(open(&config, 2).await, "version 1");
        assert_eq!(migrate(&config, MIGRATIONS).await.unwrap(), 1);
        assert_eq!(migrate(&config, MIGRATIONS).await.unwrap(), 0);
        open(&config, 2).await.expect("up to date");
        let driver = Driver::new(config);
        let sql = driver.sql("SELECT y FROM outbox.outbox_things");
        assert_eq!(
            driver.fetch("read", sqlx::query(sql)).await.unwrap().len(),
            1
        );
    }
}

#[tokio::test]
async fn one_of_many_concurrent_migrations_applies_the_migrations() {
    let database = Database::create().await;
    for round in 0..10 {
        let barrier = Arc::new(Barrier::new(6));
        let mut tasks = Vec::new();
        for _ in 0..6 {
            let config = config(database.pool(), &format!("round {round}"));
            let barrier = Arc::clone(&barrier);
            tasks.push(tokio::spawn(async move {
                Driver::new(config.clone())
                    .pool()
                    .acquire()
                    .await
                    .expect("connected");
                barrier.wait().await;
                let migrated = things(MIGRATIONS).migrate(config).await;
                migrated.expect("migrated")
            }));
        }
        for task in tasks {
            let driver = task.await.expect("ran");
            // The second migration inserts a row.
            let rows = driver.sql("SELECT y FROM outbox.outbox_things");
            let rows = driver.fetch("read", sqlx::query(rows)).await.unwrap();
            assert_eq!(rows.len(), 1);
        }
    }
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing() {
    let database = Database::create().await;
    let config = config(database.pool(), "outbox");
    migrate(&config, BROKEN).await.expect_err("twice the same");
    assert_eq!(applied(&config, MIGRATIONS).await.unwrap(), 0);
    assert_eq!(migrate(&config, MIGRATIONS).await.unwrap(), 2);
}

#[tokio::test]
async fn a_table_of_another_program_is_not_changed() {
    let database = Database::create().await;
    let config = config(database.pool(), "public");
    database
        .execute("CREATE TABLE public.outbox_things (theirs text)")
        .await;
    refused(migrate(&config, MIGRATIONS).await, "outbox_things");
    refused(applied(&config, MIGRATIONS).await, "outbox_things");
    database
        .execute("CREATE TABLE public.outbox_migrations (theirs text)")
        .await;
    refused(migrate(&config, MIGRATIONS).await, "outbox_migrations");
    refused(applied(&config, MIGRATIONS).await, "outbox_migrations");
    refused(open(&config, 2).await, "outbox_migrations");
    // The operation of an error is the method.
    let asked = applied(&config, MIGRATIONS).await.unwrap_err();
    assert_eq!(asked.operation(), "applied_migrations");
    let migrated = things(MIGRATIONS).migrate(config.clone()).await;
    let migrated = migrated.unwrap_err();
    assert_eq!(migrated.operation(), "migrate");
    let opened = open(&config, 2).await.unwrap_err();
    assert_eq!(opened.operation(), "open");
}

#[tokio::test]
async fn tables_of_ours_are_recognised_after_all_rows_were_deleted() {
    let database = Database::create().await;
    let config = config(database.pool(), ODD);
    migrate(&config, MIGRATIONS).await.expect("migrated");
    let schema = Schema::new(ODD).expect("a name").quoted();
    for table in ["outbox_things", "outbox_migrations"] {
        let delete = format!("DELETE FROM {schema}.{table}");
        database.execute(&delete).await;
    }
    assert_eq!(applied(&config, MIGRATIONS).await.expect("asked"), 2);
    refused(open(&config, 2).await, "outbox migrate");
    assert_eq!(migrate(&config, MIGRATIONS).await.expect("repaired"), 0);
    open(&config, 2).await.expect("noted again");
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'outbox_beside'";
    let left: i64 = sqlx::query_scalar(schemas)
        .fetch_one(&database.pool())
        .await
        .expect("counted");
    assert_eq!(left, 0, "the schema for the comparison stays");
}

#[tokio::test]
async fn missing_tables_are_named_with_what_to_do() {
    let database = Database::create().await;
    let config = config(database.pool(), "a \"place\"");
    refused(open(&config, 2).await, "outbox migrate");
    migrate(&config, MIGRATIONS).await.unwrap();
    let others = Component {
        name: "others",
        ..things(&MIGRATIONS[..1])
    };
    refused(others.open(config.clone()).await, "others");
}

#[tokio::test]
async fn tables_of_a_newer_version_that_only_adds_are_used() {
    let database = Database::create().await;
    let config = config(database.pool(), ODD);
    migrate(&config, MIGRATIONS).await.expect("migrated");
    let before = recorded(&config).await;
    assert_eq!(before, [(1, 1), (2, 1)]);
    let driver = open(&config, 1).await.expect("compatible");
    let insert = driver.sql("INSERT INTO outbox.outbox_things (x) VALUES (3)");
    let inserted = driver.execute("insert", sqlx::query(insert)).await;
    assert_eq!(inserted.expect("inserted"), 1);
    let old = &MIGRATIONS[..1];
    assert_eq!(applied(&config, old).await.expect("asked"), 2);
    assert_eq!(migrate(&config, old).await.expect("nothing to do"), 0);
    assert_eq!(recorded(&config).await, before);
    open(&config, 2).await.expect("the newest");
    // A table of this program that is missing is still an error.
    let drop = driver.sql("DROP TABLE outbox.outbox_things");
    driver
        .execute("drop", sqlx::query(drop))
        .await
        .expect("dropped");
    refused(open(&config, 1).await, "lacks outbox_things");
}

#[tokio::test]
async fn tables_that_a_newer_version_made_incompatible_are_refused_with_the_numbers() {
    let database = Database::create().await;
    let schema = Schema::new(ODD).expect("a name");
    let printed = config(database.pool(), ODD);
    sqlx::raw_sql(AssertSqlSafe(breaking().script(&schema)))
        .execute(&database.pool())
        .await
        .expect("a script");
    let migrated = config(database.pool(), "outbox");
    let done = breaking().migrate(migrated.clone()).await;
    done.expect("migrated");
    let numbers =
        "of version 2, for programs that know version 2 or a later one, and this program knows 1";
    for config in [printed, migrated] {
        // No program that knows fewer versions is newer than the first migration.
        assert_eq!(recorded(&config).await, [(1, 1), (2, 2)]);
        refused(open(&config, 1).await, numbers);
        refused(migrate(&config, &MIGRATIONS[..1]).await, numbers);
        refused(applied(&config, &MIGRATIONS[..1]).await, numbers);
        breaking().open(config).await.expect("the newest");
    }
    // The row of the newest version counts.
    database
        .execute("INSERT INTO outbox.outbox_migrations (component, version) VALUES ('things', 3)")
        .await;
    let config = config(database.pool(), "outbox");
    open(&config, 1).await.expect("compatible");
}

#[tokio::test]
async fn tables_of_before_the_column_are_opened_and_get_it_when_they_are_migrated() {
    let database = Database::create().await;
    let config = config(database.pool(), "outbox");
    let old = &MIGRATIONS[..1];
    migrate(&config, old).await.expect("migrated");
    let drop = "ALTER TABLE outbox.outbox_migrations DROP COLUMN min_compatible";
    database.execute(drop).await;
    let role = format!("{}_reader", database.name());
    database
        .execute(&format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA outbox TO {role};
             GRANT SELECT ON outbox.outbox_migrations TO {role}"
        ))
        .await;
    let options = database.options().username(&role);
    let theirs = self::config(PgPool::connect_lazy_with(options), "outbox");
    open(&theirs, 1).await.expect("opened");
    assert_eq!(applied(&theirs, MIGRATIONS).await.expect("asked"), 1);
    refused(migrate(&theirs, old).await, "must be owner");
    refused(open(&config, 2).await, "outbox migrate");
    assert_eq!(migrate(&config, old).await.expect("migrated"), 0);
    assert_eq!(recorded(&config).await, [(1, 1)]);
    assert_eq!(migrate(&theirs, old).await.expect("nothing is missing"), 0);
    breaking().migrate(config.clone()).await.expect("migrated");
    assert_eq!(recorded(&config).await, [(1, 1), (2, 2)]);
    Driver::new(theirs).pool().close().await;
    database
        .execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await;
}

#[tokio::test]
async fn a_missing_privilege_is_named_and_none_is_needed_when_nothing_is_missing() {
    let database = Database::create().await;
    let role = format!("{}_role", database.name());
    database.execute(&format!("CREATE ROLE {role} LOGIN")).await;
    let options = database.options().username(&role);
    let theirs = config(PgPool::connect_lazy_with(options), "outbox");
    refused(migrate(&theirs, MIGRATIONS).await, "permission denied");
    let ours = config(database.pool(), "outbox");
    migrate(&ours, MIGRATIONS).await.unwrap();
    refused(open(&theirs, 2).await, "permission denied");
    database
        .execute(&format!(
            "GRANT USAGE ON SCHEMA outbox TO {role}; \
             GRANT SELECT ON outbox.outbox_migrations TO {role}"
        ))
        .await;
    open(&theirs, 2).await.expect("may read");
    assert_eq!(migrate(&theirs, MIGRATIONS).await.unwrap(), 0);
    Driver::new(theirs).pool().close().await;
    database
        .execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await;
}

#[tokio::test]
async fn row_level_security_is_not_reported_as_missing_tables() {
    let database = Database::create().await;
    migrate(&config(database.pool(), "outbox"), MIGRATIONS)
        .await
        .unwrap();
    let role = format!("{}_hidden", database.name());
    database
        .execute(&format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA outbox TO {role};
             GRANT ALL ON ALL TABLES IN SCHEMA outbox TO {role}"
        ))
        .await;
    let options = database.options().username(&role);
    let theirs = config(PgPool::connect_lazy_with(options), "outbox");
    open(&theirs, 2).await.expect("opened");
    for table in ["outbox_migrations", "outbox_things"] {
        let secure = |word| format!("ALTER TABLE outbox.{table} {word} ROW LEVEL SECURITY");
        database.execute(&secure("ENABLE")).await;
        let expected = format!("row level security may hide rows of {table}");
        refused(open(&theirs, 2).await, &expected);
        refused(applied(&theirs, MIGRATIONS).await, &expected);
        // The owner of the tables sees all rows.
        open(&config(database.pool(), "outbox"), 2)
            .await
            .expect("opened");
        database.execute(&secure("DISABLE")).await;
    }
    open(&theirs, 2).await.expect("opened");
    database
        .execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await;
}

#[tokio::test]
async fn the_printed_script_does_what_a_migration_does() {
    let database = Database::create().await;
    let schema = Schema::new(ODD).expect("a name");
    let script = things(MIGRATIONS).script(&schema);
    sqlx::raw_sql(AssertSqlSafe(script))
        .execute(&database.pool())
        .await
        .expect("a script");
    let config = config(database.pool(), ODD);
    open(&config, 2).await.expect("up to date");
    assert_eq!(migrate(&config, MIGRATIONS).await.unwrap(), 0);
}

#[tokio::test]
async fn a_server_with_another_isolation_is_refused() {
    let database = Database::create().await;
    let options = database
        .options()
        .options([("default_transaction_isolation", "serializable")]);
    let config = config(PgPool::connect_lazy_with(options), "outbox");
    refused(migrate(&config, MIGRATIONS).await, "serializable");
    refused(applied(&config, MIGRATIONS).await, "serializable");
}
