//! What the suite does not ask: nested transactions, a transaction that continues after a refusal, a locked
//! file, writers that wait for each other, and a transaction that diesel does not know.

#[path = "../../examples/shop/diesel_sqlite.rs"]
#[allow(dead_code, reason = "its `main` is the example")]
mod shop;
mod support;

use outbox_append_diesel_sqlite::append;
use outbox_append_diesel_sqlite::diesel::connection::SimpleConnection;
use outbox_append_diesel_sqlite::diesel::result::Error as DieselError;
use outbox_append_diesel_sqlite::diesel::{Connection, SqliteConnection};
use outbox_core::{ErrorKind, Event};
use std::error::Error;
use std::sync::Barrier;
use std::thread;
use support::Fixture;

type Done = Result<(), Box<dyn Error>>;

#[tokio::test]
async fn a_nested_transaction_rolls_back_alone() {
    let fixture = Fixture::new().await;
    let done = fixture.connect().immediate_transaction(|outer| -> Done {
        append(outer, &[Event::new("kept", "1")])?;
        outer.transaction(|inner| -> Done { Ok(append(inner, &[Event::new("kept", "2")])?) })?;
        let undone = outer.transaction(|inner| -> Done {
            append(inner, &[Event::new("undone", "")])?;
            Err(DieselError::RollbackTransaction.into())
        });
        undone.expect_err("rolled back");
        Ok(append(outer, &[Event::new("kept", "3")])?)
    });
    done.expect("committed");
    assert_eq!(fixture.types().await, ["kept"; 3]);
}

#[tokio::test]
async fn after_a_refusal_the_transaction_continues_without_the_refused_events() {
    let fixture = Fixture::new().await;
    let taken = [Event::new("kept", "1")];
    let done = fixture.connect().immediate_transaction(|shop| -> Done {
        append(shop, &taken)?;
        let refused = append(shop, &[Event::new("undone", ""), taken[0].clone()]);
        let error = refused.expect_err("a duplicate");
        assert_eq!(error.kind(), ErrorKind::Duplicate, "{error}");
        Ok(append(shop, &[Event::new("kept", "2")])?)
    });
    done.expect("committed");
    assert_eq!(fixture.types().await, ["kept"; 2]);
}

#[tokio::test]
async fn a_locked_file_is_unavailable_with_the_error_of_diesel() {
    let fixture = Fixture::new().await;
    let elsewhere = fixture.elsewhere();
    elsewhere.execute_batch("BEGIN IMMEDIATE").expect("begun");
    let mut connection = fixture.connect();
    let set = connection.batch_execute("PRAGMA busy_timeout = 0");
    set.expect("set");
    let done = connection.transaction(|shop: &mut SqliteConnection| -> Done {
        let error = append(shop, &[Event::new("locked", "")]).expect_err("a lock");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let source = error.source().expect("a source");
        assert!(source.is::<DieselError>(), "{source:?}");
        Ok(())
    });
    done.expect("an empty transaction");
}

/// Each reads first, which a deferred transaction would not survive.
#[tokio::test]
async fn writers_with_immediate_transactions_wait_for_each_other() {
    const WRITERS: usize = 4;
    const EACH: usize = 10;
    let fixture = Fixture::new().await;
    let start = Barrier::new(WRITERS);
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                let mut connection = fixture.connect();
                start.wait();
                for _ in 0..EACH {
                    let done = connection.immediate_transaction(|shop| -> Done {
                        shop.batch_execute("SELECT count(*) FROM outbox_events")?;
                        Ok(append(shop, &[Event::new("it", "")])?)
                    });
                    done.expect("committed");
                }
            });
        }
    });
    assert_eq!(fixture.types().await.len(), WRITERS * EACH);
}

#[tokio::test]
async fn a_transaction_that_diesel_does_not_know_is_refused() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.connect();
    connection.batch_execute("BEGIN IMMEDIATE").expect("begun");
    let refused = append(&mut connection, &[Event::new("no", "")]);
    let error = refused.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(
        error.to_string().contains("`immediate_transaction`"),
        "{error}"
    );
    connection.batch_execute("COMMIT").expect("committed");
    assert!(fixture.types().await.is_empty());
}

#[tokio::test]
async fn the_shop_of_the_examples_sells_what_is_paid() {
    let fixture = Fixture::new().await;
    let sold = shop::run(&fixture.path()).await.expect("sold");
    assert_eq!(sold, shop::order::SOLD);
}
