//! What the suite does not ask: nested transactions, prepared statements, a connection that is lost, PgBouncer, and
//! other databases.

#[path = "../../examples/shop/sea_orm.rs"]
#[allow(dead_code, reason = "its `main` is the example")]
mod shop;
mod support;

use outbox_append_sea_orm::sea_orm::{
    self, ConnectOptions, ConnectionTrait, Database, DbBackend, MockDatabase, Statement,
    TransactionTrait,
};
use outbox_append_sea_orm::{Schema, append};
use outbox_core::{ErrorKind, Event};
use std::error::Error;
use support::Fixture;

#[tokio::test]
async fn a_nested_transaction_rolls_back_alone() {
    let fixture = Fixture::new("outbox").await;
    let connection = fixture.connect().await;
    let transaction = connection.begin().await.expect("begun");
    for name in ["kept", "undone"] {
        let mut nested = transaction.begin().await.expect("a savepoint");
        let events = [Event::new(name, "1"), Event::new(name, "2")];
        let appended = append(&mut nested, &fixture.schema, &events).await;
        appended.expect("appended");
        match name {
            "kept" => nested.commit().await.expect("released"),
            _ => nested.rollback().await.expect("rolled back"),
        }
    }
    transaction.commit().await.expect("committed");
    assert_eq!(fixture.types().await, ["kept", "kept"]);
}

#[tokio::test]
async fn a_connection_prepares_a_statement_for_one_event_and_one_for_several() {
    let fixture = Fixture::new("outbox").await;
    let connection = fixture.connect().await;
    let mut transaction = connection.begin().await.expect("begun");
    for count in [1, 2, 1, 3] {
        let events: Vec<Event> = (0..count).map(|_| Event::new("many", "")).collect();
        let appended = append(&mut transaction, &fixture.schema, &events).await;
        appended.expect("appended");
    }
    let prepared = "SELECT count(*) FROM pg_prepared_statements
                    WHERE statement LIKE '-- Appends %'";
    let count = Statement::from_string(DbBackend::Postgres, prepared);
    let row = transaction.query_one_raw(count).await.expect("counted");
    let count: i64 = row.expect("a row").try_get_by_index(0).expect("a number");
    assert_eq!(count, 2);
}

#[tokio::test]
async fn a_lost_connection_is_unavailable_with_the_error_of_the_driver() {
    let fixture = Fixture::new("outbox").await;
    let connection = fixture.connect().await;
    let mut transaction = connection.begin().await.expect("begun");
    fixture.database.disconnect_all().await;
    // The server says why in the first call, and the second finds the connection closed.
    for _ in 0..2 {
        let events = [Event::new("lost", "")];
        let lost = append(&mut transaction, &fixture.schema, &events).await;
        let error = lost.expect_err("a lost connection");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let source = error.source().expect("a source");
        assert!(source.is::<sea_orm::DbErr>(), "{source:?}");
    }
}

/// Each transaction may use another connection of the server, on which statements of other clients are.
#[tokio::test]
async fn through_pgbouncer_in_transaction_mode_events_are_appended_after_deallocate_all() {
    const CLIENTS: usize = 4;
    let fixture = Fixture::new("outbox").await;
    let (_bouncer, url) = fixture.through_pgbouncer();
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    // PgBouncer refuses the parameter of a connection, unless its settings ignore it.
    options.map_sqlx_postgres_opts(|options| {
        let options = options.statement_cache_capacity(0);
        options.extra_float_digits(None)
    });
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let client = Database::connect(options.clone()).await;
        clients.push(client.expect("connected"));
    }
    for round in 0..5 {
        for client in &clients {
            let mut transaction = client.begin().await.expect("begun");
            let done = transaction.execute_unprepared("DEALLOCATE ALL").await;
            done.expect("deallocated");
            let events: Vec<Event> = (0..=round % 2).map(|_| Event::new("it", "")).collect();
            let appended = append(&mut transaction, &fixture.schema, &events).await;
            appended.expect("appended");
            transaction.commit().await.expect("committed");
        }
    }
    for client in clients {
        client.close().await.expect("closed");
    }
    assert_eq!(fixture.types().await.len(), CLIENTS * (3 + 2 * 2));
}

#[tokio::test]
async fn a_transaction_of_another_database_is_invalid() {
    let database = MockDatabase::new(DbBackend::MySql).into_connection();
    let mut transaction = database.begin().await.expect("begun");
    let appended = append(&mut transaction, &Schema::default(), &[]).await;
    let error = appended.expect_err("a wrong database");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("MySql"), "{error}");
}

#[tokio::test]
async fn the_shop_of_the_examples_sells_what_is_paid() {
    let fixture = Fixture::new("outbox").await;
    let sold = shop::run(&fixture.url()).await.expect("sold");
    assert_eq!(sold, shop::order::SOLD);
}
