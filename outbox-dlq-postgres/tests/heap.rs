//! Cases that the suite does not have: large batches, locks, wrong clocks.

use outbox_core::{DlqEntry, DlqHeap, ErrorKind, ErrorText, EventId, FailedAttempt};
use outbox_dlq_postgres::sqlx::{self, AssertSqlSafe, ConnectOptions, Executor, PgConnection};
use outbox_dlq_postgres::{MIGRATIONS, PostgresDlqHeap, Schema};
use std::sync::Arc;
use std::time::Duration;
use test_servers::postgres::Database;
use tokio::sync::Barrier;
use tokio::task::{JoinHandle, JoinSet};

const LEASE: Duration = Duration::from_secs(60);

async fn open(database: &Database) -> PostgresDlqHeap {
    PostgresDlqHeap::migrate(database.pool())
        .await
        .expect("opened")
}

fn failures(ids: &[EventId]) -> Vec<FailedAttempt> {
    ids.iter().map(|id| FailedAttempt::new(*id)).collect()
}

fn ids(count: usize) -> Vec<EventId> {
    (0..count).map(|_| EventId::new()).collect()
}

#[tokio::test]
async fn a_database_that_is_not_migrated_is_refused_with_what_to_do() {
    let database = Database::create().await;
    let applied = async || {
        let applied = PostgresDlqHeap::applied_migrations(database.pool()).await;
        applied.expect("told")
    };
    assert_eq!(applied().await, 0);
    let opened = PostgresDlqHeap::open(database.pool()).await;
    assert_eq!(opened.expect_err("not migrated").kind(), ErrorKind::Invalid);
    let script = PostgresDlqHeap::script(&Schema::default());
    database.execute(&script).await;
    assert_eq!(applied().await, MIGRATIONS.len());
    let opened = PostgresDlqHeap::open(database.pool()).await;
    assert_eq!(
        opened.expect("migrated").drain_exceeded(1).await.ok(),
        Some(vec![])
    );
}

#[tokio::test]
async fn a_batch_of_a_hundred_thousand_counts_each_occurrence_of_an_id() {
    let database = Database::create().await;
    let (heap, ids) = (open(&database).await, ids(50_000));
    let mut twice = failures(&ids);
    let text = |text| ErrorText::new(text);
    twice.extend(
        ids.iter()
            .map(|id| FailedAttempt::new(*id).with_error(text("last"))),
    );
    twice.push(FailedAttempt::new(ids[0]).with_error(text("very last")));
    twice.push(FailedAttempt::new(ids[0]));
    heap.record_failures(&twice).await.expect("recorded");
    let first = heap.drain_exceeded(3).await.expect("drained");
    assert_eq!((first[0].id, first[0].failure_count), (ids[0], 4));
    assert_eq!(first[0].last_error, Some(text("very last")));
    let mut gone = ids[..25_000].repeat(2);
    gone.extend((0..50_000).map(|_| EventId::new()));
    heap.forget(&gone).await.expect("forgotten");
    let rest = heap.drain_exceeded(1).await.expect("drained");
    assert_eq!(rest.len(), 25_000);
    assert!(rest.iter().all(|entry| entry.failure_count == 2));
    assert!(
        rest.iter()
            .all(|entry| entry.last_error == Some(text("last")))
    );
}

#[tokio::test]
async fn an_entry_that_failed_again_is_not_old() {
    let database = Database::create().await;
    let (heap, id) = (open(&database).await, EventId::new());
    heap.record_failure(id).await.expect("recorded");
    database.elapse(2 * LEASE).await;
    heap.record_failure(id).await.expect("recorded");
    assert_eq!(heap.prune(LEASE, 10).await.expect("pruned"), 0);
    database.elapse(2 * LEASE).await;
    assert_eq!(heap.prune(LEASE, 10).await.expect("pruned"), 1);
}

