//! S5, S12: a claim leaves room to other keys, and skips events that must wait.

mod support;

use outbox_conformance::store::StoreFixture;
use outbox_core::{Claim, ClaimLimit, Event, EventId, OutboxStorage, Outcome};
use outbox_store_postgres::sqlx::{self, Row};
use outbox_store_postgres::{PostgresConfig, PostgresStore};
use std::collections::HashSet;
use std::time::{Duration, SystemTime};
use support::{Own, each};

const LEASE: Duration = Duration::from_secs(30);

/// Claims of this test have so many events.
const LIMIT: usize = 100;

fn ids(events: &[Event]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

fn run(count: usize) -> Vec<Event> {
    let event = |_| Event::new("shares", "").ordering_key("run");
    (0..count).map(event).collect()
}

/// Publishes one claim.
async fn publish(store: &PostgresStore) -> Vec<EventId> {
    let claim: Claim = store
        .claim(ClaimLimit::events(LIMIT), LEASE)
        .await
        .expect("claimed");
    if !claim.events.is_empty() {
        let published = each(&claim, &Outcome::Published);
        store
            .settle(claim.token, &published)
            .await
            .expect("settled");
    }
    claim.events.iter().map(|one| one.event.id).collect()
}

/// Events of `count` keys in the lane of the key "run", two of each key, in order.
async fn of_its_lane(own: &Own, count: usize) -> Vec<Event> {
    let mut connection = own.connect().await;
    let keys = "SELECT 'other ' || n FROM generate_series(1, 10000) AS n
                WHERE hashtextextended('other ' || n, 0) & 15 = hashtextextended('run', 0) & 15
                ORDER BY n LIMIT $1";
    let rows = sqlx::query(keys)
        .bind(i64::try_from(count).expect("few"))
        .fetch_all(&mut connection)
        .await
        .expect("read");
    let of_key = |row| {
        let key: String = sqlx::postgres::PgRow::get(row, 0);
        [0, 1].map(|_| Event::new("shares", "").ordering_key(key.clone()))
    };
    rows.iter().flat_map(of_key).collect()
}

/// S2, S12: the events come after a run in their lane, first in its window, then in the next window.
#[tokio::test]
async fn other_keys_of_a_lane_do_not_wait_for_the_end_of_a_run() {
    let own = Own::in_schema("outbox");
    let many = run(6000);
    let others = of_its_lane(&own, 5).await;
    let (first, second) = others.split_at(4);
    own.append(&many).await;
    own.append(first).await;
    let store = own.open().await;
    let mut published = publish(&store).await;
    own.append(second).await;
    for _ in 0..40 {
        published.extend(publish(&store).await);
    }
    let expected: HashSet<EventId> = ids(&others).into_iter().collect();
    let found: Vec<EventId> = published
        .iter()
        .copied()
        .filter(|id| expected.contains(id))
        .collect();
    assert_eq!(
        found.len(),
        others.len(),
        "events of other keys in 41 claims"
    );
    for pair in others.chunks(2) {
        let place = |event: &Event| found.iter().position(|id| *id == event.id);
        assert!(place(&pair[0]) < place(&pair[1]), "out of order");
    }
    loop {
        let more = publish(&store).await;
        if more.is_empty() {
            break;
        }
        published.extend(more);
    }
    published.retain(|id| !expected.contains(id));
    assert_eq!(published, ids(&many));
}

/// S12: a large claim has many events of each key, but with so many keys none of them delays the others.
#[tokio::test]
async fn a_lane_of_twenty_keys_is_not_a_run() {
    let own = Own::in_schema("outbox");
    let events = of_its_lane(&own, 21).await;
    let (many, other) = events.split_at(40);
    let of_key = |n: usize| many[n % 40].ordering_key.clone().expect("a key");
    let event = |n| Event::new("shares", "").ordering_key(of_key(n));
    own.append(&(0..1000).map(event).collect::<Vec<_>>()).await;
    own.append(other).await;
    let store = own.open().await;
    let claim = store.claim(ClaimLimit::events(500), LEASE).await;
    assert_eq!(claim.expect("claimed").events.len(), 500);
    let mut connection = own.connect().await;
    let parked = "SELECT count(*) FROM outbox.outbox_retries";
    let row = sqlx::query(parked).fetch_one(&mut connection).await;
    assert_eq!(row.expect("read").get::<i64, _>(0), 0, "events set aside");
}

/// S1, S2: a transaction appends before a look behind the run, and commits after it. Its event still
/// comes before later events of its key.
#[tokio::test]
async fn a_late_commit_after_a_run_comes_before_later_events_of_its_key() {
    let own = Own::in_schema("outbox");
    let others = of_its_lane(&own, 1).await;
    let mut late = own.connect().await;
    sqlx::Executor::execute(&mut late, "BEGIN")
        .await
        .expect("begun");
    own.appender()
        .append(&mut late, &others[..1])
        .await
        .expect("appended");
    own.append(&run(5000)).await;
    let store = own.open().await;
    let mut published = publish(&store).await;
    published.extend(publish(&store).await);
    sqlx::Executor::execute(&mut late, "COMMIT")
        .await
        .expect("committed");
    own.append(&others[1..]).await;
    for _ in 0..30 {
        published.extend(publish(&store).await);
    }
    published.retain(|id| ids(&others).contains(id));
    assert_eq!(published, ids(&others));
}

/// S12: the open claims of a handle leave lanes to another one. The handle then waits for the end of a claim,
/// or of its lease.
#[tokio::test]
async fn the_open_claims_of_a_handle_leave_a_quarter_of_the_lanes_to_others() {
    let own = Own::in_schema("outbox");
    let events: Vec<Event> = (0..4000).map(|_| Event::new("shares", "")).collect();
    own.append(&events).await;
    let (stuck, other) = (own.open().await, own.open().await);
    let claim = async || {
        let claim = stuck.claim(ClaimLimit::events(LIMIT), LEASE).await;
        claim.expect("claimed")
    };
    let mut open = vec![claim().await];
    while !open[open.len() - 1].events.is_empty() {
        open.push(claim().await);
    }
    let mut connection = own.connect().await;
    let taken = "SELECT count(*) FROM outbox.outbox_lanes WHERE token IS NOT NULL";
    let row = sqlx::query(taken).fetch_one(&mut connection).await;
    assert_eq!(row.expect("read").get::<i64, _>(0), 12, "lanes of a handle");
    let waiting = async || {
        let wait = stuck.wait_for_work(LEASE * 20);
        tokio::time::timeout(LEASE * 2, wait).await
    };
    let settle = async {
        let mut found = Vec::new();
        while found.len() < 500 {
            found.extend(publish(&other).await);
        }
        let settlements = each(&open[0], &Outcome::Published);
        stuck.settle(open[0].token, &settlements).await
    };
    let (woken, settled) = tokio::join!(waiting(), settle);
    settled.expect("settled");
    woken.expect("a wait that ends").expect("waited");
    assert!(!claim().await.events.is_empty(), "after a settlement");
    while !claim().await.events.is_empty() {}
    own.elapse(LEASE).await;
    assert!(!claim().await.events.is_empty(), "after the leases");
}

/// S5: events that must wait are moved in pages, in the order of each key, and come when they are due.
#[tokio::test]
async fn events_that_must_wait_are_moved_in_pages_and_keep_their_order() {
    let own = Own::in_schema("outbox");
    let later = SystemTime::now() + Duration::from_secs(3600);
    let delayed = |key: &str| {
        Event::new("shares", "")
            .ordering_key(key)
            .available_at(later)
    };
    let mut events = vec![delayed("run")];
    events.extend(run(3000));
    events.push(Event::new("shares", "").available_at(later));
    events.push(delayed("other"));
    events.push(Event::new("shares", "").ordering_key("other"));
    own.append(&events).await;
    let store = own.open().await;
    let mut connection = own.connect().await;
    let parked = "SELECT count(*) FROM outbox.outbox_retries";
    loop {
        assert_eq!(publish(&store).await, [], "events that are not due");
        let row = sqlx::query(parked).fetch_one(&mut connection).await;
        if row.expect("read").get::<i64, _>(0) == 3004 {
            break;
        }
        store.wait_for_work(LEASE).await.expect("more to be parked");
    }
    own.elapse(Duration::from_secs(7200)).await;
    let mut published = Vec::new();
    loop {
        let more = publish(&store).await;
        if more.is_empty() {
            break;
        }
        published.extend(more);
    }
    let (of_run, rest): (Vec<EventId>, Vec<EventId>) = published
        .into_iter()
        .partition(|id| ids(&events[..3001]).contains(id));
    assert_eq!(of_run, ids(&events[..3001]));
    assert_eq!(rest.len(), 3);
}

/// S11: a claim reads no payloads of rows that it does not take, and a list reads none.
#[tokio::test]
async fn payloads_that_are_not_returned_are_not_read() {
    let own = Own::in_schema("outbox");
    own.execute("ALTER TABLE outbox.outbox_events ALTER payload SET STORAGE EXTERNAL")
        .await;
    let event = |_| Event::new("shares", vec![b'x'; 100_000]);
    own.append(&(0..60).map(event).collect::<Vec<_>>()).await;
    let pool = own.pool();
    let config = PostgresConfig::new(pool.clone()).schema(own.schema().clone());
    let opened = PostgresStore::open(config).await;
    let store = opened.expect("opened");
    let limit = ClaimLimit::events(50).bytes(250_000);
    let claim = store.claim(limit, LEASE).await.expect("claimed");
    assert_eq!(claim.events.len(), 2);
    drop(store);
    pool.close().await;
    // The counts of a connection are complete once it has ended.
    let read = "SELECT t.idx_tup_fetch FROM pg_stat_all_tables AS t
                JOIN pg_class AS c ON c.reltoastrelid = t.relid
                WHERE c.relname = 'outbox_events' AND t.idx_tup_fetch > 0
                  AND (SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND backend_type = 'client backend') = 1";
    let mut connection = own.connect().await;
    let pieces: i64 = loop {
        let row = sqlx::query_scalar(read)
            .fetch_optional(&mut connection)
            .await;
        if let Some(pieces) = row.expect("read") {
            break pieces;
        }
    };
    // A piece has about 2,000 bytes.
    assert!(
        pieces < 3 * 55,
        "{pieces} pieces were read for two payloads"
    );
}
