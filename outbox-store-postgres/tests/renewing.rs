//! Tables that grow while a transaction stays open, and are renewed.

mod support;

use outbox_core::{Claim, ClaimLimit, Event, OutboxStorage, Outcome};
use outbox_store_postgres::PostgresStore;
use outbox_store_postgres::sqlx::{self, Executor, PgConnection, Row};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::load::{Recorder, Workers, assert_same, committed, prepare, start_writers};
use support::{Own, each};

const LEASE: Duration = Duration::from_secs(30);
const LANES: &str = "SELECT outbox.outbox_renew_lanes()";
const EVENTS: &str = "SELECT outbox.outbox_renew_events()";

/// A transaction whose snapshot is of now until it ends.
async fn open_transaction(own: &Own) -> PgConnection {
    let mut connection = own.connect().await;
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class";
    connection.execute(begin).await.expect("begun");
    connection
}

async fn renew(connection: &mut PgConnection, statement: &'static str) -> bool {
    let row = connection.fetch_one(statement).await.expect("renewed");
    row.get(0)
}

async fn size(connection: &mut PgConnection, table: &'static str) -> i64 {
    let query = sqlx::query_scalar("SELECT pg_total_relation_size($1::regclass)");
    let size = query.bind(table).fetch_one(connection).await;
    size.expect("a size")
}

async fn claim(store: &PostgresStore, limit: usize) -> Claim {
    store
        .claim(ClaimLimit::events(limit), LEASE)
        .await
        .expect("claimed")
}

async fn settle(store: &PostgresStore, claim: &Claim, outcome: &Outcome) -> Vec<Event> {
    let settled = store.settle(claim.token, &each(claim, outcome)).await;
    settled.expect("settled");
    let event = |one: &outbox_core::ClaimedEvent| one.event.clone();
    claim.events.iter().map(event).collect()
}

#[tokio::test]
async fn renewed_tables_keep_which_events_are_read_claimed_and_unread() {
    let own = Own::in_schema("outbox");
    let (store, mut operator) = (own.open().await, own.connect().await);
    let event = |number: u32| {
        Event::new("renewed", number.to_string())
            .ordering_key("one lane")
            .header("n", number.to_string())
    };
    let events: Vec<Event> = (0..40).map(event).collect();
    own.append(&events[..30]).await;
    let read = claim(&store, 10).await;
    let mut published = settle(&store, &read, &Outcome::Published).await;
    let claimed = claim(&store, 10).await;
    own.append(&events[30..]).await;
    for statement in [LANES, EVENTS, EVENTS] {
        assert!(renew(&mut operator, statement).await);
    }
    published.extend(settle(&store, &claimed, &Outcome::Published).await);
    loop {
        let rest = claim(&store, 7).await;
        if rest.events.is_empty() {
            break;
        }
        published.extend(settle(&store, &rest, &Outcome::Published).await);
    }
    // Times have microseconds.
    for (event, published) in events.iter().zip(&mut published) {
        published.created_at = event.created_at;
    }
    assert_eq!(published, events);
}

#[tokio::test]
async fn a_log_with_many_unread_events_is_not_renewed() {
    let own = Own::in_schema("outbox");
    let mut operator = own.connect().await;
    let events: Vec<Event> = (0..1001).map(|_| Event::new("renewed", "")).collect();
    own.append(&events[..1000]).await;
    assert!(renew(&mut operator, EVENTS).await);
    own.append(&events[1000..]).await;
    assert!(!renew(&mut operator, EVENTS).await);
    assert_eq!(
        own.open().await.backlog().await.expect("read").pending,
        1001
    );
}

#[tokio::test]
async fn a_log_that_an_open_transaction_locks_blocks_producers_only_briefly() {
    let own = Own::in_schema("outbox");
    let (mut writer, mut operator) = (own.connect().await, own.connect().await);
    writer.execute("BEGIN").await.expect("begun");
    let event = [Event::new("renewed", "")];
    let appended = own.appender().append(&mut writer, &event).await;
    appended.expect("appended");
    let refused = operator.fetch_one(EVENTS).await.expect_err("refused");
    let code = refused.as_database_error().expect("the server's").code();
    assert_eq!(code.as_deref(), Some("55P03"));
    own.append(&[Event::new("renewed", "")]).await;
    writer.execute("COMMIT").await.expect("committed");
    assert_eq!(claim(&own.open().await, 10).await.events.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tables_that_are_renewed_under_load_lose_and_repeat_nothing() {
    let own = Arc::new(Own::in_schema("outbox"));
    prepare(&own).await;
    let recorder = Arc::new(Recorder::default());
    let workers = Workers::start(&own, &recorder, 3).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (ends, mut operator) = (Arc::clone(&stop), own.connect().await);
    let renewals = tokio::spawn(async move {
        let mut renewals = [0, 0];
        while !ends.load(Ordering::Relaxed) {
            for (count, statement) in renewals.iter_mut().zip([LANES, EVENTS]) {
                *count += u32::from(operator.fetch_one(statement).await.is_ok());
            }
        }
        renewals
    });
    for writer in start_writers(&own, 60) {
        writer.await.expect("written");
    }
    own.drained().await;
    workers.stop().await;
    stop.store(true, Ordering::Relaxed);
    let renewals = renewals.await.expect("ended");
    assert!(renewals.iter().all(|count| *count > 10), "{renewals:?}");
    assert_same(&recorder.published(), &committed(&own).await);
}

#[tokio::test]
async fn the_lanes_shrink_while_a_transaction_is_open() {
    let own = Own::in_schema("outbox");
    let store = own.open().await;
    let _open = open_transaction(&own).await;
    let events: Vec<Event> = (0..2000)
        .map(|_| Event::new("renewed", "").ordering_key("one lane"))
        .collect();
    own.append(&events).await;
    for _ in 0..2000 {
        let one = claim(&store, 1).await;
        assert_eq!(settle(&store, &one, &Outcome::Published).await.len(), 1);
    }
    let size = size(&mut own.connect().await, "outbox.outbox_lanes").await;
    assert!(size < 500_000, "{size} bytes");
}

/// A megabyte that does not compress: a linear congruential sequence.
fn noise() -> Vec<u8> {
    let mut state: u64 = 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    };
    (0..1_000_000).map(|_| next()).collect()
}

#[tokio::test]
async fn a_consumed_log_shrinks_while_a_transaction_is_open() {
    let own = Own::in_schema("outbox");
    let (store, mut operator) = (own.open().await, own.connect().await);
    // A vacuum that locks the table would delay the renewal for a minute.
    let none = "ALTER TABLE outbox.outbox_events SET (autovacuum_enabled = off,
                                                      toast.autovacuum_enabled = off)";
    own.execute(none).await;
    let _open = open_transaction(&own).await;
    for _ in 0..15 {
        let events: Vec<Event> = (0..10).map(|_| Event::new("renewed", noise())).collect();
        own.append(&events).await;
        settle(&store, &claim(&store, 10).await, &Outcome::Published).await;
    }
    assert!(size(&mut operator, "outbox.outbox_events").await > 140_000_000);
    own.append(&[Event::new("unread", "")]).await;
    while store.clean_up(1000).await.expect("cleaned up") > 0 {}
    assert!(size(&mut operator, "outbox.outbox_events").await < 1_000_000);
    let unread = claim(&store, 10).await;
    assert_eq!(unread.events[0].event.event_type, "unread");
}
