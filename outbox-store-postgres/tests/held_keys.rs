//! S9: a dead letter that is purged while an event of its key starts to wait for it.

mod support;

use outbox_core::{ClaimLimit, DeadLetterFilter, DeadLetters, Event, OutboxStorage, Outcome};
use outbox_store_postgres::sqlx::{Connection, Executor, PgConnection, Row};
use std::time::Duration;
use support::{Own, each};

const LEASE: Duration = Duration::from_secs(30);

/// A settlement that lets an event wait stops before its commit until the test unlocks it.
const GATE: &str = "
CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_advisory_xact_lock_shared(1);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON outbox.outbox_retries
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.hold()";

/// How many calls of the store wait for a lock.
async fn waiting(connection: &mut PgConnection) -> i64 {
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    connection.fetch_one(waiting).await.expect("read").get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_starts_to_wait_while_its_dead_letter_is_purged_continues() {
    let own = Own::in_schema("outbox");
    own.execute(GATE).await;
    let store = own.open().await.block_key_on_dead_letter();
    let [dead, successor] = [0, 1].map(|_| Event::new("held", "").ordering_key("k"));
    own.append(&[dead]).await;
    let claim = store
        .claim(ClaimLimit::events(1), LEASE)
        .await
        .expect("claimed");
    let reason = "never".into();
    let dead = each(&claim, &Outcome::Dead { reason });
    store.settle(claim.token, &dead).await.expect("settled");

    let mut gate = own.connect().await;
    gate.execute("SELECT pg_advisory_lock(1)")
        .await
        .expect("closed");
    own.append(std::slice::from_ref(&successor)).await;
    let claiming = store.clone();
    let claim = tokio::spawn(async move { claiming.claim(ClaimLimit::events(1), LEASE).await });
    while waiting(&mut gate).await < 1 {}
    let purging = store.clone();
    let all = DeadLetterFilter::all();
    let purge = tokio::spawn(async move { purging.purge(&all, 1).await });
    while waiting(&mut gate).await < 2 && !purge.is_finished() {}
    gate.close().await.expect("opened");
    assert_eq!(purge.await.expect("ended").expect("purged").len(), 1);
    let mut claim = claim.await.expect("ended").expect("claimed");
    if claim.events.is_empty() {
        claim = store
            .claim(ClaimLimit::events(1), LEASE)
            .await
            .expect("claimed");
    }
    let claimed: Vec<_> = claim.events.iter().map(|one| one.event.id).collect();
    assert_eq!(claimed, [successor.id]);
}
