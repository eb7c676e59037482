//! An outbox in a separate database, and connections of sqlx 0.8.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
    clippy::disallowed_methods,
    reason = "the transactions are those of an application"
)]

use async_trait::async_trait;
use outbox_append_sqlx_0_8::sqlx::{Connection, Executor, PgConnection};
use outbox_append_sqlx_0_8::{Schema, append};
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

    pub(crate) async fn connect(&self) -> PgConnection {
        connect(&self.database.url()).await
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
