//! What the suite does not ask: nested transactions, a lost connection, the cache of statements, a
//! transaction that diesel-async does not know, and PgBouncer.

#[path = "../../examples/shop/diesel_async.rs"]
#[allow(dead_code, reason = "its `main` is the example")]
mod shop;
mod support;

use outbox_append_diesel_async::diesel::connection::CacheSize;
use outbox_append_diesel_async::diesel::dsl::sql;
use outbox_append_diesel_async::diesel::result::Error as DieselError;
use outbox_append_diesel_async::diesel::select;
use outbox_append_diesel_async::diesel::sql_types::{Array, Text};
use outbox_append_diesel_async::diesel_async::{
    AnsiTransactionManager, AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection,
    TransactionManager,
};
use outbox_append_diesel_async::{Schema, append};
use outbox_core::{ErrorKind, Event, OutboxError};
use std::error::Error;
use support::Fixture;

type Done = Result<(), Box<dyn Error + Send + Sync>>;

/// Appends in a transaction, or in a nested one.
async fn commit(connection: &mut AsyncPgConnection, events: &[Event]) -> Done {
    let schema = Schema::default();
    let done =
        connection.transaction(async |inner| -> Done { Ok(append(inner, &schema, events).await?) });
    done.await
}

#[tokio::test]
async fn a_nested_transaction_rolls_back_alone() {
    let fixture = Fixture::new("outbox").await;
    let taken = [Event::new("kept", "1")];
    let mut connection = fixture.connect().await;
    let done = connection.transaction(async |outer| -> Done {
        append(outer, &fixture.schema, &taken).await?;
        commit(outer, &[Event::new("kept", "2")]).await?;
        let undone = outer.transaction(async |inner| -> Done {
            append(inner, &fixture.schema, &[Event::new("undone", "")]).await?;
            Err(DieselError::RollbackTransaction.into())
        });
        undone.await.expect_err("rolled back");
        let refused = outer.transaction(async |inner| -> Done {
            append(inner, &fixture.schema, &[Event::new("undone", "")]).await?;
            Ok(append(inner, &fixture.schema, &taken).await?)
        });
        let error = refused.await.expect_err("a duplicate");
        let error = error.downcast::<OutboxError>().expect("ours");
        assert_eq!(error.kind(), ErrorKind::Duplicate, "{error}");
        commit(outer, &[Event::new("kept", "3")]).await
    });
    done.await.expect("committed");
    assert_eq!(fixture.types().await, ["kept"; 3]);
}

#[tokio::test]
async fn a_lost_connection_is_unavailable_with_the_error_of_diesel() {
    let fixture = Fixture::new("outbox").await;
    let mut connection = fixture.connect().await;
    let begun = AnsiTransactionManager::begin_transaction(&mut connection).await;
    begun.expect("begun");
    fixture.database.disconnect_all().await;
    // The server says why in the first call, and the second finds the connection closed.
    for _ in 0..2 {
        let lost = append(&mut connection, &fixture.schema, &[Event::new("lost", "")]).await;
        let error = lost.expect_err("a lost connection");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let source = error.source().expect("a source");
        assert!(source.is::<DieselError>(), "{source:?}");
    }
}

/// Each prepared INSERT into the outbox, by its name and the time.
async fn prepared(connection: &mut AsyncPgConnection) -> Vec<String> {
    let statements = "array(SELECT concat(name, prepare_time) FROM pg_prepared_statements
                            WHERE statement LIKE '-- Appends%' ORDER BY 1)";
    let statements = select(sql::<Array<Text>>(statements)).get_result(connection);
    statements.await.expect("the prepared statements")
}

#[tokio::test]
async fn the_statements_for_one_and_for_several_are_prepared_once() {
    let fixture = Fixture::new("outbox").await;
    let mut connection = fixture.connect().await;
    let mut before = None;
    for _ in 0..2 {
        for count in [1, 2, 1, 3] {
            let events: Vec<Event> = (0..count).map(|_| Event::new("cached", "")).collect();
            commit(&mut connection, &events).await.expect("committed");
        }
        let found = prepared(&mut connection).await;
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(before.get_or_insert(found.clone()), &found);
    }
}

#[tokio::test]
async fn a_transaction_that_diesel_does_not_know_is_refused() {
    let fixture = Fixture::new("outbox").await;
    let mut connection = fixture.connect().await;
    connection.batch_execute("BEGIN").await.expect("begun");
    let refused = append(&mut connection, &fixture.schema, &[Event::new("no", "")]).await;
    let error = refused.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("`transaction`"), "{error}");
    connection.batch_execute("COMMIT").await.expect("committed");
    assert!(fixture.types().await.is_empty());
}

/// While it connects, diesel-async prepares statements outside of a transaction. PgBouncer may send them to different
/// connections of the server, and then connecting fails.
async fn connect_through_pgbouncer(url: &str) -> AsyncPgConnection {
    loop {
        match AsyncPgConnection::establish(url).await {
            Ok(client) => return client,
            Err(error) => assert!(error.to_string().contains("prepared statement"), "{error}"),
        }
    }
}

/// Each transaction may use another connection of the server. A statement that stayed on one of them could have the
/// name of one of another process.
#[tokio::test]
async fn through_pgbouncer_in_transaction_mode_no_append_stays_prepared_without_the_cache() {
    const CLIENTS: usize = 4;
    let fixture = Fixture::new("outbox").await;
    let (_bouncer, url) = fixture.through_pgbouncer();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = connect_through_pgbouncer(&url).await;
        client.set_prepared_statement_cache_size(CacheSize::Disabled);
        clients.push(client);
    }
    for round in 0..5 {
        for client in &mut clients {
            let events: Vec<Event> = (0..=round % 2).map(|_| Event::new("it", "")).collect();
            commit(client, &events).await.expect("committed");
        }
    }
    // All at once, so that each has another connection.
    for client in &mut clients {
        client.batch_execute("BEGIN").await.expect("begun");
    }
    for client in &mut clients {
        let check = "DO $$ BEGIN ASSERT NOT EXISTS (SELECT FROM pg_prepared_statements
                                                     WHERE statement LIKE '%outbox_events%'); END $$";
        client.batch_execute(check).await.expect("no statement");
    }
    drop(clients);
    assert_eq!(fixture.types().await.len(), CLIENTS * (3 + 2 * 2));
}

#[tokio::test]
async fn the_shop_of_the_examples_sells_what_is_paid() {
    let fixture = Fixture::new("outbox").await;
    let sold = shop::run(&fixture.url()).await.expect("sold");
    assert_eq!(sold, shop::order::SOLD);
}
