//! A heap keeps the timeouts that it is opened with.

use outbox_conformance::Folder;
use outbox_core::{DlqHeap, ErrorKind, EventId};
use outbox_dlq_sqlite::rusqlite::{Connection, Transaction, TransactionBehavior};
use outbox_dlq_sqlite::{SqliteConfig, SqliteDlqHeap};
use std::time::Duration;

#[tokio::test]
async fn a_call_waits_for_a_lock_until_its_timeout() {
    let folder = Folder::new();
    let path = folder.path().join("heap.db");
    let config = SqliteConfig::new(&path)
        .busy_timeout(Duration::from_secs(3600))
        .call_timeout(Duration::from_secs(1234));
    let migrated = SqliteDlqHeap::migrate(config.clone());
    let migrated = migrated.await.unwrap();
    let opened = SqliteDlqHeap::open(config).await.unwrap();
    let other = Connection::open(&path).unwrap();
    let lock = Transaction::new_unchecked(&other, TransactionBehavior::Immediate).unwrap();
    // The paused clock advances while the calls wait for the lock.
    tokio::time::pause();
    for heap in [&migrated, &opened] {
        let error = heap.record_failure(EventId::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let report = error.to_string();
        let expected = "no answer within 1234s; the call may have been applied";
        assert!(report.contains(expected), "{report}");
    }
    tokio::time::resume();
    lock.commit().unwrap();
    opened.record_failure(EventId::new()).await.unwrap();
    assert!(!migrated.drain_exceeded(1).await.unwrap().is_empty());
}
