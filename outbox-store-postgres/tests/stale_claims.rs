//! S1, S3: a claim whose snapshot is older than a change of its lane.
//!
//! A claim is one statement. Here it takes its snapshot, then calls a function that the test has put into
//! the search path before one of the server's functions. There it waits for the test.

mod support;

use outbox_conformance::store::StoreFixture;
use outbox_core::{
    Claim, ClaimLimit, DlqEntry, ErrorKind, Event, EventId, OutboxError, OutboxStorage, Outcome,
};
use outbox_store_postgres::PostgresStore;
use outbox_store_postgres::sqlx::postgres::PgPoolOptions;
use outbox_store_postgres::sqlx::{self, Connection, Executor, PgConnection, PgPool, Row};
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};
use support::{Own, each};
use tokio::task::JoinHandle;

const LEASE: Duration = Duration::from_secs(30);

/// The gates of three statements: the claim of events that wait, the claim from the log, and the claim
/// that continues a window of the log.
const WAITING: i64 = 1;
const LOG: i64 = 2;
const NEXT: i64 = 3;

/// Functions that stop the statements of a claim, and no others: only those have a list of free lanes.
const PAUSING: &str = "
CREATE SCHEMA pausing;
CREATE FUNCTION pausing.wait() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    IF current_query() LIKE '%free AS MATERIALIZED%' THEN
        PERFORM pg_advisory_xact_lock_shared(
            CASE WHEN current_query() LIKE '%due_at <= now()%' THEN 1 ELSE 2 END);
    END IF;
END $$;
CREATE FUNCTION pausing.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pausing.wait();
    RETURN test_clock.now();
END $$;
CREATE FUNCTION pausing.pg_visible_in_snapshot(xid8, pg_snapshot)
RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pausing.wait();
    RETURN pg_catalog.pg_visible_in_snapshot($1, $2);
END $$;
CREATE FUNCTION pausing.same_turn(xid8, xid8) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
    IF current_query() LIKE '%AS fits%' THEN
        PERFORM pg_advisory_xact_lock_shared(3);
    END IF;
    RETURN pg_catalog.xid8eq($1, $2);
END $$;
CREATE OPERATOR pausing.= (LEFTARG = xid8, RIGHTARG = xid8, FUNCTION = pausing.same_turn)";

/// A store with two handles. The test can stop the claims of one of them.
struct Stage {
    own: Own,
    /// The pool of the slow handle: a single connection, so that the test can come between its statements.
    pool: PgPool,
    slow: PostgresStore,
    quick: PostgresStore,
}

impl Stage {
    async fn set() -> Self {
        let own = Own::in_schema("outbox");
        own.execute(PAUSING).await;
        let path = "pausing, test_clock, pg_catalog, public";
        let options = own.options().options([("search_path", path)]);
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .connect_lazy_with(options);
        let slow = PostgresStore::open(pool.clone()).await;
        Self {
            pool,
            slow: slow.expect("opened"),
            quick: own.open().await,
            own,
        }
    }

    /// Starts a claim, and returns when it has its snapshot and waits at a gate.
    async fn begin(&self, number: i64) -> (JoinHandle<Result<Claim, OutboxError>>, PgConnection) {
        let mut gate = self.own.connect().await;
        sqlx::query("SELECT pg_advisory_lock($1)")
            .bind(number)
            .execute(&mut gate)
            .await
            .expect("closed");
        let slow = self.slow.clone();
        let claim = tokio::spawn(async move { slow.claim(ClaimLimit::events(10), LEASE).await });
        let waits = "SELECT count(*) FROM pg_locks
                     WHERE locktype = 'advisory' AND NOT granted AND database =
                           (SELECT oid FROM pg_database WHERE datname = current_database())";
        while gate.fetch_one(waits).await.expect("read").get::<i64, _>(0) == 0 {
            assert!(
                !claim.is_finished(),
                "the claim did not come to gate {number}"
            );
        }
        (claim, gate)
    }

