//! What an operator sees in the log. The connection thread writes it, so the subscriber is that of the
//! whole process.

use outbox_conformance::{Folder, Log, ManualClock};
use outbox_core::{ClaimLimit, Event, OutboxStorage, Outcome, Settlement};
use outbox_store_sqlite::rusqlite::Connection;
use outbox_store_sqlite::{SqliteStore, append};
use std::time::Duration;
use tracing::Level;

const LEASE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_lost_claim_and_an_unreadable_row_are_logged_once() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).expect("the only subscriber");
    let folder = Folder::new();
    let path = folder.path().join("shop.db");
    let clock = ManualClock::new();
    let store = SqliteStore::migrate(&path).await.expect("migrated");
    let store = store.with_clock(clock.clock());
    let mut producer = Connection::open(&path).expect("opened");
    let transaction = producer.transaction().expect("begun");
    append(&transaction, &[Event::new("t", "x"), Event::new("t", "y")]).expect("appended");
    transaction.commit().expect("committed");

    let limit = ClaimLimit::events(10);
    let lost = store.claim(limit, LEASE).await.expect("claimed");
    assert_eq!(lost.events.len(), 2);
    clock.advance(LEASE);
    // A suspect is claimed alone, so two claims take over the two events.
    for _ in 0..2 {
        let claim = store.claim(limit, LEASE).await.expect("claimed");
        let done = claim.events.iter();
        let done = done.map(|one| Settlement::new(one.event.id, Outcome::Published));
        let done: Vec<_> = done.collect();
        store.settle(claim.token, &done).await.expect("settled");
    }
    let taken_over = log.texts(Level::INFO, "took over a claim");
    assert_eq!(taken_over.len(), 1, "{taken_over:?}");
    assert!(taken_over[0].contains("events=2"), "{taken_over:?}");

    let unreadable = "INSERT INTO outbox_events (event_type, payload, headers)
                      VALUES ('t', 'x', '{\"x\":\"\\ud800\"}')";
    producer.execute(unreadable, []).expect("inserted");
    for _ in 0..3 {
        let claim = store.claim(limit, LEASE).await.expect("claimed");
        assert!(claim.events.is_empty());
    }
    let quarantined = log.texts(Level::WARN, "quarantined");
    assert_eq!(quarantined.len(), 1, "{quarantined:?}");
    let id: Vec<u8> = producer
        .query_row("SELECT id FROM outbox_dead_letters", [], |row| row.get(0))
        .expect("a dead letter");
    let id = outbox_core::EventId::from(uuid::Uuid::from_slice(&id).expect("16 bytes"));
    for part in [format!("outbox dlq show {id}"), "reason=".to_owned()] {
        assert!(quarantined[0].contains(&part), "{part}: {quarantined:?}");
    }
}
