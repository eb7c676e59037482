//! Names, tables and times that are refused.

use outbox_core::{ErrorKind, EventId};
use outbox_inbox_sqlite::SqliteInbox;
use outbox_inbox_sqlite::rusqlite::Connection;
use std::path::Path;
use std::time::Duration;

fn connect(path: &Path) -> Connection {
    Connection::open(path).expect("opened")
}

async fn inbox(path: &Path, consumer: &str) -> SqliteInbox {
    let migrated = SqliteInbox::migrate(path, consumer).await;
    migrated.expect("migrated")
}

#[tokio::test]
async fn a_name_without_bytes_or_with_too_many_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("billing.db");
    for name in [String::new(), "x".repeat(1025), "a\0b".to_owned()] {
        for opened in [
            SqliteInbox::migrate(&path, &*name).await,
            SqliteInbox::open(&path, name).await,
        ] {
            let error = opened.expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains("1 to 1024 bytes"), "{error}");
        }
    }
    inbox(&path, &"x".repeat(1024)).await;
}

#[tokio::test]
async fn a_table_with_our_name_of_another_program_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("billing.db");
    connect(&path)
        .execute_batch("CREATE TABLE outbox_inbox (x)")
        .expect("made");
    let migrated = SqliteInbox::migrate(&path, "billing").await;
    let error = migrated.expect_err("not ours");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("outbox_inbox"), "{error}");
}

#[tokio::test]
async fn a_time_in_another_unit_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("billing.db");
    inbox(&path, "billing").await;
    let connection = connect(&path);
    for (id, at) in [
        ("zeroblob(16)", "1767225600"),
        ("zeroblob(16)", "1767225600000"),
        ("zeroblob(16)", "1767225600000000000"),
        ("zeroblob(15)", "1767225600000000"),
        ("'0123456789abcdef'", "1767225600000000"),
    ] {
        let insert = format!("INSERT INTO outbox_inbox VALUES ('billing', {id}, {at})");
        assert!(connection.execute(&insert, []).is_err(), "{insert}");
    }
}

#[tokio::test]
async fn each_call_says_to_migrate_if_the_table_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("billing.db");
    let inbox = inbox(&path, "billing").await;
    let mut connection = Connection::open_in_memory().expect("opened");
    let transaction = connection.transaction().expect("begun");
    let accepted = inbox.accept(&transaction, EventId::new()).map(drop);
    connect(&path)
        .execute_batch("DROP TABLE outbox_inbox")
        .expect("dropped");
    let cleaned = inbox.clean_up(Duration::ZERO, 1).await.map(drop);
    for (call, result) in [("accept", accepted), ("clean_up", cleaned)] {
        let error = result.expect_err(call);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{call}: {error}");
        let advice = "run `outbox migrate --inbox` or call `SqliteInbox::migrate`";
        assert!(error.to_string().contains(advice), "{call}: {error}");
    }
}
