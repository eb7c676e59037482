//! The fixture with connections of sqlx 0.8.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
    clippy::disallowed_methods,
    reason = "the transactions are those of an application"
)]

#[path = "../../../outbox-append-postgres/tests/support/fixture.rs"]
mod fixture;

pub(crate) use fixture::Fixture;

use async_trait::async_trait;
use outbox_append_sqlx_0_8::append;
use outbox_append_sqlx_0_8::sqlx::{Connection, Executor, PgConnection};
use outbox_conformance::append::{Append, End, Step};
use outbox_core::OutboxError;

impl Fixture {
    pub(crate) async fn connect(&self) -> PgConnection {
        connect(&self.url()).await
    }
}

pub(crate) async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("connected")
}

#[async_trait]
impl Append for Fixture {
    async fn transact(&self, steps: &[Step], end: End) -> Vec<Result<(), OutboxError>> {
        let mut connection = self.connect().await;
        let mut transaction = connection.begin().await.expect("begun");
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
            transaction.execute(sql).await.expect("a savepoint");
        }
        match end {
            End::Commit => transaction.commit().await.expect("committed"),
            End::RollBack => transaction.rollback().await.expect("rolled back"),
        }
        results
    }
}
