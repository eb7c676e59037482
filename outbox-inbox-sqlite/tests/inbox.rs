//! Deliveries that repeat, roll back, race and grow old.

use outbox_core::{ErrorKind, EventId};
use outbox_inbox_sqlite::SqliteInbox;
use outbox_inbox_sqlite::rusqlite::{Connection, TransactionBehavior};
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::Duration;

fn open(path: &Path) -> Connection {
    let mut connection = Connection::open(path).expect("opened");
    connection
        .busy_timeout(Duration::from_secs(30))
        .expect("set");
    SqliteInbox::migrate_on(&mut connection).expect("migrated");
    connection
}

fn accept(connection: &mut Connection, consumer: &str, id: EventId) -> bool {
    let immediate = TransactionBehavior::Immediate;
    let transaction = connection
        .transaction_with_behavior(immediate)
        .expect("begun");
    let first = SqliteInbox::new(consumer)
        .accept(&transaction, id)
        .expect("asked");
    transaction.commit().expect("committed");
    first
}

#[test]
fn an_event_comes_for_the_first_time_once_for_each_consumer() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut connection = open(&folder.path().join("billing.db"));
    let (one, two) = (EventId::new(), EventId::new());
    let answers = [
        ("billing", one),
        ("billing", one),
        ("mail", one),
        ("billing", two),
    ]
    .map(|(consumer, id)| accept(&mut connection, consumer, id));
    assert_eq!(answers, [true, false, true, true]);
}

#[test]
fn a_delivery_after_a_rollback_is_the_first_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut connection = open(&folder.path().join("billing.db"));
    let id = EventId::new();
    let transaction = connection.transaction().expect("begun");
    assert!(
        SqliteInbox::new("billing")
            .accept(&transaction, id)
            .expect("asked")
    );
    drop(transaction);
    assert!(accept(&mut connection, "billing", id));
}

#[test]
fn one_of_many_deliveries_at_once_is_the_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("billing.db");
    drop(open(&path));
    for _ in 0..10 {
        let (id, barrier) = (EventId::new(), Arc::new(Barrier::new(4)));
        let deliveries = [(); 4].map(|()| {
            let (path, barrier) = (path.clone(), Arc::clone(&barrier));
            std::thread::spawn(move || {
                let mut connection = open(&path);
                barrier.wait();
                accept(&mut connection, "billing", id)
            })
        });
        let first = deliveries.map(|delivery| delivery.join().expect("answered"));
        assert_eq!(first.iter().filter(|first| **first).count(), 1);
    }
}

#[test]
fn old_events_are_forgotten_by_the_limit_and_young_ones_are_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut connection = open(&folder.path().join("billing.db"));
    let (old, young) = ([(); 3].map(|()| EventId::new()), EventId::new());
    for id in old {
        accept(&mut connection, "billing", id);
    }
    let age = "UPDATE outbox_inbox SET accepted_at = accepted_at - 3600000000";
    connection.execute(age, []).expect("aged");
    accept(&mut connection, "billing", young);
    let clean_up = |limit| {
        let inbox = SqliteInbox::new("billing");
        inbox
            .clean_up(&connection, Duration::from_secs(60), limit)
            .expect("cleaned up")
    };
    assert_eq!((clean_up(2), clean_up(2), clean_up(2)), (2, 1, 0));
    assert!(!accept(&mut connection, "billing", young));
    assert!(accept(&mut connection, "billing", old[0]));
}

#[test]
fn a_table_of_our_name_that_is_not_ours_is_refused() {
    let mut connection = Connection::open_in_memory().expect("opened");
    connection
        .execute_batch("CREATE TABLE outbox_inbox (x)")
        .expect("made");
    let error = SqliteInbox::migrate_on(&mut connection).expect_err("not ours");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(
        error.to_string().contains("outbox_inbox"),
        "{}",
        error.to_string()
    );
}

#[test]
fn a_time_of_another_unit_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let connection = open(&folder.path().join("billing.db"));
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
