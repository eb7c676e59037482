//! What the suite does not ask: nested transactions, a lost connection, the cache of statements, a
//! transaction that diesel does not know, and PgBouncer.

#[path = "../../examples/shop/diesel.rs"]
#[allow(dead_code, reason = "its `main` is the example")]
mod shop;
mod support;

use outbox_append_diesel::diesel::connection::{
    AnsiTransactionManager, CacheSize, SimpleConnection, TransactionManager,
};
use outbox_append_diesel::diesel::dsl::sql;
use outbox_append_diesel::diesel::result::Error as DieselError;
use outbox_append_diesel::diesel::sql_types::{Array, Text};
use outbox_append_diesel::diesel::{Connection, PgConnection, RunQueryDsl, select};
use outbox_append_diesel::{Schema, append};
use outbox_core::{ErrorKind, Event, OutboxError};
use std::error::Error;
use support::{Fixture, connect};

type Done = Result<(), Box<dyn Error>>;

/// Appends in a transaction, or in a nested one.
fn commit(connection: &mut PgConnection, events: &[Event]) -> Done {
    connection.transaction(|inner| Ok(append(inner, &Schema::default(), events)?))
}

#[tokio::test]
async fn a_nested_transaction_rolls_back_alone() {
    let fixture = Fixture::new("outbox").await;
    let taken = [Event::new("kept", "1")];
    let done = fixture.connect().transaction(|outer| -> Done {
        append(outer, &fixture.schema, &taken)?;
        commit(outer, &[Event::new("kept", "2")])?;
        let undone = outer.transaction(|inner| -> Done {
            append(inner, &fixture.schema, &[Event::new("undone", "")])?;
            Err(DieselError::RollbackTransaction.into())
        });
        undone.expect_err("rolled back");
        let refused = outer.transaction(|inner| -> Done {
            append(inner, &fixture.schema, &[Event::new("undone", "")])?;
            Ok(append(inner, &fixture.schema, &taken)?)
        });
        let error = refused.expect_err("a duplicate");
        let error = error.downcast::<OutboxError>().expect("ours");
        assert_eq!(error.kind(), ErrorKind::Duplicate, "{error}");
        commit(outer, &[Event::new("kept", "3")])
    });
    done.expect("committed");
    assert_eq!(fixture.types().await, ["kept"; 3]);
}

#[tokio::test]
async fn a_lost_connection_is_unavailable_with_the_error_of_diesel() {
    let fixture = Fixture::new("outbox").await;
    let mut connection = fixture.connect();
    AnsiTransactionManager::begin_transaction(&mut connection).expect("begun");
    fixture.database.disconnect_all().await;
    // The server says why in the first call, and the second finds the connection closed.
    for _ in 0..2 {
        let lost = append(&mut connection, &fixture.schema, &[Event::new("lost", "")]);
        let error = lost.expect_err("a lost connection");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let source = error.source().expect("a source");
        assert!(source.is::<DieselError>(), "{source:?}");
    }
}

/// Each prepared INSERT into the outbox, by its name and the time.
fn prepared(connection: &mut PgConnection) -> Vec<String> {
    let statements = "array(SELECT concat(name, prepare_time) FROM pg_prepared_statements
                            WHERE statement LIKE '-- Appends%' ORDER BY 1)";
    let statements = select(sql::<Array<Text>>(statements)).get_result(connection);
    statements.expect("the prepared statements")
}

#[tokio::test]
async fn the_statements_for_one_and_for_several_are_prepared_once() {
    let fixture = Fixture::new("outbox").await;
    let mut connection = fixture.connect();
    let mut before = None;
    for _ in 0..2 {
        for count in [1, 2, 1, 3] {
            let events: Vec<Event> = (0..count).map(|_| Event::new("cached", "")).collect();
            commit(&mut connection, &events).expect("committed");
        }
        let found = prepared(&mut connection);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(before.get_or_insert(found.clone()), &found);
    }
}

#[tokio::test]
async fn a_transaction_that_diesel_does_not_know_is_refused() {
    let fixture = Fixture::new("outbox").await;
    let mut connection = fixture.connect();
    connection.batch_execute("BEGIN").expect("begun");
    let refused = append(&mut connection, &fixture.schema, &[Event::new("no", "")]);
    let error = refused.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("`transaction`"), "{error}");
    connection.batch_execute("COMMIT").expect("committed");
    assert!(fixture.types().await.is_empty());
}

/// Each transaction may use another connection of the server.
#[tokio::test]
async fn through_pgbouncer_in_transaction_mode_events_are_appended_without_the_cache() {
    const CLIENTS: usize = 4;
    let fixture = Fixture::new("outbox").await;
    let (_bouncer, url) = fixture.through_pgbouncer();
    let mut clients: Vec<PgConnection> = (0..CLIENTS).map(|_| connect(&url)).collect();
    for client in &mut clients {
        client.set_prepared_statement_cache_size(CacheSize::Disabled);
    }
    for round in 0..5 {
        for client in &mut clients {
            let events: Vec<Event> = (0..=round % 2).map(|_| Event::new("it", "")).collect();
            commit(client, &events).expect("committed");
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
