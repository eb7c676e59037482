use crate::producer::{runtime, to_sqlite};
use crate::{Fleet, assert_empty, kill, migrate};
use outbox_core::OutboxStorage;
use outbox_store_sqlite::SqliteStore;
use tempfile::TempDir;

#[test]
fn a_relay_that_is_killed_fifty_times_loses_nothing_and_keeps_the_order() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("shop.db");
    migrate(folder.path(), "sqlite:shop.db");
    let append = to_sqlite(&path);
    kill(&folder, "sqlite:shop.db", Fleet::One, 50, append);
    runtime().block_on(async {
        let store = SqliteStore::open(&path).await.expect("opened");
        assert_empty(&store.backlog().await.expect("a backlog"));
    });
}
