//! The plans with which the server reads the log.

mod support;

use outbox_core::{ClaimLimit, Event, OutboxStorage, Outcome};
use outbox_store_postgres::PostgresStore;
use outbox_store_postgres::sqlx::{self, Executor, Row};
use std::time::Duration;
use support::{Own, each};

const LEASE: Duration = Duration::from_secs(30);
const EVENTS: usize = 20_000;

/// If the statistics promise rows that a look does not find, the whole table may be read.
#[tokio::test]
async fn a_log_with_a_backlog_is_read_by_its_index_only() {
    let own = Own::in_schema("outbox");
    for _ in 0..EVENTS / 1000 {
        let event = |n: usize| Event::new("read", "").ordering_key(n.to_string());
        own.append(&(0..1000).map(event).collect::<Vec<_>>()).await;
    }
    own.execute("VACUUM ANALYZE outbox.outbox_events").await;
    let pool = own.pool();
    let opened = PostgresStore::open(pool.clone()).await;
    let store = opened.expect("opened");
    let mut published = 0;
    loop {
        let claim = store
            .claim(ClaimLimit::events(100), LEASE)
            .await
            .expect("claimed");
        if claim.events.is_empty() {
            break;
        }
        let settlements = each(&claim, &Outcome::Published);
        let settled = store.settle(claim.token, &settlements).await;
        settled.expect("settled");
        published += claim.events.len();
    }
    assert_eq!(published, EVENTS);
    while store.clean_up(1000).await.expect("cleaned up") > 0 {}
    drop(store);
    pool.close().await;
    // The counts of a connection are complete once it has ended.
    let read = "SELECT seq_tup_read FROM pg_stat_user_tables
                WHERE relname = 'outbox_events' AND idx_tup_fetch >= $1
                  AND (SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND backend_type = 'client backend') = 1";
    let mut connection = own.connect().await;
    let sequentially: i64 = loop {
        let query = sqlx::query_scalar(read).bind(i64::try_from(EVENTS).expect("small"));
        if let Some(rows) = query.fetch_optional(&mut connection).await.expect("read") {
            break rows;
        }
    };
    assert_eq!(sequentially, 0, "rows were read without the index");
}

/// A transaction that has read the lanes keeps their old states, and a lock that forbids to renew them.
#[tokio::test]
async fn the_states_that_an_open_transaction_keeps_of_the_lanes_are_not_read() {
    const EVENTS: usize = 4_000;
    let own = Own::in_schema("outbox");
    let mut open = own.connect().await;
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM outbox.outbox_lanes";
    open.execute(begin).await.expect("begun");
    let pool = own.pool();
    let store = PostgresStore::open(pool.clone()).await.expect("opened");
    let event = |n: usize| Event::new("read", "").ordering_key(n.to_string());
    own.append(&(0..EVENTS).map(event).collect::<Vec<_>>())
        .await;
    for batch in [1, 10].repeat(EVENTS / 20) {
        let claim = store
            .claim(ClaimLimit::events(batch), LEASE)
            .await
            .expect("claimed");
        assert!(!claim.events.is_empty());
        let settlements = each(&claim, &Outcome::Published);
        let settled = store.settle(claim.token, &settlements).await;
        settled.expect("settled");
        store.backlog().await.expect("counted");
    }
    drop(store);
    pool.close().await;
    // The counts of a connection are complete once it has ended.
    let read = "SELECT t.seq_scan < 10, i.idx_tup_read < 2 * i.idx_scan
                FROM pg_stat_user_tables AS t JOIN pg_stat_user_indexes AS i USING (relid)
                WHERE t.relname = 'outbox_lanes'
                  AND (SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND backend_type = 'client backend') = 2";
    let mut connection = own.connect().await;
    let row = loop {
        if let Some(row) = connection.fetch_optional(read).await.expect("read") {
            break row;
        }
    };
    assert!(row.get::<bool, _>(0), "the table is read without its index");
    assert!(row.get::<bool, _>(1), "a look reads many states");
}
