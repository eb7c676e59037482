//! What the suite does not ask: PgBouncer, prepared statements, savepoints of the driver, and a connection that is
//! lost.

#[path = "../../examples/shop/tokio_postgres.rs"]
#[allow(dead_code, reason = "its `main` is the example")]
mod shop;
mod support;

use outbox_append_tokio_postgres::{Appender, append, tokio_postgres};
use outbox_core::{ErrorKind, Event, EventId};
use std::error::Error;
use support::{Fixture, connect};

#[tokio::test]
async fn a_savepoint_of_the_driver_rolls_back_alone() {
    let fixture = Fixture::new("outbox").await;
    let mut client = fixture.connect().await;
    let mut transaction = client.transaction().await.expect("begun");
    for name in ["kept", "undone"] {
        let mut savepoint = transaction.savepoint(name).await.expect("a savepoint");
        let events = [Event::new(name, "1"), Event::new(name, "2")];
        let appended = append(&mut savepoint, &fixture.schema, &events).await;
        appended.expect("appended");
        match name {
            "kept" => savepoint.commit().await.expect("released"),
            _ => savepoint.rollback().await.expect("rolled back"),
        }
    }
    transaction.commit().await.expect("committed");
    assert_eq!(fixture.types().await, ["kept", "kept"]);
}

#[tokio::test]
async fn a_lost_connection_is_unavailable_with_the_error_of_the_driver() {
    let fixture = Fixture::new("outbox").await;
    let mut client = fixture.connect().await;
    let mut transaction = client.transaction().await.expect("begun");
    fixture.database.disconnect_all().await;
    // The server says why in the first call, and the second finds the connection closed.
    for _ in 0..2 {
        let events = [Event::new("lost", "")];
        let lost = append(&mut transaction, &fixture.schema, &events).await;
        let error = lost.expect_err("a lost connection");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let source = error.source().expect("a source");
        assert!(source.is::<tokio_postgres::Error>(), "{source:?}");
    }
}

#[tokio::test]
async fn an_appender_prepares_a_statement_for_one_event_and_one_for_several() {
    let fixture = Fixture::new("outbox").await;
    let mut client = fixture.connect().await;
    let appender = Appender::prepare(&client, &fixture.schema).await;
    let appender = appender.expect("prepared");
    let mut transaction = client.transaction().await.expect("begun");
    for count in [0, 1, 2, 1, 3] {
        let events: Vec<Event> = (0..count).map(|_| Event::new("many", "")).collect();
        let appended = appender.append(&mut transaction, &events).await;
        appended.expect("appended");
    }
    let used = "SELECT generic_plans + custom_plans FROM pg_prepared_statements
                WHERE statement LIKE '-- Appends %'";
    let used = transaction.query_typed(used, &[]).await.expect("counted");
    let used: Vec<i64> = used.iter().map(|row| row.get(0)).collect();
    assert_eq!(used, [2, 2]);
    transaction.commit().await.expect("committed");
    assert_eq!(fixture.types().await.len(), 7);
}

/// Each transaction may use another connection of the server, on which another client prepared statements.
#[tokio::test]
async fn through_pgbouncer_in_transaction_mode_events_are_appended() {
    const CLIENTS: usize = 4;
    let fixture = Fixture::new("outbox").await;
    let (_bouncer, url) = fixture.through_pgbouncer();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(connect(&url).await);
    }
    for round in 0..5 {
        for client in &mut clients {
            let mut transaction = client.transaction().await.expect("begun");
            let events = vec![Event::new("through", "a proxy"); 1 + round % 2];
            let events: Vec<Event> = events.into_iter().map(|it| it.id(EventId::new())).collect();
            let appended = append(&mut transaction, &fixture.schema, &events).await;
            appended.expect("appended");
            transaction.commit().await.expect("committed");
        }
    }
    assert_eq!(fixture.types().await.len(), CLIENTS * (3 + 2 * 2));
}

#[tokio::test]
async fn the_shop_of_the_examples_sells_what_is_paid() {
    let fixture = Fixture::new("outbox").await;
    let sold = shop::run(&fixture.url()).await.expect("sold");
    assert_eq!(sold, shop::order::SOLD);
}
