//! Errors that say what to do: missing tables, and a foreign key or trigger of the application.

use crate::{LEASE, Place, all, entry, ids};
use outbox_core::{
    ClaimLimit, DeadLetterFilter, DeadLetters, ErrorKind, Event, EventId, OutboxError,
    OutboxStorage, Outcome,
};
use outbox_store_sqlite::append;
use outbox_store_sqlite::rusqlite::Connection;
use std::time::Duration;

#[track_caller]
fn must_migrate<T>(result: Result<T, OutboxError>) {
    let error = result.err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let advice = "does not exist; run `outbox migrate` or call `SqliteStore::migrate`";
    assert!(error.to_string().contains(advice), "{error}");
}

#[test]
fn append_before_a_migration_says_to_migrate() {
    let mut connection = Connection::open_in_memory().unwrap();
    let transaction = connection.transaction().unwrap();
    must_migrate(append(&transaction, &[Event::new("t", "x")]));
}

#[tokio::test]
async fn each_call_says_to_migrate_if_a_table_is_missing() {
    for table in ["outbox_events", "outbox_dead_letters"] {
        let place = Place::new().await;
        let claim = {
            place.append(&[Event::new("t", "x")]);
            place.claim(1).await
        };
        place.execute(&format!("PRAGMA foreign_keys = OFF; DROP TABLE {table}"));
        let (store, filter) = (&place.store, DeadLetterFilter::all());
        must_migrate(store.backlog().await);
        if table == "outbox_events" {
            must_migrate(store.quarantine_events(&[entry(ids(&claim)[0])]).await);
            let settlements = all(&claim, &Outcome::Published);
            must_migrate(store.settle(claim.token, &settlements).await);
            must_migrate(store.claim(ClaimLimit::events(1), LEASE).await);
            must_migrate(store.wait_for_work(Duration::ZERO).await);
            must_migrate(store.clean_up(1).await);
        } else {
            must_migrate(store.list(&filter, None, 1).await);
            must_migrate(store.find(EventId::new()).await);
            must_migrate(store.replay(&filter, 1).await);
            must_migrate(store.purge(&filter, 1).await);
            must_migrate(store.statistics(&filter, 1).await);
        }
    }
}

#[track_caller]
fn names<T>(result: Result<T, OutboxError>, parts: &[&str]) {
    let error = result.err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn a_foreign_key_that_refuses_a_deletion_is_named_with_advice() {
    let place = Place::new().await;
    place.append(&[Event::new("t", "x")]);
    place.execute(
        "CREATE TABLE shipments (event BLOB REFERENCES outbox_events (id));
         INSERT INTO shipments SELECT id FROM outbox_events",
    );
    let claim = place.claim(1).await;
    let settlements = all(&claim, &Outcome::Published);
    let settled = place.store.settle(claim.token, &settlements).await;
    let parts = ["foreign key", "table shipments", "ON DELETE CASCADE"];
    names(settled, &parts);
    place.execute("DROP TABLE shipments");
    place.settle_all(&claim, &Outcome::Published).await;
}

#[tokio::test]
async fn a_trigger_that_refuses_a_deletion_is_named_with_advice() {
    for raise in ["RAISE(ABORT, 'events are kept')", "RAISE(IGNORE)"] {
        let place = Place::new().await;
        place.append(&[Event::new("t", "x"), Event::new("t", "y")]);
        for table in ["outbox_events", "outbox_dead_letters"] {
            place.execute(&format!(
                "CREATE TRIGGER keep_{table} BEFORE DELETE ON {table} BEGIN SELECT {raise}; END"
            ));
        }
        let claim = place.claim(2).await;
        let settlements = all(&claim, &Outcome::Published);
        let settled = place.store.settle(claim.token, &settlements).await;
        names(settled, &["trigger keep_outbox_events", "drop it"]);
        place.execute("DROP TRIGGER keep_outbox_events");
        let reason = outbox_core::ErrorText::new("refused");
        place.settle_all(&claim, &Outcome::Dead { reason }).await;
        let purged = place.store.purge(&DeadLetterFilter::all(), 10).await;
        names(purged, &["trigger keep_outbox_dead_letters", "drop it"]);
    }
}

#[tokio::test]
async fn the_backlog_of_many_waiting_events_is_exact() {
    const EVENTS: u64 = 110_000;
    let place = Place::new().await;
    place.execute(&format!(
        "INSERT INTO outbox_events (event_type, payload, ordering_key)
         WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {EVENTS})
         SELECT 't', 'x', 'k' FROM n"
    ));
    let claim = place.claim(1).await;
    let later = crate::retry(LEASE);
    place.settle_all(&claim, &later).await;
    while place
        .number("SELECT position FROM outbox_cursor")
        .unsigned_abs()
        < EVENTS
    {
        assert_eq!(place.claim(1).await.events.len(), 0);
    }
    assert_eq!(place.store.backlog().await.unwrap().pending, EVENTS);
}
