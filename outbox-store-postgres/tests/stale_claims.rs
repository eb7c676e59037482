//! S1, S3: a claim that looked at a lane before others changed it, and goes on after.
//!
//! A claim is one statement. These take their snapshot, then wait in a function that stands before
//! one of the server's own in the search path, until the test lets them go on.

mod support;

use outbox_conformance::store::StoreFixture;
use outbox_core::{Claim, Event, EventId, OutboxError, OutboxStorage, Outcome};
use outbox_store_postgres::sqlx::{Connection, Executor, PgConnection, Row};
use outbox_store_postgres::{DriverOptions, PostgresOutbox};
use std::time::Duration;
use support::{Own, each};
use tokio::task::JoinHandle;

const LEASE: Duration = Duration::from_secs(30);

/// What a claim looks with, but only in a claim's statement: no other has a list of free lanes.
const PAUSING: &str = "
CREATE SCHEMA pausing;
CREATE FUNCTION pausing.wait() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    IF current_query() LIKE '%free AS MATERIALIZED%' THEN
        PERFORM pg_advisory_xact_lock_shared(1);
    END IF;
END $$;
CREATE FUNCTION pausing.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pausing.wait();
    RETURN test_clock.now();
END $$;
CREATE FUNCTION pausing.pg_snapshot_xmax(pg_snapshot) RETURNS xid8 LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pausing.wait();
    RETURN pg_catalog.pg_snapshot_xmax($1);
END $$";

/// A store with a handle whose claims can be held up, and one whose cannot.
struct Stage {
    own: Own,
    slow: PostgresOutbox,
    quick: PostgresOutbox,
}

impl Stage {
    async fn set() -> Self {
        let own = Own::in_schema("outbox");
        own.execute(PAUSING).await;
        let path = "pausing, test_clock, pg_catalog, public";
        let pool = own.pool();
        pool.set_connect_options(own.options().options([("search_path", path)]));
        let slow = PostgresOutbox::open(pool, DriverOptions::default()).await;
        Self {
            slow: slow.expect("opened"),
            quick: own.open().await,
            own,
        }
    }

    /// Begins a claim, and returns when it has its snapshot and waits.
    async fn begin(&self) -> (JoinHandle<Result<Claim, OutboxError>>, PgConnection) {
        let mut gate = self.own.connect().await;
        gate.execute("SELECT pg_advisory_lock(1)")
            .await
            .expect("closed");
        let slow = self.slow.clone();
        let claim = tokio::spawn(async move { slow.claim(10, LEASE).await });
        let waits = "SELECT count(*) FROM pg_locks
                     WHERE locktype = 'advisory' AND NOT granted AND database =
                           (SELECT oid FROM pg_database WHERE datname = current_database())";
        while gate.fetch_one(waits).await.expect("read").get::<i64, _>(0) == 0 {}
        (claim, gate)
    }

    /// Publishes what the quick handle can claim, up to `limit` events, in the meantime.
    async fn publish(&self, limit: usize) -> Vec<EventId> {
        let claim = self.quick.claim(limit, LEASE).await.expect("claimed");
        settle(&self.quick, &claim, &Outcome::Published).await;
        ids(&claim)
    }
}

async fn go_on(claim: JoinHandle<Result<Claim, OutboxError>>, gate: PgConnection) -> Vec<EventId> {
    gate.close().await.expect("opened");
    ids(&claim.await.expect("ended").expect("claimed"))
}

fn ids(claim: &Claim) -> Vec<EventId> {
    claim.events.iter().map(|one| one.event.id).collect()
}

async fn settle(store: &PostgresOutbox, claim: &Claim, outcome: &Outcome) {
    let settled = store.settle(claim.token, &each(claim, outcome)).await;
    settled.expect("settled");
}

fn keyed() -> Event {
    Event::new("stale", "").ordering_key("k")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_looked_before_a_window_began_loses_none_of_it() {
    let stage = Stage::set().await;
    let (first, later) = (keyed(), [keyed(), keyed()]);
    stage.own.append(std::slice::from_ref(&first)).await;
    let (claim, gate) = stage.begin().await;
    // The window of the quick handle has events that the waiting claim cannot see.
    stage.own.append(&later).await;
    assert_eq!(stage.publish(1).await, [first.id]);
    assert_eq!(go_on(claim, gate).await, later.map(|event| event.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_saw_a_retry_before_it_was_published_does_not_get_it() {
    let stage = Stage::set().await;
    let event = keyed();
    stage.own.append(std::slice::from_ref(&event)).await;
    let claim = stage.quick.claim(1, LEASE).await.expect("claimed");
    let delay = Duration::from_secs(1);
    let error = "refused".into();
    settle(&stage.quick, &claim, &Outcome::Retry { delay, error }).await;
    stage.own.elapse(2 * delay).await;
    let (claim, gate) = stage.begin().await;
    assert_eq!(stage.publish(1).await, [event.id]);
    assert_eq!(go_on(claim, gate).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_saw_a_suspect_before_it_was_published_does_not_get_it() {
    let stage = Stage::set().await;
    let event = keyed();
    stage.own.append(std::slice::from_ref(&event)).await;
    stage.quick.claim(1, LEASE).await.expect("claimed");
    stage.own.elapse(2 * LEASE).await;
    let suspect = stage.quick.claim(1, LEASE).await.expect("claimed");
    let delay = Duration::ZERO;
    settle(&stage.quick, &suspect, &Outcome::Released { delay }).await;
    let (claim, gate) = stage.begin().await;
    assert_eq!(stage.publish(1).await, [event.id]);
    assert_eq!(go_on(claim, gate).await, []);
}
