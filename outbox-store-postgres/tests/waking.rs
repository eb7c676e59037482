//! How a commit wakes a sleeping worker, and what an idle worker costs.

mod support;

use outbox_conformance::Wire;
use outbox_core::{ClaimLimit, Event, OutboxError, OutboxStorage, Outcome};
use outbox_store_postgres::PostgresStore;
use outbox_store_postgres::sqlx::postgres::PgListener;
use outbox_store_postgres::sqlx::{Executor, PgConnection, Row};
use std::sync::Arc;
use std::time::Duration;
use support::{Own, each};
use tokio::task::JoinHandle;

const LEASE: Duration = Duration::from_secs(30);

/// Longer than any test, so a worker that wakes was woken.
const LONG: Duration = Duration::from_secs(600);

/// Soon, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

async fn number(connection: &mut PgConnection, sql: &'static str) -> i64 {
    connection.fetch_one(sql).await.expect("read").get(0)
}

async fn alarm_is_set(connection: &mut PgConnection) -> bool {
    number(connection, "SELECT last_value FROM outbox.outbox_alarm").await != 1
}

/// Returns once the alarm is set.
async fn asleep(connection: &mut PgConnection) {
    let set = async { while !alarm_is_set(connection).await {} };
    let in_time = tokio::time::timeout(SOON, set).await;
    in_time.expect("the worker sets the alarm, or it has failed");
}

/// Returns once the worker has looked again and found nothing.
async fn has_looked(connection: &mut PgConnection) {
    let looked = "SELECT count(*) FROM (
                      SELECT state, query FROM pg_stat_activity
                      WHERE datname = current_database() AND query LIKE '--%'
                      ORDER BY query_start DESC LIMIT 1) AS last
                  WHERE state = 'idle' AND query LIKE '-- What a claim may find now%'";
    let has_looked = async { while number(connection, looked).await == 0 {} };
    let in_time = tokio::time::timeout(SOON, has_looked).await;
    in_time.expect("the worker looks, or it has failed");
}

fn sleep(store: &Arc<PostgresStore>) -> JoinHandle<()> {
    let store = Arc::clone(store);
    tokio::spawn(async move { store.wait_for_work(LONG).await.expect("waited") })
}

async fn wakes(sleeper: JoinHandle<()>) {
    let woken = tokio::time::timeout(SOON, sleeper).await;
    woken.expect("woken soon").expect("well");
}

async fn publish(store: &PostgresStore) -> usize {
    let claim = store
        .claim(ClaimLimit::events(10), LEASE)
        .await
        .expect("claimed");
    if !claim.events.is_empty() {
        let published = each(&claim, &Outcome::Published);
        store
            .settle(claim.token, &published)
            .await
            .expect("settled");
    }
    claim.events.len()
}

async fn append_one(own: &Own) {
    own.append(&[Event::new("woken", "")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_wakes_a_worker_that_sleeps_also_after_its_connection_was_cut() {
    let own = Own::in_schema("outbox");
    let (store, mut connection) = (Arc::new(own.open().await), own.connect().await);
    let sleeper = sleep(&store);
    asleep(&mut connection).await;
    append_one(&own).await;
    wakes(sleeper).await;
    assert_eq!(publish(&store).await, 1);

    let sleeper = sleep(&store);
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE query LIKE 'LISTEN%' AND datname = current_database()";
    while number(&mut connection, cut).await == 0 {}
    append_one(&own).await;
    wakes(sleeper).await;
    assert_eq!(publish(&store).await, 1);
}

/// As after a firewall drops the connection: neither side sees it end.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_listener_is_noticed() {
    let own = Own::in_schema("outbox");
    let store = Arc::new(own.open_wired().await);
    let mut connection = own.connect().await;
    let sleeper = Arc::clone(&store);
    // A connection of the pool may be silent too. That is an error, after which a worker waits again.
    let sleeper = tokio::spawn(async move { while sleeper.wait_for_work(LONG).await.is_err() {} });
    asleep(&mut connection).await;
    has_looked(&mut connection).await;
    own.its_wire().go_silent();
    append_one(&own).await;
    while !own.its_wire().has_silenced() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!own.its_wire().repair(), "nothing was cut");
    wakes(sleeper).await;
    assert_eq!(publish(&store).await, 1);
}

/// It was appended while no worker slept, so its commit does not notify.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_an_event_from_before_the_worker_slept_is_found() {
    let own = Own::in_schema("outbox");
    let (store, mut connection) = (Arc::new(own.open().await), own.connect().await);
    let mut producer = own.connect().await;
    producer.execute("BEGIN").await.expect("begun");
    let event = [Event::new("woken", "")];
    let appended = own.appender().append(&mut producer, &event).await;
    appended.expect("appended");
    let sleeper = sleep(&store);
    asleep(&mut connection).await;
    has_looked(&mut connection).await;
    producer.execute("COMMIT").await.expect("committed");
    wakes(sleeper).await;
    assert_eq!(publish(&store).await, 1);
}