    /// An event that is due again.
    async fn retried(&self) -> EventId {
        let event = keyed();
        self.own.append(std::slice::from_ref(&event)).await;
        let claim = self
            .quick
            .claim(ClaimLimit::events(1), LEASE)
            .await
            .expect("claimed");
        let (delay, error) = (Duration::from_secs(1), "refused".into());
        settle(&self.quick, &claim, &Outcome::Retry { delay, error }).await;
        self.own.elapse(2 * delay).await;
        event.id
    }

    /// Publishes up to `limit` events through the quick handle.
    async fn publish(&self, limit: usize) -> Vec<EventId> {
        let claim = self
            .quick
            .claim(ClaimLimit::events(limit), LEASE)
            .await
            .expect("claimed");
        settle(&self.quick, &claim, &Outcome::Published).await;
        ids(&claim)
    }
}

async fn open_gate(claim: JoinHandle<Result<Claim, OutboxError>>, gate: PgConnection) -> Claim {
    gate.close().await.expect("opened");
    claim.await.expect("ended").expect("claimed")
}

async fn is_lost(store: &PostgresStore, claim: &Claim) -> bool {
    let published = each(claim, &Outcome::Published);
    let error = store.settle(claim.token, &published).await.err();
    error.is_some_and(|error| error.kind() == ErrorKind::LeaseLost)
}

fn ids(claim: &Claim) -> Vec<EventId> {
    claim.events.iter().map(|one| one.event.id).collect()
}

async fn settle(store: &PostgresStore, claim: &Claim, outcome: &Outcome) {
    let settled = store.settle(claim.token, &each(claim, outcome)).await;
    settled.expect("settled");
}

