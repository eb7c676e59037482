//! A full disk, and locks of other connections, held repeatedly.

use outbox_conformance::Folder;
use outbox_core::{DlqHeap, ErrorKind, ErrorText, EventId, FailedAttempt, OutboxError};
use outbox_dlq_sqlite::rusqlite::{Connection, Transaction, TransactionBehavior};
use outbox_dlq_sqlite::{SqliteConfig, SqliteDlqHeap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;
use test_servers::{file_on_a_full_disk, on_a_full_disk};

const LEASE: Duration = Duration::from_secs(60);

fn batch(ids: &[EventId]) -> Vec<FailedAttempt> {
    let text = ErrorText::new(&"refused ".repeat(100));
    let failure = |id: &EventId| FailedAttempt::new(*id).with_error(text.clone());
    ids.iter().map(failure).collect()
}

#[track_caller]
fn unavailable<T>(result: Result<T, OutboxError>) {
    let error = result.err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
#[ignore = "run by the next test, in a process whose files cannot grow"]
async fn a_child_records_until_the_disk_is_full() {
    let path = file_on_a_full_disk().expect("a file");
    let heap = SqliteDlqHeap::open(SqliteConfig::new(path))
        .await
        .expect("opened");
    let (mut batches, mut refused) = (0, 0);
    // The handle must still work after the first refusal.
    while refused < 3 {
        let ids: Vec<EventId> = (0..50).map(|_| EventId::new()).collect();
        match heap.record_failures(&batch(&ids)).await {
            Ok(()) => batches += 1,
            error => {
                unavailable(error);
                refused += 1;
            }
        }
    }
    let size = heap.size().await.expect("read").expect("read");
    assert_eq!(size.entries, batches * 50);
    println!("recorded {batches}.");
}

#[tokio::test]
async fn a_full_disk_refuses_whole_batches_and_loses_none() {
    let folder = Folder::new();
    let path = folder.path().join("heap.db");
    let heap = SqliteDlqHeap::migrate(&path).await.expect("migrated");
    let output = on_a_full_disk("a_child_records_until_the_disk_is_full", &path, 300);
    let batches = output.split("recorded ").nth(1);
    let batches: u64 = batches
        .and_then(|rest| rest.split('.').next())
        .and_then(|count| count.parse().ok())
        .expect("a count");
    assert!(batches > 0, "the disk was full from the start");
    // With free space the heap works again. It has exactly the batches that were confirmed.
    heap.record_failures(&batch(&[EventId::new()]))
        .await
        .expect("recorded");
    let drained = heap.drain_exceeded(1).await.expect("drained");
    assert_eq!(drained.len() as u64, batches * 50 + 1);
    assert!(drained.iter().all(|entry| entry.failure_count == 1));
}

fn impatient(path: &Path) -> SqliteConfig {
    SqliteConfig::new(path).busy_timeout(Duration::from_millis(1))
}

#[tokio::test]
async fn while_another_connection_has_the_lock_each_write_fails_whole() {
    let folder = Folder::new();
    let path = folder.path().join("heap.db");
    let heap = SqliteDlqHeap::migrate(impatient(&path));
    let heap = heap.await.expect("migrated");
    let other = Connection::open(&path).expect("opened");
    let ids = [EventId::new(), EventId::new()];
    for round in 1..=20 {
        heap.record_failures(&batch(&ids)).await.expect("recorded");
        let lock = Transaction::new_unchecked(&other, TransactionBehavior::Immediate);
        let lock = lock.expect("locked");
        unavailable(heap.record_failure(ids[0]).await);
        unavailable(heap.record_failures(&batch(&ids)).await);
        unavailable(heap.record_success(ids[0]).await);
        unavailable(heap.forget(&ids).await);
        unavailable(heap.drain_exceeded(1).await);
        unavailable(heap.lease_exceeded(1, 2, LEASE).await);
        unavailable(heap.prune(Duration::ZERO, 2).await);
        let size = heap.size().await.expect("a look needs no lock");
        assert_eq!(size.map(|size| size.entries), Some(2));
        lock.rollback().expect("unlocked");
        let drained = heap.drain_exceeded(round).await.expect("drained");
        assert_eq!(drained.len(), 2);
        assert!(drained.iter().all(|entry| entry.failure_count == round));
        for _ in 0..round {
            heap.record_failures(&batch(&ids)).await.expect("recorded");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_many_locks_a_failure_counts_if_and_only_if_it_was_confirmed() {
    let folder = Folder::new();
    let path = folder.path().join("heap.db");
    let heap = SqliteDlqHeap::migrate(impatient(&path));
    let heap = heap.await.expect("migrated");
    let is_over = Arc::new(AtomicBool::new(false));
    let storm = {
        let (is_over, other) = (is_over.clone(), Connection::open(&path).expect("opened"));
        other.busy_timeout(LEASE).expect("set");
        std::thread::spawn(move || {
            while !is_over.load(SeqCst) {
                let held = "BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS storm(x);
                            INSERT INTO storm SELECT value FROM json_each('[1,2,3]'); COMMIT";
                other.execute_batch(held).expect("written");
            }
        })
    };
    let (id, mut counted, mut refused) = (EventId::new(), 0, 0);
    while counted < 50 || refused < 50 {
        match heap.record_failure(id).await {
            Ok(()) => counted += 1,
            error => {
                unavailable(error);
                refused += 1;
            }
        }
    }
    is_over.store(true, SeqCst);
    storm.join().expect("over");
    println!("{counted} counted, {refused} refused");
    let drained = heap.drain_exceeded(1).await.expect("drained");
    assert_eq!(drained[0].failure_count, counted);
}