/// Other workers take the events that notify, while a transaction from before the sleep stays open.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_often_notified_without_need_still_sleeps_and_wakes() {
    let own = Own::in_schema("outbox");
    let (store, mut connection) = (Arc::new(own.open().await), own.connect().await);
    let mut open = own.connect().await;
    let begin = "START TRANSACTION; SELECT pg_current_xact_id()";
    open.execute(begin).await.expect("begun");
    let sleeper = sleep(&store);
    asleep(&mut connection).await;
    let ring = "DO $$ BEGIN
                    PERFORM pg_notify('outbox_' || 'outbox.outbox_events'::regclass::oid, '');
                END $$";
    for _ in 0..200 {
        own.execute(ring).await;
    }
    append_one(&own).await;
    wakes(sleeper).await;
    assert_eq!(publish(&store).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_listening_wakes_and_leaves_no_trace() {
    let own = Own::in_schema("outbox");
    let store = Arc::new(own.open().await.without_listening());
    let sleeper = sleep(&store);
    append_one(&own).await;
    wakes(sleeper).await;
    assert_eq!(publish(&store).await, 1);
    let mut connection = own.connect().await;
    let traces = "SELECT (SELECT last_value - 1 FROM outbox.outbox_alarm)
                       + (SELECT count(*) FROM pg_stat_activity
                          WHERE query LIKE 'LISTEN%' AND datname = current_database())";
    assert_eq!(number(&mut connection, traces).await, 0);
}

/// How many notifications the listener has received, without the one that this test sends.
async fn rings(own: &Own, listener: &mut PgListener) -> usize {
    own.execute(
        "DO $$ BEGIN
             PERFORM pg_notify('outbox_' || 'outbox.outbox_events'::regclass::oid, 'end');
         END $$",
    )
    .await;
    let mut rings = 0;
    while listener.recv().await.expect("heard").payload() != "end" {
        rings += 1;
    }
    rings
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_notify_while_a_worker_sleeps_and_not_while_it_is_busy() {
    let own = Own::in_schema("outbox");
    let (store, mut connection) = (Arc::new(own.open().await), own.connect().await);
    let channel = connection
        .fetch_one("SELECT 'outbox_' || 'outbox.outbox_events'::regclass::oid")
        .await
        .expect("read");
    let mut listener = PgListener::connect_with(&own.pool())
        .await
        .expect("connected");
    let channel: &str = channel.get(0);
    listener.listen(channel).await.expect("heard");
    for _ in 0..5 {
        append_one(&own).await;
    }
    assert_eq!(rings(&own, &mut listener).await, 0, "no worker sleeps");

    while publish(&store).await > 0 {}
    let sleeper = sleep(&store);
    asleep(&mut connection).await;
    append_one(&own).await;
    wakes(sleeper).await;
    assert_eq!(rings(&own, &mut listener).await, 1);

    // A worker is busy from its second claim in a row on.
    for round in 0..10 {
        assert_eq!(publish(&store).await, 1);
        append_one(&own).await;
        let expected = usize::from(round == 0);
        assert_eq!(
            rings(&own, &mut listener).await,
            expected,
            "in round {round}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_occasional_event_causes_no_worker_writes() {
    let own = Own::in_schema("outbox");
    let (store, mut connection) = (Arc::new(own.open().await), own.connect().await);
    let sleeper = sleep(&store);
    asleep(&mut connection).await;
    let version = "SELECT last_value FROM outbox.outbox_alarm";
    let before = number(&mut connection, version).await;
    append_one(&own).await;
    wakes(sleeper).await;
    for _ in 0..5 {
        assert_eq!(publish(&store).await, 1);
        assert_eq!(publish(&store).await, 0);
        let sleeper = sleep(&store);
        append_one(&own).await;
        wakes(sleeper).await;
    }
    assert_eq!(number(&mut connection, version).await, before);
}

/// Runs passes that find nothing. Each waits no longer than the pause between two looks, because a
/// transaction of another test may be older than the sleep.
async fn idle(store: &PostgresStore, passes: usize) -> Result<(), OutboxError> {
    for _ in 0..passes {
        let claim = store.claim(ClaimLimit::events(10), LEASE).await?;
        assert!(claim.events.is_empty());
        store.wait_for_work(Duration::from_millis(2)).await?;
    }
    Ok(())
}

/// On a slow machine a wait takes longer, and the alarm is set again: another round then shows what
/// passes cost.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_pass_costs_one_statement() {
    const ROUNDS: usize = 50;
    const PASSES: usize = 20;
    let own = Own::in_schema("outbox").on_one_connection();
    let store = own.open_wired().await;
    let mut connection = own.connect().await;
    for _ in 0..ROUNDS {
        idle(&store, 1).await.expect("connected");
        while !alarm_is_set(&mut connection).await {
            idle(&store, 1).await.expect("passed");
        }
        // The pool pings the connection before and after a statement.
        own.its_wire().cut_request(3 * (PASSES + 2));
        let passed = idle(&store, PASSES).await;
        if !own.its_wire().repair() {
            passed.expect("passed");
            return;
        }
    }
    panic!("more than a statement a pass in each of {ROUNDS} rounds");
}
