//! Repeated, concurrent, old and rolled back deliveries.

use outbox_core::{ErrorKind, EventId};
use outbox_inbox_sqlite::SqliteInbox;
use outbox_inbox_sqlite::rusqlite::{Connection, TransactionBehavior};
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::Duration;

fn connect(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("opened");
    connection
        .busy_timeout(Duration::from_secs(30))
        .expect("set");
    connection
}

async fn inbox(path: &Path, consumer: &str) -> SqliteInbox {
    let migrated = SqliteInbox::migrate(path, consumer).await;
    migrated.expect("migrated")
}

fn accept(inbox: &SqliteInbox, connection: &mut Connection, id: EventId) -> bool {
    let immediate = TransactionBehavior::Immediate;
    let transaction = connection
        .transaction_with_behavior(immediate)
        .expect("begun");
    let is_first = inbox.accept(&transaction, id).expect("asked");
    transaction.commit().expect("committed");
    is_first
}

#[tokio::test]
async fn each_consumer_accepts_an_event_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("billing.db");
    let (billing, mail) = (inbox(&path, "billing").await, inbox(&path, "mail").await);
    let mut connection = connect(&path);
    let (one, two) = (EventId::new(), EventId::new());
    let answers = [
        (&billing, one),
        (&billing, one),
        (&mail, one),
        (&billing, two),
    ]
    .map(|(inbox, id)| accept(inbox, &mut connection, id));
    assert_eq!(answers, [true, false, true, true]);
}

#[tokio::test]
async fn a_rolled_back_transaction_accepted_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("billing.db");
    let inbox = inbox(&path, "billing").await;
    let mut connection = connect(&path);
    let id = EventId::new();
    let transaction = connection.transaction().expect("begun");
    assert!(inbox.accept(&transaction, id).expect("asked"));
    drop(transaction);
    assert!(accept(&inbox, &mut connection, id));
}

#[tokio::test]
async fn one_of_four_concurrent_deliveries_is_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("billing.db");
    let inbox = inbox(&path, "billing").await;
    for _ in 0..10 {
        let (id, barrier) = (EventId::new(), Arc::new(Barrier::new(4)));
        let deliveries = [(); 4].map(|()| {
            let (path, barrier) = (path.clone(), Arc::clone(&barrier));
            let inbox = inbox.clone();
            std::thread::spawn(move || {
                let mut connection = connect(&path);
                barrier.wait();
                accept(&inbox, &mut connection, id)
            })
        });
        let first = deliveries.map(|delivery| delivery.join().expect("answered"));
        assert_eq!(first.iter().filter(|first| **first).count(), 1);
    }
}

#[tokio::test]
async fn clean_up_forgets_old_events_up_to_the_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("billing.db");
    let inbox = inbox(&path, "billing").await;
    let mut connection = connect(&path);
    let (old, young) = ([(); 3].map(|()| EventId::new()), EventId::new());
    for id in old {
        accept(&inbox, &mut connection, id);
    }
    let age = "UPDATE outbox_inbox SET accepted_at = accepted_at - 3600000000";
    connection.execute(age, []).expect("aged");
    accept(&inbox, &mut connection, young);
    for forgotten in [2, 1, 0] {
        let cleaned = inbox.clean_up(Duration::from_secs(60), 2).await;
        assert_eq!(cleaned.expect("cleaned up"), forgotten);
    }
    assert!(!accept(&inbox, &mut connection, young));
    assert!(accept(&inbox, &mut connection, old[0]));
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
