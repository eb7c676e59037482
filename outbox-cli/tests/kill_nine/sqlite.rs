use crate::{Fleet, assert_empty, kill, migrate, runtime};
use outbox_core::{Event, OutboxStorage};
use outbox_store_sqlite::rusqlite::{Connection, TransactionBehavior};
use outbox_store_sqlite::{SqliteStore, append};
use std::time::Duration;
use tempfile::TempDir;

#[test]
fn a_relay_that_is_killed_fifty_times_loses_nothing_and_keeps_the_order() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("shop.db");
    migrate(folder.path(), "sqlite:shop.db");
    let mut connection = Connection::open(&path).expect("opened");
    connection
        .busy_timeout(Duration::from_secs(10))
        .expect("set");
    let append = move |events: &[Event], commit: bool| {
        let tx = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .expect("begun");
        append(&tx, events).expect("appended");
        if commit {
            tx.commit().expect("committed");
        } else {
            tx.rollback().expect("rolled back");
        }
    };
    kill(&folder, "sqlite:shop.db", Fleet::One, 50, Box::new(append));
    runtime().block_on(async {
        let store = SqliteStore::open(&path).await.expect("opened");
        assert_empty(&store.backlog().await.expect("a backlog"));
    });
}
