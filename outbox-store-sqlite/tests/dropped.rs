//! A migration and an opening are cancelled at each await point.

use outbox_conformance::{Folder, at_each_point};
use outbox_core::{ClaimLimit, Event, OutboxStorage, Outcome, Settlement};
use outbox_store_sqlite::rusqlite::{Connection, TransactionBehavior};
use outbox_store_sqlite::{SqliteStore, append};
use std::path::Path;
use std::time::Duration;

/// An event that is appended over another connection is claimed and settled.
async fn works(store: SqliteStore, path: &Path) {
    let events = [Event::new("dropped", "x")];
    let mut connection = Connection::open(path).expect("opened");
    let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    let transaction = begun.expect("begun");
    append(&transaction, &events).expect("appended");
    transaction.commit().expect("committed");
    let claim = store
        .claim(ClaimLimit::events(10), Duration::from_secs(30))
        .await;
    let claim = claim.expect("claimed");
    let ids: Vec<_> = claim.events.iter().map(|one| one.event.id).collect();
    assert_eq!(ids, [events[0].id]);
    let published = Settlement::new(ids[0], Outcome::Published);
    store
        .settle(claim.token, &[published])
        .await
        .expect("settled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_migration_or_opening_can_be_repeated() {
    let folder = Folder::new();
    let mut files = 0..;
    at_each_point("migrate", async |point| {
        let path = folder
            .path()
            .join(format!("{}.db", files.next().unwrap_or(0)));
        let store = point.reach(SqliteStore::migrate(&path)).await;
        let ended = store.map(|store| store.expect("migrated")).is_some();
        works(
            SqliteStore::migrate(&path).await.expect("migrated again"),
            &path,
        )
        .await;
        ended
    })
    .await;
    at_each_point("open", async |point| {
        let path = folder.path().join("0.db");
        let store = point.reach(SqliteStore::open(&path)).await;
        let ended = store.map(|store| store.expect("opened")).is_some();
        works(SqliteStore::open(&path).await.expect("opened again"), &path).await;
        ended
    })
    .await;
}
