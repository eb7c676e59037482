//! Appending in a transaction of rusqlite passes the suite. The group `statements` does not apply: each event is
//! a statement, which costs no round trip.

#[path = "../../outbox-append-sqlite/tests/support/fixture.rs"]
#[allow(dead_code, reason = "other layers need more of it")]
mod fixture;
#[path = "../../examples/shop/rusqlite.rs"]
#[allow(dead_code, reason = "its `main` is the example")]
mod shop;

use async_trait::async_trait;
use fixture::Fixture;
use outbox_conformance::append::{Append, End, Step};
use outbox_core::OutboxError;
use outbox_store_sqlite::append;
use outbox_store_sqlite::rusqlite::TransactionBehavior;
use outbox_store_sqlite::rusqlite::hooks::Action;
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[async_trait]
impl Append for Fixture {
    async fn transact(&self, steps: &[Step], end: End) -> Vec<Result<(), OutboxError>> {
        let mut connection = self.elsewhere();
        let statements = Arc::clone(&self.statements);
        let hook = move |action, _: &str, table: &str, _| {
            if action == Action::SQLITE_INSERT && table == "outbox_events" {
                statements.fetch_add(1, Ordering::Relaxed);
            }
        };
        connection.update_hook(Some(hook)).expect("a hook");
        let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begun.expect("begun");
        let mut results = Vec::new();
        for step in steps {
            let sql = match step {
                Step::Append(events) => {
                    results.push(append(&transaction, events));
                    continue;
                }
                Step::Savepoint => "SAVEPOINT s",
                Step::RollBackToSavepoint => "ROLLBACK TO SAVEPOINT s",
            };
            transaction.execute_batch(sql).expect("a savepoint");
        }
        let ended = match end {
            End::Commit => transaction.commit(),
            End::RollBack => transaction.rollback(),
        };
        ended.expect("ended");
        results
    }
}

outbox_conformance::append_suite!(file, Fixture::new().await, transactions, refusals, fields,);

#[tokio::test]
async fn the_shop_of_the_examples_sells_what_is_paid() {
    let fixture = Fixture::new().await;
    let sold = shop::run(&fixture.path()).await.expect("sold");
    assert_eq!(sold, shop::order::SOLD);
}
