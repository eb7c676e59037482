//! The wake-up of a worker never fails a producer: not one that prepares its transaction, and not one
//! whose server lacks a privilege or a table of the wake-up.

mod support;

use outbox_core::{ClaimLimit, Event, OutboxStorage, Outcome};
use outbox_store_postgres::PostgresStore;
use outbox_store_postgres::sqlx::{self, AssertSqlSafe, Executor, PgConnection, Row};
use std::sync::Arc;
use std::time::Duration;
use support::{Own, each};
use test_servers::{Kind, Server, search_path};
use tokio::task::JoinHandle;

const LEASE: Duration = Duration::from_secs(30);

/// Longer than any test, so a worker that wakes was woken.
const LONG: Duration = Duration::from_secs(600);

/// Soon, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

const INSERT: &str =
    "INSERT INTO outbox.outbox_events (event_type, payload) VALUES ('prepared', '')";

async fn run(connection: &mut PgConnection, sql: &str) {
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// On a server where transactions may be prepared.
async fn own_that_prepares() -> (Server, Own) {
    let mut server = Server::start(Kind::Postgres, &search_path()).expect("a server");
    let own = Own::on(server.url(), "outbox");
    own.execute("ALTER SYSTEM SET max_prepared_transactions = 10")
        .await;
    let server = tokio::task::spawn_blocking(move || {
        server.crash().expect("started again");
        server
    });
    (server.await.expect("a server"), own)
}

async fn asleep(connection: &mut PgConnection) {
    let alarm = "SELECT last_value FROM outbox.outbox_alarm";
    while connection
        .fetch_one(alarm)
        .await
        .expect("read")
        .get::<i64, _>(0)
        == 1
    {}
}

fn sleep(store: &Arc<PostgresStore>) -> JoinHandle<()> {
    let store = Arc::clone(store);
    tokio::spawn(async move { store.wait_for_work(LONG).await.expect("waited") })
}

async fn wakes(sleeper: JoinHandle<()>) {
    let woken = tokio::time::timeout(SOON, sleeper).await;
    woken.expect("woken soon").expect("well");
}

async fn publish_all(store: &PostgresStore) -> usize {
    let mut published = 0;
    loop {
        let claim = store
            .claim(ClaimLimit::events(10), LEASE)
            .await
            .expect("claimed");
        if claim.events.is_empty() {
            return published;
        }
        let outcomes = each(&claim, &Outcome::Published);
        store.settle(claim.token, &outcomes).await.expect("settled");
        published += claim.events.len();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_prepares_its_transaction_while_a_worker_sleeps() {
    let (_server, own) = own_that_prepares().await;
    let (store, mut connection) = (Arc::new(own.open().await), own.connect().await);
    let sleeper = sleep(&store);
    asleep(&mut connection).await;
    let mut producer = own.connect().await;
    let at_once = format!("BEGIN; {INSERT}; PREPARE TRANSACTION 'one'");
    run(&mut producer, &at_once).await;
    for statements in [
        "{INSERT}|prepare  transaction 'two'",
        "{INSERT}|/* a note */ PREPARE\nTRANSACTION 'three';",
        "{INSERT}|{INSERT}|SAVEPOINT inner_one|{INSERT}|PREPARE TRANSACTION 'four'",
        "SET CONSTRAINTS ALL IMMEDIATE|{INSERT}|PREPARE TRANSACTION 'five'",
        "{INSERT}|SET CONSTRAINTS ALL IMMEDIATE|PREPARE TRANSACTION 'six'",
    ] {
        run(&mut producer, "BEGIN").await;
        for statement in statements.split('|') {
            run(&mut producer, &statement.replace("{INSERT}", INSERT)).await;
        }
    }
    run(&mut producer, "BEGIN ISOLATION LEVEL SERIALIZABLE").await;
    run(&mut producer, INSERT).await;
    run(&mut producer, "PREPARE TRANSACTION 'seven'").await;
    // With a prepared statement.
    run(&mut producer, "BEGIN").await;
    let event = [Event::new("prepared", "")];
    let appended = own.appender().append(&mut producer, &event).await;
    appended.expect("appended");
    let query = sqlx::query("PREPARE TRANSACTION 'eight'");
    query.execute(&mut producer).await.expect("prepared");

    for name in [
        "one", "two", "three", "four", "five", "six", "seven", "eight",
    ] {
        run(&mut producer, &format!("COMMIT PREPARED '{name}'")).await;
    }
    // The next poll finds them.
    sleeper.abort();
    assert_eq!(publish_all(&store).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_wakes_a_worker_where_transactions_may_be_prepared() {
    let (_server, own) = own_that_prepares().await;
    let (store, mut connection) = (Arc::new(own.open().await), own.connect().await);
    let mut producer = own.connect().await;
    let at_once = format!("BEGIN; {INSERT}; COMMIT");
    let block = format!("DO $$ BEGIN {INSERT}; COMMIT; {INSERT}; END $$");
    let commits: [&[&str]; 6] = [
        &[INSERT],
        &["BEGIN", INSERT, "COMMIT"],
        &["BEGIN", INSERT, INSERT, "end"],
        &["BEGIN", INSERT, "/* a note */ commit work;"],
        &[at_once.as_str()],
        &[block.as_str()],
    ];
    for commit in commits {
        let sleeper = sleep(&store);
        asleep(&mut connection).await;
        for statement in commit {
            run(&mut producer, statement).await;
        }
        wakes(sleeper).await;
        let inserts = commit.concat().matches(INSERT).count();
        assert_eq!(publish_all(&store).await, inserts);
    }
    let rings = "SELECT count(*) FROM outbox.outbox_rings";
    let left: i64 = connection.fetch_one(rings).await.expect("read").get(0);
    assert_eq!(left, 0);
}

/// An operator revokes a privilege, or drops a sequence or a table of ours, while the alarm is set.
#[tokio::test(flavor = "multi_thread")]
async fn a_producer_commits_if_the_wake_up_fails() {
    let (_server, own) = own_that_prepares().await;
    let mut connection = own.connect().await;
    let far = "SELECT setval('outbox.outbox_alarm', 9223372036854775807)";
    run(&mut connection, far).await;
    run(&mut connection, "CREATE ROLE env_bare LOGIN").await;
    run(&mut connection, "GRANT USAGE ON SCHEMA outbox TO env_bare").await;
    run(
        &mut connection,
        "GRANT INSERT ON outbox.outbox_events TO env_bare",
    )
    .await;
    for harm in [
        "REVOKE ALL ON SEQUENCE outbox.outbox_alarm FROM PUBLIC",
        "DROP TABLE outbox.outbox_rings CASCADE",
        "DROP SEQUENCE outbox.outbox_alarm",
    ] {
        run(&mut connection, harm).await;
        let insert = format!("SET ROLE env_bare; {INSERT}; RESET ROLE");
        run(&mut connection, &insert).await;
    }
    let count = "SELECT count(*) FROM outbox.outbox_events";
    let events: i64 = connection.fetch_one(count).await.expect("read").get(0);
    assert_eq!(events, 3);
}
