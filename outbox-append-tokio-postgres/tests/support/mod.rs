//! The fixture with clients of tokio-postgres.
#![allow(dead_code, reason = "each test file uses a part of it")]

#[path = "../../../outbox-append-postgres/tests/support/fixture.rs"]
mod fixture;

pub(crate) use fixture::Fixture;

use async_trait::async_trait;
use outbox_append_tokio_postgres::tokio_postgres::{self, Client, NoTls, Transaction};
use outbox_append_tokio_postgres::{Appender, Schema, append};
use outbox_conformance::append::{Append, AppendFixture, End, Step};
use outbox_conformance::store::Store;
use outbox_core::{Event, OutboxError};
use std::sync::Arc;

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
        transact(self, steps, end, false).await
    }
}

/// The same with an [`Appender`].
pub(crate) struct Prepared(pub(crate) Fixture);

#[async_trait]
impl Append for Prepared {
    async fn transact(&self, steps: &[Step], end: End) -> Vec<Result<(), OutboxError>> {
        transact(&self.0, steps, end, true).await
    }
}

#[async_trait]
impl AppendFixture for Prepared {
    async fn store(&self) -> Arc<dyn Store> {
        self.0.store().await
    }

    async fn statements(&self) -> u64 {
        self.0.statements().await
    }

    async fn remove_tables(&self) {
        self.0.remove_tables().await;
    }
}

async fn transact(
    fixture: &Fixture,
    steps: &[Step],
    end: End,
    is_prepared: bool,
) -> Vec<Result<(), OutboxError>> {
    let mut client = fixture.connect().await;
    let mut transaction = client.transaction().await.expect("begun");
    let mut results = Vec::new();
    for step in steps {
        let sql = match step {
            Step::Append(events) if is_prepared => {
                results.push(prepare_and_append(&mut transaction, &fixture.schema, events).await);
                continue;
            }
            Step::Append(events) => {
                results.push(append(&mut transaction, &fixture.schema, events).await);
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

async fn prepare_and_append(
    transaction: &mut Transaction<'_>,
    schema: &Schema,
    events: &[Event],
) -> Result<(), OutboxError> {
    let appender = Appender::prepare(transaction.client(), schema).await?;
    appender.append(transaction, events).await
}