fn keyed() -> Event {
    Event::new("stale", "").ordering_key("k")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_with_a_snapshot_from_before_a_window_loses_none_of_it() {
    let stage = Stage::set().await;
    let (first, later) = (keyed(), [keyed(), keyed()]);
    stage.own.append(std::slice::from_ref(&first)).await;
    let (claim, gate) = stage.begin(LOG).await;
    // The window of the quick handle has events that the stopped claim cannot see.
    stage.own.append(&later).await;
    assert_eq!(stage.publish(1).await, [first.id]);
    let claim = open_gate(claim, gate).await;
    assert_eq!(ids(&claim), later.map(|event| event.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_continues_a_window_that_has_ended_loses_nothing() {
    let stage = Stage::set().await;
    let (events, later) = ([keyed(), keyed(), keyed(), keyed()], [keyed(), keyed()]);
    stage.own.append(&events).await;
    // A single lane has a run of one key. After its start one claim asks all lanes, and the next ones continue
    // the window.
    for event in &events[..2] {
        let claim = stage.slow.claim(ClaimLimit::events(1), LEASE).await;
        let claim = claim.expect("claimed");
        assert_eq!(ids(&claim), [event.id]);
        settle(&stage.slow, &claim, &Outcome::Published).await;
    }
    let (claim, gate) = stage.begin(NEXT).await;
    assert_eq!(stage.publish(10).await, [events[2].id, events[3].id]);
    stage.own.append(&later).await;
    assert_eq!(stage.publish(1).await, [later[0].id]);
    assert_eq!(ids(&open_gate(claim, gate).await), [later[1].id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_saw_a_retry_before_it_was_published_does_not_get_it() {
    let stage = Stage::set().await;
    let event = stage.retried().await;
    let (claim, gate) = stage.begin(WAITING).await;
    assert_eq!(stage.publish(1).await, [event]);
    assert_eq!(ids(&open_gate(claim, gate).await), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_saw_a_suspect_before_it_was_published_does_not_get_it() {
    let stage = Stage::set().await;
    let event = keyed();
    stage.own.append(std::slice::from_ref(&event)).await;
    stage
        .quick
        .claim(ClaimLimit::events(1), LEASE)
        .await
        .expect("claimed");
    stage.own.elapse(2 * LEASE).await;
    let suspect = stage
        .quick
        .claim(ClaimLimit::events(1), LEASE)
        .await
        .expect("claimed");
    let delay = Duration::ZERO;
    settle(&stage.quick, &suspect, &Outcome::Released { delay }).await;
    let (claim, gate) = stage.begin(WAITING).await;
    assert_eq!(stage.publish(1).await, [event.id]);
    assert_eq!(ids(&open_gate(claim, gate).await), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_saw_a_kept_event_before_its_late_settlement_does_not_get_it() {
    let stage = Stage::set().await;
    let event = keyed();
    stage.own.append(std::slice::from_ref(&event)).await;
    let kept = stage
        .quick
        .claim(ClaimLimit::events(1), LEASE)
        .await
        .expect("claimed");
    settle(&stage.quick, &kept, &Outcome::Kept).await;
    stage.own.elapse(2 * LEASE).await;
    let (claim, gate) = stage.begin(WAITING).await;
    settle(&stage.quick, &kept, &Outcome::Published).await;
    assert_eq!(ids(&open_gate(claim, gate).await), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_lost_between_its_statements_takes_nothing_more() {
    let stage = Stage::set().await;
    let (event, successor) = (stage.retried().await, keyed());
    stage.own.append(std::slice::from_ref(&successor)).await;
    let (claim, gate) = stage.begin(WAITING).await;
    // Waits for the connection, so it runs before the next statement of the claim.
    let mut between = Box::pin(stage.pool.acquire());
    tokio::select! {
        biased;
        _ = &mut between => panic!("the claim has no connection"),
        () = std::future::ready(()) => {}
    }
    gate.close().await.expect("opened");
    let between = between.await.expect("acquired");
    stage.own.elapse(2 * LEASE).await;
    assert_eq!(stage.publish(10).await, [event]);
    drop(between);
    let claim = claim.await.expect("ended").expect("claimed");
    assert_eq!(ids(&claim), [event]);
    assert!(is_lost(&stage.slow, &claim).await);
    assert_eq!(stage.publish(10).await, [successor.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_lost_one_of_its_lanes_settles_none() {
    let stage = Stage::set().await;
    let event = stage.retried().await;
    let others: Vec<Event> = (0..8).map(|_| Event::new("stale", "")).collect();
    stage.own.append(&others).await;
    let (claim, gate) = stage.begin(LOG).await;
    // Each quarantine takes over lost claims.
    stage.own.elapse(2 * LEASE).await;
    let now = SystemTime::now();
    let unknown = DlqEntry::new(EventId::new(), 1, now, now);
    let moved = stage.quick.quarantine_events(&[unknown]).await;
    moved.expect("nothing to move");
    let claim = open_gate(claim, gate).await;
    assert!(claim.events.len() > 1, "it took no other lane");
    assert!(is_lost(&stage.slow, &claim).await);
    stage.own.elapse(2 * LEASE).await;
    let mut published = BTreeSet::new();
    while stage.quick.backlog().await.expect("read").pending > 0 {
        published.extend(stage.publish(10).await);
    }
    let all = others.iter().map(|other| other.id).chain([event]);
    assert_eq!(published, all.collect());
}

#[tokio::test]
async fn a_settlement_that_lacks_one_of_its_lanes_moves_no_cursor() {
    let own = Own::in_schema("outbox");
    let store = own.open().await;
    let events: Vec<Event> = (0..8).map(|_| Event::new("stale", "")).collect();
    own.append(&events).await;
    let claim = store
        .claim(ClaimLimit::events(10), LEASE)
        .await
        .expect("claimed");
    assert_eq!(claim.events.len(), 8);
    let other = "UPDATE outbox.outbox_lanes SET token = gen_random_uuid()
                 WHERE lane = (SELECT max(lane) FROM outbox.outbox_lanes WHERE token IS NOT NULL)";
    own.execute(other).await;
    assert!(is_lost(&store, &claim).await);
    assert_eq!(store.backlog().await.expect("read").pending, 8);
}
