//! S1, S2 with real transactions: late commits, rollbacks, and a transaction that stays open.

mod support;

use outbox_core::{ClaimLimit, Event, OutboxStorage, Outcome};
use outbox_store_postgres::PostgresStore;
use outbox_store_postgres::sqlx::{self, Executor, PgConnection};
use std::sync::Arc;
use std::time::Duration;
use support::load::{Recorder, Workers, assert_same, committed, prepare, start_writers};
use support::{Own, each};
use test_servers::{Kind, Server, search_path};

const LEASE: Duration = Duration::from_secs(30);

/// A transaction that has appended an event and stays open.
async fn never_ending(own: &Own) -> PgConnection {
    let mut connection = own.connect().await;
    connection.execute("BEGIN").await.expect("begun");
    let event = Event::new("late", "0").ordering_key("never");
    own.appender()
        .append(&mut connection, &[event])
        .await
        .expect("appended");
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn late_commits_are_neither_missed_nor_repeated_and_keep_their_order() {
    let own = Arc::new(Own::in_schema("outbox"));
    prepare(&own).await;
    let open = never_ending(&own).await;
    let recorder = Arc::new(Recorder::default());
    let workers = Workers::start(&own, &recorder, 3).await;
    for writer in start_writers(&own, 60) {
        writer.await.expect("written");
    }
    own.drained().await;
    workers.stop().await;
    let expected = committed(&own).await;
    assert!(expected.values().map(Vec::len).sum::<usize>() > 500);
    assert_same(&recorder.published(), &expected);
    drop(open);
}

async fn publish_all(store: &PostgresStore) -> usize {
    let mut count = 0;
    loop {
        let claim = store
            .claim(ClaimLimit::events(10), LEASE)
            .await
            .expect("claimed");
        if claim.events.is_empty() {
            return count;
        }
        let published = each(&claim, &Outcome::Published);
        store
            .settle(claim.token, &published)
            .await
            .expect("settled");
        count += claim.events.len();
    }
}

/// Concurrent transactions get their ids in one order, their rows in another, and end in a third. The
/// snapshot that sees the greater row shows of the other transaction only that it started after all
/// that had ended.
#[tokio::test]
async fn a_row_that_commits_after_a_later_row_of_an_older_transaction_is_found() {
    let own = Own::in_schema("outbox");
    let store = own.open().await;
    let event = |payload: &'static str| Event::new("late", payload).ordering_key("one lane");
    let (mut older, mut younger) = (own.connect().await, own.connect().await);
    for round in 0..3 {
        for connection in [&mut older, &mut younger] {
            connection
                .execute("START TRANSACTION; SELECT pg_current_xact_id()")
                .await
                .expect("begun");
        }
        for (connection, payload) in [(&mut younger, "first"), (&mut older, "second")] {
            own.appender()
                .append(connection, &[event(payload)])
                .await
                .expect("appended");
        }
        older.execute("COMMIT").await.expect("committed");
        assert_eq!(publish_all(&store).await, 1, "the second in round {round}");
        younger.execute("COMMIT").await.expect("committed");
        assert_eq!(publish_all(&store).await, 1, "the first in round {round}");
    }
}

/// So many transactions come between the start and the commit of each late one that the log is marked.
#[tokio::test]
async fn a_transaction_that_commits_long_after_its_rows_is_found_in_each_of_its_lanes() {
    const LATE: usize = 40;
    let own = Own::in_schema("outbox");
    let store = own.open().await;
    let events =
        |count: usize| -> Vec<Event> { (0..count).map(|_| Event::new("late", "")).collect() };
    for round in 0..6 {
        let mut late = own.connect().await;
        late.execute("BEGIN").await.expect("begun");
        own.appender()
            .append(&mut late, &events(LATE))
            .await
            .expect("appended");
        for _ in 0..5 {
            own.append(&events(100)).await;
            assert_eq!(publish_all(&store).await, 100, "in round {round}");
        }
        late.execute("COMMIT").await.expect("committed");
        assert_eq!(publish_all(&store).await, LATE, "in round {round}");
        let query = sqlx::query_scalar("SELECT count(*) FROM outbox.outbox_marks");
        let marks: i64 = query.fetch_one(&mut late).await.expect("read");
        assert!((1..20).contains(&marks), "{marks} marks in round {round}");
        clean_up(&store).await;
    }
}

async fn clean_up(store: &PostgresStore) -> usize {
    let mut removed = 0;
    loop {
        match store.clean_up(20).await.expect("cleaned up") {
            0 => return removed,
            count => removed += count,
        }
    }
}

/// On a separate server, because the oldest open transaction is that of the whole cluster.
#[tokio::test]
async fn consumed_rows_are_cleaned_up_even_if_they_were_committed_late() {
    let server = Server::start(Kind::Postgres, &search_path()).expect("a server");
    let own = Own::on(server.url(), "outbox");
    let store = own.open().await;
    let events = || -> Vec<Event> { (0..50).map(|_| Event::new("late", "")).collect() };
    let mut late = never_ending(&own).await;
    for _ in 0..2 {
        own.append(&events()).await;
        assert_eq!(publish_all(&store).await, 50);
        assert_eq!(clean_up(&store).await, 50);
    }
    late.execute("COMMIT").await.expect("committed");
    assert_eq!(publish_all(&store).await, 1);
    own.append(&events()).await;
    // Reading the lanes again ends the window of the late event.
    assert_eq!(publish_all(&store).await, 50);
    let other = own.open().await;
    assert_eq!(clean_up(&store).await + clean_up(&store).await, 51);
    assert_eq!(clean_up(&other).await, 0);
}
