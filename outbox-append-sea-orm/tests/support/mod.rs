//! The fixture with connections of SeaORM.
#![allow(dead_code, reason = "each test file uses a part of it")]

#[path = "../../../outbox-append-postgres/tests/support/fixture.rs"]
mod fixture;

pub(crate) use fixture::Fixture;

use async_trait::async_trait;
use outbox_append_sea_orm::append;
use outbox_append_sea_orm::sea_orm::{self, ConnectOptions, DatabaseConnection, TransactionTrait};
use outbox_conformance::append::{Append, End, Step};
use outbox_core::OutboxError;

impl Fixture {
    pub(crate) async fn connect(&self) -> DatabaseConnection {
        connect(&self.url()).await
    }
}

/// One connection, which does not outlive the fixture in a pool.
pub(crate) async fn connect(url: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    sea_orm::Database::connect(options)
        .await
        .expect("connected")
}

#[async_trait]
impl Append for Fixture {
    async fn transact(&self, steps: &[Step], end: End) -> Vec<Result<(), OutboxError>> {
        let connection = self.connect().await;
        // A savepoint is a nested transaction.
        let mut nested = vec![connection.begin().await.expect("begun")];
        let mut results = Vec::new();
        for step in steps {
            let mut innermost = nested.pop().expect("a transaction");
            match step {
                Step::Append(events) => {
                    results.push(append(&mut innermost, &self.schema, events).await);
                    nested.push(innermost);
                }
                Step::Savepoint => {
                    let savepoint = innermost.begin().await.expect("a savepoint");
                    nested.extend([innermost, savepoint]);
                }
                Step::RollBackToSavepoint => innermost.rollback().await.expect("a savepoint"),
            }
        }
        for transaction in nested.into_iter().rev() {
            match end {
                End::Commit => transaction.commit().await.expect("committed"),
                End::RollBack => transaction.rollback().await.expect("rolled back"),
            }
        }
        connection.close().await.expect("closed");
        results
    }
}
