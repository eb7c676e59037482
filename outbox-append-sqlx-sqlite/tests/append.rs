//! What the suite does not ask: nested transactions, a transaction that continues after a refusal, and a locked
//! file.
#![allow(
    clippy::disallowed_methods,
    reason = "the transactions are those of an application"
)]

#[path = "../../examples/shop/sqlx_sqlite.rs"]
#[allow(dead_code, reason = "its `main` is the example")]
mod shop;
mod support;

use outbox_append_sqlx_sqlite::append;
use outbox_append_sqlx_sqlite::sqlx::{self, Connection};
use outbox_core::{ErrorKind, Event};
use std::error::Error;
use std::time::Duration;
use support::Fixture;

#[tokio::test]
async fn a_nested_transaction_rolls_back_alone() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.connect().await;
    let mut transaction = connection.begin().await.expect("begun");
    for name in ["kept", "undone"] {
        let mut nested = transaction.begin().await.expect("a savepoint");
        let events = [Event::new(name, "1"), Event::new(name, "2")];
        append(&mut nested, &events).await.expect("appended");
        match name {
            "kept" => nested.commit().await.expect("released"),
            _ => nested.rollback().await.expect("rolled back"),
        }
    }
    transaction.commit().await.expect("committed");
    assert_eq!(fixture.types().await, ["kept"; 2]);
}

#[tokio::test]
async fn after_a_refusal_the_transaction_continues_without_the_refused_events() {
    let fixture = Fixture::new().await;
    let taken = [Event::new("kept", "1")];
    let mut connection = fixture.connect().await;
    let mut transaction = connection.begin().await.expect("begun");
    let appended = append(&mut transaction, &taken).await;
    appended.expect("appended");
    let events = [Event::new("undone", ""), taken[0].clone()];
    let refused = append(&mut transaction, &events).await;
    let error = refused.expect_err("a duplicate");
    assert_eq!(error.kind(), ErrorKind::Duplicate, "{error}");
    let appended = append(&mut transaction, &[Event::new("kept", "2")]).await;
    appended.expect("appended");
    transaction.commit().await.expect("committed");
    assert_eq!(fixture.types().await, ["kept"; 2]);
}

#[tokio::test]
async fn a_locked_file_is_unavailable_with_the_error_of_the_driver() {
    let fixture = Fixture::new().await;
    let elsewhere = fixture.elsewhere();
    elsewhere.execute_batch("BEGIN IMMEDIATE").expect("begun");
    let mut connection = fixture.connect_with_timeout(Duration::ZERO).await;
    let mut transaction = connection.begin().await.expect("begun");
    let locked = append(&mut transaction, &[Event::new("locked", "")]).await;
    let error = locked.expect_err("a lock");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let source = error.source().expect("a source");
    assert!(source.is::<sqlx::Error>(), "{source:?}");
}

#[tokio::test]
async fn the_shop_of_the_examples_sells_what_is_paid() {
    let fixture = Fixture::new().await;
    let sold = shop::run(&fixture.path()).await.expect("sold");
    assert_eq!(sold, shop::order::SOLD);
}
