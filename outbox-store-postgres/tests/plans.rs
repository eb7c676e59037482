//! The plans with which the server reads the log.

mod support;

use outbox_core::{ClaimLimit, Event, OutboxStorage, Outcome};
use outbox_store_postgres::PostgresStore;
use outbox_store_postgres::sqlx::{self, AssertSqlSafe, Executor, PgConnection, Row};
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

/// Statements for tables that came from another cluster. They lock or change the lanes as a whole.
const OF_ALL_LANES: [&str; 3] = ["lock_log", "rebase_events", "rebase_lanes"];

/// While a transaction that has read the lanes is open, the table has any number of their old states.
#[tokio::test]
async fn no_statement_reads_the_lanes_without_their_index() {
    let own = Own::in_schema("outbox");
    let mut connection = own.connect().await;
    let generic = "SET plan_cache_mode = force_generic_plan";
    connection.execute(generic).await.expect("set");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/sql");
    for file in std::fs::read_dir(folder).expect("the statements") {
        let path = file.expect("a file").path();
        let name = path.file_stem().expect("a name").to_string_lossy();
        let text = std::fs::read_to_string(&path).expect("read");
        let of_lanes = ["outbox_lanes", "outbox_newest", "outbox_unread"];
        if !of_lanes.iter().any(|of| text.contains(of)) || OF_ALL_LANES.contains(&&*name) {
            continue;
        }
        let plan = plan(&mut connection, &name, &text).await;
        assert!(
            plan.contains("using outbox_lanes_by_epoch"),
            "{name}: {plan}"
        );
        assert!(!plan.contains("Seq Scan on outbox_lanes"), "{name}: {plan}");
    }
}

/// The plan of a statement for any parameters.
async fn plan(connection: &mut PgConnection, name: &str, text: &str) -> String {
    let has = |n: &usize| text.contains(&format!("${n}"));
    let count = (1..100).take_while(has).count();
    let arguments = vec!["NULL"; count].join(", ");
    let call = if count == 0 {
        name.to_owned()
    } else {
        format!("{name} ({arguments})")
    };
    let prepare = format!("PREPARE {name} AS {text}");
    let prepared = connection.execute(AssertSqlSafe(prepare)).await;
    prepared.unwrap_or_else(|error| panic!("{name}: {error}"));
    let explain = sqlx::raw_sql(AssertSqlSafe(format!("EXPLAIN EXECUTE {call}")));
    let rows = explain.fetch_all(connection).await;
    let rows = rows.unwrap_or_else(|error| panic!("{name}: {error}"));
    let lines = rows.iter().map(|row| row.get::<String, _>(0));
    lines.collect::<Vec<_>>().join("\n")
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

/// The server keeps a plan that was made for an empty table until the table is analysed again.
#[tokio::test]
async fn a_plan_that_was_made_without_retries_is_not_used_for_many() {
    const RETRIES: i64 = 30_000;
    let own = Own::in_schema("outbox").on_one_connection();
    let is_kept = "ALTER TABLE outbox.outbox_retries SET (autovacuum_enabled = false)";
    own.execute(is_kept).await;
    own.execute("VACUUM outbox.outbox_retries").await;
    let pool = own.pool();
    let store = PostgresStore::open(pool.clone()).await.expect("opened");
    let mut published = 0;
    for round in 0..12 {
        if round == 11 {
            let add = format!(
                "INSERT INTO outbox.outbox_retries (lane, due_at, id, created_at, replays, event_type, content_type, payload, ordering_key)
                 SELECT 0, now() + '1 hour', gen_random_uuid(), now(), 0, 'late', '', '', 'late ' || n
                 FROM generate_series(1, {RETRIES}) AS n"
            );
            own.execute(&add).await;
        }
        let event = |n: usize| Event::new("read", "").ordering_key(format!("{round} {n}"));
        own.append(&(0..100).map(event).collect::<Vec<_>>()).await;
        loop {
            let claimed = store.claim(ClaimLimit::events(100), LEASE).await;
            let claim = claimed.expect("claimed");
            if claim.events.is_empty() {
                break;
            }
            published += claim.events.len();
            let settlements = each(&claim, &Outcome::Published);
            let settled = store.settle(claim.token, &settlements).await;
            settled.expect("settled");
        }
    }
    assert_eq!(published, 1200);
    drop(store);
    pool.close().await;
    // The counts of a connection are complete once it has ended.
    let read = "SELECT seq_tup_read FROM pg_stat_user_tables
                WHERE relname = 'outbox_retries'
                  AND (SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND backend_type = 'client backend') = 1";
    let mut connection = own.connect().await;
    let sequentially: i64 = loop {
        if let Some(rows) = sqlx::query_scalar(read)
            .fetch_optional(&mut connection)
            .await
            .expect("read")
        {
            break rows;
        }
    };
    // Two scans for each lane in the look that finds out how large the table is.
    assert!(
        sequentially < 64 * RETRIES,
        "{sequentially} rows were read without the index"
    );
}
