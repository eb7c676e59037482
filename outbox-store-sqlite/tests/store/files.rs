//! Files that are refused.

use outbox_core::ErrorKind;
use outbox_store_sqlite::SqliteStore;
use outbox_store_sqlite::rusqlite::Connection;

#[tokio::test]
async fn files_that_are_not_an_outbox_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let refused = |result: Result<SqliteStore, outbox_core::OutboxError>, hint: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(hint), "{error}");
    };
    refused(SqliteStore::open(path("missing.db")).await, "missing.db");
    assert!(!path("missing.db").exists());
    std::fs::write(
        path("text.db"),
        "not a database, but long enough to be looked at".repeat(40),
    )
    .unwrap();
    refused(SqliteStore::open(path("text.db")).await, "text.db");
    Connection::open(path("empty.db"))
        .unwrap()
        .execute_batch("CREATE TABLE x(y)")
        .unwrap();
    refused(SqliteStore::open(path("empty.db")).await, "migrate");
    Connection::open(path("foreign.db"))
        .unwrap()
        .execute_batch("CREATE TABLE outbox_events(y)")
        .unwrap();
    refused(
        SqliteStore::migrate(path("foreign.db")).await,
        "outbox_events",
    );
    SqliteStore::migrate(path("newer.db")).await.unwrap();
    SqliteStore::migrate(path("newer.db")).await.unwrap();
    SqliteStore::open(path("newer.db")).await.unwrap();
    Connection::open(path("newer.db"))
        .unwrap()
        .execute_batch(
            "DELETE FROM outbox_migrations WHERE version > 1; UPDATE outbox_migrations SET version = 99, min_compatible = 99",
        )
        .unwrap();
    refused(SqliteStore::open(path("newer.db")).await, "newer");
    refused(SqliteStore::migrate(path("newer.db")).await, "newer");
}
