//! What the suite does not ask: PgBouncer, savepoints of the driver, and a connection that is lost.

mod support;

use outbox_append_tokio_postgres::{append, tokio_postgres};
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
