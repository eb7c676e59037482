use crate::{Fleet, assert_empty, kill, migrate, runtime};
use outbox_core::{Event, OutboxStorage};
use outbox_store_postgres::sqlx::{Connection, Executor, PgConnection};
use outbox_store_postgres::{PostgresStore, append};
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
    let producer = runtime();
    let connected = producer.block_on(PgConnection::connect(&url));
    let mut connection = connected.expect("connected");
    let append = move |events: &[Event], commit: bool| {
        producer.block_on(async {
            connection.execute("BEGIN").await.expect("begun");
            append(&mut connection, events).await.expect("appended");
            let end = if commit { "COMMIT" } else { "ROLLBACK" };
            connection.execute(end).await.expect("ended");
        });
    };
    kill(&folder, &url, fleet, 20, Box::new(append));
    runtime().block_on(async {
        let store = PostgresStore::open(database.pool()).await.expect("opened");
        assert_empty(&store.backlog().await.expect("a backlog"));
    });
}
