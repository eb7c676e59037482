use crate::producer::{runtime, to_postgres};
use crate::{Fleet, assert_empty, kill, migrate};
use outbox_core::OutboxStorage;
use outbox_store_postgres::PostgresStore;
use tempfile::TempDir;
use test_servers::postgres::Database;

#[test]
fn a_relay_that_is_killed_twenty_times_on_postgresql_loses_nothing_and_keeps_the_order() {
    killed(Fleet::One);
}

#[test]
fn one_of_three_relays_that_is_killed_twenty_times_loses_nothing_and_keeps_the_order() {
    killed(Fleet::Three);
}

fn killed(fleet: Fleet) {
    let folder = TempDir::new().expect("a folder");
    let database = runtime().block_on(Database::create());
    let url = database.url();
    migrate(folder.path(), &url);
    kill(&folder, &url, fleet, 20, to_postgres(&url));
    runtime().block_on(async {
        let store = PostgresStore::open(database.pool()).await.expect("opened");
        assert_empty(&store.backlog().await.expect("a backlog"));
    });
}