#[tokio::test]
async fn the_longest_times_are_accepted() {
    let database = Database::create().await;
    let heap = open(&database).await;
    heap.record_failure(EventId::new()).await.expect("recorded");
    assert_eq!(
        heap.prune(Duration::MAX, usize::MAX).await.expect("pruned"),
        0
    );
    let leased = heap.lease_exceeded(1, usize::MAX, Duration::MAX).await;
    assert_eq!(leased.expect("leased").len(), 1);
    database.elapse(Duration::from_secs(3600)).await;
    assert_eq!(heap.drain_exceeded(0).await.expect("drained"), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_of_all_kinds_on_the_same_ids_never_deadlock() {
    let database = Database::create().await;
    let ids = ids(100);
    let barrier = Arc::new(Barrier::new(4));
    let mut tasks = JoinSet::new();
    for task in 0..4 {
        let (heap, barrier) = (open(&database).await, Arc::clone(&barrier));
        let mut ids = ids.clone();
        if task % 2 == 0 {
            ids.reverse();
        }
        tasks.spawn(async move {
            for round in 0..60 {
                barrier.wait().await;
                match (task + round) % 4 {
                    0 | 1 => heap
                        .record_failures(&failures(&ids))
                        .await
                        .expect("recorded"),
                    2 => heap.forget(&ids).await.expect("forgotten"),
                    _ => drop(heap.drain_exceeded(1).await.expect("drained")),
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("ran");
    }
}

/// An open transaction of another program that has changed the heap.
struct Other(PgConnection);

impl Other {
    async fn begin(database: &Database, sql: &str) -> Self {
        let mut connection = database.options().connect().await.expect("connected");
        connection.execute("BEGIN").await.expect("begun");
        connection
            .execute(AssertSqlSafe(sql))
            .await
            .expect("changed");
        Self(connection)
    }

    /// Commits once `call` waits for this transaction, and returns the result of the call.
    async fn commit_under<T>(mut self, call: JoinHandle<T>) -> T {
        let waited_for = "SELECT EXISTS (SELECT FROM pg_stat_activity
            WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid)))";
        while !call.is_finished() {
            let look = sqlx::query_scalar::<_, bool>(waited_for);
            if look.fetch_one(&mut self.0).await.expect("a look") {
                break;
            }
        }
        self.0.execute("COMMIT").await.expect("committed");
        call.await.expect("ran")
    }
}

/// The result of a drain that waits for a transaction with `change`.
async fn drain_under(change: &str, database: &Database, heap: &PostgresDlqHeap) -> Vec<DlqEntry> {
    let other = Other::begin(database, change).await;
    let heap = heap.clone();
    let drain = tokio::spawn(async move { heap.drain_exceeded(1).await });
    other.commit_under(drain).await.expect("drained")
}

#[tokio::test]
async fn a_drain_that_waits_returns_the_newest_count_and_leaves_leased_entries() {
    let database = Database::create().await;
    let (heap, id) = (open(&database).await, EventId::new());
    heap.record_failures(&failures(&[id, id]))
        .await
        .expect("recorded");
    let count = "UPDATE outbox.outbox_dlq_heap SET failure_count = failure_count + 1";
    let drained = drain_under(count, &database, &heap).await;
    assert_eq!(drained[0].failure_count, 3);
    heap.record_failure(id).await.expect("recorded");
    let lease = "UPDATE outbox.outbox_dlq_heap SET leased_until = 'infinity'";
    assert_eq!(drain_under(lease, &database, &heap).await, []);
}

#[tokio::test]
async fn a_lease_skips_an_entry_that_another_call_has_locked() {
    let database = Database::create().await;
    let (heap, ids) = (open(&database).await, ids(2));
    heap.record_failures(&failures(&ids))
        .await
        .expect("recorded");
    let hold = format!(
        "SELECT FROM outbox.outbox_dlq_heap WHERE event_id = '{}' FOR UPDATE",
        ids[0]
    );
    let _other = Other::begin(&database, &hold).await;
    let leased = heap.lease_exceeded(1, 1, LEASE).await.expect("leased");
    assert_eq!(leased[0].id, ids[1]);
    assert_eq!(heap.lease_exceeded(1, 1, LEASE).await.expect("leased"), []);
}

/// The server's clock was a year ahead.
#[tokio::test]
async fn a_lease_that_was_taken_while_the_clock_was_wrong_is_shortened() {
    let database = Database::create().await;
    let heap = PostgresDlqHeap::migrate(database.pool())
        .await
        .expect("migrated");
    let id = EventId::new();
    heap.record_failure(id).await.expect("recorded");
    let lease = Duration::from_secs(60);
    assert_eq!(
        heap.lease_exceeded(1, 10, lease)
            .await
            .expect("leased")
            .len(),
        1
    );
    let far = "UPDATE outbox.outbox_dlq_heap SET leased_until = leased_until + '1 year'";
    database.execute(far).await;
    heap.prune(Duration::from_secs(3600), 10)
        .await
        .expect("pruned");
    assert_eq!(
        heap.lease_exceeded(1, 10, lease)
            .await
            .expect("leased")
            .len(),
        1
    );
}
