//! The fixture with clients of tokio-postgres.
#![allow(dead_code, reason = "each test file uses a part of it")]

#[path = "../../../outbox-append-postgres/tests/support/fixture.rs"]
mod fixture;

pub(crate) use fixture::Fixture;

use async_trait::async_trait;
use outbox_append_tokio_postgres::append;
use outbox_append_tokio_postgres::tokio_postgres::{self, Client, NoTls};
use outbox_conformance::append::{Append, End, Step};
use outbox_core::OutboxError;

impl Fixture {
    pub(crate) async fn connect(&self) -> Client {
        connect(&self.url()).await
    }
}

/// A client; its connection runs in a task.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .expect("connected");
    tokio::spawn(connection);
    client
}

#[async_trait]
impl Append for Fixture {
    async fn transact(&self, steps: &[Step], end: End) -> Vec<Result<(), OutboxError>> {
        let mut client = self.connect().await;
        let mut transaction = client.transaction().await.expect("begun");
        let mut results = Vec::new();
        for step in steps {
            let sql = match step {
                Step::Append(events) => {
                    results.push(append(&mut transaction, &self.schema, events).await);
                    continue;
                }
                Step::Savepoint => "SAVEPOINT s",
                Step::RollBackToSavepoint => "ROLLBACK TO SAVEPOINT s",
            };
            transaction.batch_execute(sql).await.expect("a savepoint");
        }
        match end {
            End::Commit => transaction.commit().await.expect("committed"),
            End::RollBack => transaction.rollback().await.expect("rolled back"),
        }
        results
    }
}
