//! An outbox in a separate database, and connections of SeaORM.
#![allow(dead_code, reason = "each test file uses a part of it")]

use async_trait::async_trait;
use outbox_append_sea_orm::sea_orm::{self, ConnectOptions, DatabaseConnection, TransactionTrait};
use outbox_append_sea_orm::{Schema, append};
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

    pub(crate) async fn connect(&self) -> DatabaseConnection {
        connect(&self.database.url()).await
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
