//! What the suite cannot test with every heap: migrations of a file, and times in microseconds.

use outbox_conformance::{Folder, ManualClock};
use outbox_core::{DlqHeap, ErrorKind, EventId};
use outbox_dlq_sqlite::rusqlite::{Connection, Transaction, TransactionBehavior};
use outbox_dlq_sqlite::{MIGRATIONS, SqliteConfig, SqliteDlqHeap};
use std::time::Duration;

const AGE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn applied_migrations_are_counted_before_and_after_a_migration() {
    let folder = Folder::new();
    let path = folder.path().join("heap.db");
    let applied = async || {
        let applied = SqliteDlqHeap::applied_migrations(&path).await;
        applied.expect("counted")
    };
    assert_eq!(applied().await, None);
    let connection = Connection::open(&path).expect("opened");
    connection.execute_batch("VACUUM").expect("written");
    assert_eq!(applied().await, Some(0));
    let error = SqliteDlqHeap::open(&path).await.expect_err("not migrated");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let migrated = connection.execute_batch(&SqliteDlqHeap::script());
    migrated.expect("migrated");
    assert_eq!(applied().await, Some(MIGRATIONS.len()));
    let heap = SqliteDlqHeap::open(&path).await.expect("migrated");
    heap.record_failure(EventId::new()).await.expect("recorded");
}

#[tokio::test]
async fn a_call_without_work_takes_no_lock() {
    let folder = Folder::new();
    let path = folder.path().join("heap.db");
    let config = SqliteConfig::new(&path).busy_timeout(Duration::ZERO);
    let heap = SqliteDlqHeap::migrate(config).await;
    let heap = heap.expect("migrated");
    let other = Connection::open(&path).expect("opened");
    let _lock = Transaction::new_unchecked(&other, TransactionBehavior::Immediate).expect("locked");
    let id = EventId::new();
    heap.forget(&[id]).await.expect("nothing to forget");
    assert_eq!(heap.drain_exceeded(1).await.expect("empty"), []);
    let error = heap.record_failure(id).await.expect_err("locked");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

/// A heap with one entry, and its clock.
async fn heap(name: &str) -> (SqliteDlqHeap, ManualClock) {
    let clock = ManualClock::new();
    let heap = SqliteDlqHeap::migrate(SqliteConfig::in_memory(name)).await;
    let heap = heap.expect("opened").with_clock(clock.clock());
    let recorded = heap.record_failure(EventId::new()).await;
    recorded.expect("recorded");
    (heap, clock)
}

#[tokio::test]
async fn only_an_entry_older_than_the_age_is_pruned() {
    let (heap, clock) = heap("pruned").await;
    clock.advance(AGE);
    assert_eq!(heap.prune(AGE, 10).await.expect("pruned"), 0);
    clock.advance(Duration::from_micros(1));
    assert_eq!(heap.prune(AGE, 10).await.expect("pruned"), 1);
}

#[tokio::test]
async fn the_longest_times_are_accepted() {
    let (heap, clock) = heap("longest").await;
    assert_eq!(heap.prune(Duration::MAX, 10).await.expect("pruned"), 0);
    let leased = heap.lease_exceeded(1, 10, Duration::MAX).await;
    assert_eq!(leased.expect("leased").len(), 1);
    clock.advance(Duration::from_secs(3600));
    assert_eq!(heap.drain_exceeded(1).await.expect("drained"), []);
}

#[tokio::test]
async fn a_lease_taken_by_a_fast_clock_is_shortened() {
    let (heap, clock) = heap("ahead").await;
    let year = Duration::from_secs(365 * 24 * 3600);
    let now = clock.clock().now();
    let ahead = heap.clone();
    let ahead = ahead.with_clock(outbox_core::Clock::new(move || now + year));
    let leased = ahead.lease_exceeded(1, 10, AGE).await;
    assert_eq!(leased.expect("leased").len(), 1);
    assert_eq!(heap.prune(year, 10).await.expect("pruned"), 0);
    assert_eq!(heap.drain_exceeded(1).await.expect("drained"), []);
    clock.advance(AGE);
    assert_eq!(heap.drain_exceeded(1).await.expect("drained").len(), 1);
}

#[test]
fn invalid_values_are_refused_by_the_table() {
    let connection = Connection::open_in_memory().expect("opened");
    let migrated = connection.execute_batch(&SqliteDlqHeap::script());
    migrated.expect("migrated");
    for (columns, values) in [
        ("turn", "9223372036854775807"),
        ("turn", "7"),
        ("lease", "-1"),
        ("leased_until", "'tomorrow'"),
        ("last_error", "x'00'"),
    ] {
        let insert = format!(
            "INSERT INTO outbox_dlq_heap
             (event_id, failure_count, first_failed_at, last_failed_at, {columns})
             VALUES (zeroblob(16), 1, 1, 1, {values})"
        );
        assert!(connection.execute(&insert, []).is_err(), "{insert}");
    }
}

#[tokio::test]
async fn closing_moves_all_data_into_the_file_and_refuses_further_calls() {
    let folder = Folder::new();
    let path = folder.path().join("heap.db");
    let heap = SqliteDlqHeap::migrate(&path).await.expect("migrated");
    let id = EventId::new();
    heap.record_failure(id).await.expect("recorded");
    heap.close().await.expect("closed");
    assert!(!folder.path().join("heap.db-wal").exists());
    let error = heap.record_failure(id).await.expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn each_call_says_to_migrate_if_the_table_is_missing() {
    let folder = Folder::new();
    let path = folder.path().join("heap.db");
    let heap = SqliteDlqHeap::migrate(&path).await.expect("migrated");
    let other = Connection::open(&path).expect("opened");
    let dropped = other.execute_batch("DROP TABLE outbox_dlq_heap");
    dropped.expect("dropped");
    let id = EventId::new();
    for (call, result) in [
        ("record_failure", heap.record_failure(id).await),
        ("record_success", heap.record_success(id).await),
        ("drain_exceeded", heap.drain_exceeded(1).await.map(drop)),
        (
            "lease_exceeded",
            heap.lease_exceeded(1, 1, AGE).await.map(drop),
        ),
        ("size", heap.size().await.map(drop)),
        ("prune", heap.prune(AGE, 1).await.map(drop)),
    ] {
        let error = result.expect_err(call);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{call}: {error}");
        let advice = "run `outbox migrate` or call `SqliteDlqHeap::migrate`";
        assert!(error.to_string().contains(advice), "{call}: {error}");
    }
}
