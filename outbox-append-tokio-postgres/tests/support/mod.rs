//! An outbox in a separate database, and clients of tokio-postgres.
#![allow(dead_code, reason = "each test file uses a part of it")]

use async_trait::async_trait;
use outbox_append_tokio_postgres::tokio_postgres::{self, Client, NoTls};
use outbox_append_tokio_postgres::{Schema, append};
use outbox_conformance::append::{Append, AppendFixture, End, Step};
use outbox_conformance::store::Store;
use outbox_core::OutboxError;
use outbox_store_postgres::{PostgresConfig, PostgresStore};
use std::sync::Arc;
use test_servers::Kind;
use test_servers::postgres::Database;

pub(crate) struct Fixture {
    pub(crate) database: Database,
    pub(crate) schema: Schema,
    table: String,
}

impl Fixture {
    pub(crate) async fn new(schema: &str) -> Self {
        let url = test_servers::url(Kind::Postgres).unwrap_or_else(|error| panic!("{error}"));
        let schema = Schema::new(schema).expect("a name");
        let database = Database::create_with(&url, &PostgresStore::script(&schema)).await;
        let table = format!("{}.outbox_events", schema.quoted());
        database.count_inserts(&table).await;
        Self {
            database,
            schema,
            table,
        }
    }

    pub(crate) async fn connect(&self) -> Client {
        let url = self.database.url();
        // The parameters are those of sqlx.
        connect(url.split('?').next().unwrap_or_default()).await
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

#[async_trait]
impl AppendFixture for Fixture {
    async fn store(&self) -> Arc<dyn Store> {
        let config = PostgresConfig::new(self.database.pool()).schema(self.schema.clone());
        Arc::new(PostgresStore::open(config).await.expect("opened"))
    }

    async fn statements(&self) -> u64 {
        self.database.inserts().await
    }

    async fn remove_tables(&self) {
        let drop = format!("DROP TABLE {} CASCADE", self.table);
        self.database.execute(&drop).await;
    }
}
