//! An outbox in a separate database, and connections of diesel.
#![allow(dead_code, reason = "each test file uses a part of it")]

use async_trait::async_trait;
use outbox_append_diesel::diesel::connection::SimpleConnection;
use outbox_append_diesel::diesel::result::Error;
use outbox_append_diesel::diesel::{Connection, PgConnection};
use outbox_append_diesel::{Schema, append};
use outbox_conformance::append::{Append, AppendFixture, End, OutsideFixture, Step};
use outbox_conformance::store::Store;
use outbox_core::{ClaimLimit, Event, OutboxError};
use outbox_store_postgres::{PostgresConfig, PostgresStore};
use std::sync::Arc;
use std::time::Duration;
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

    pub(crate) fn connect(&self) -> PgConnection {
        let url = self.database.url();
        // The parameters are those of sqlx.
        let url = url.split('?').next().unwrap_or_default();
        connect(url)
    }

    /// The types of the events that can be claimed, sorted.
    pub(crate) async fn types(&self) -> Vec<String> {
        let store = self.store().await;
        let claim = store.claim(ClaimLimit::events(100), Duration::from_secs(30));
        let events = claim.await.expect("claimed").events;
        let mut types: Vec<String> = events.into_iter().map(|it| it.event.event_type).collect();
        types.sort_unstable();
        types
    }
}

pub(crate) fn connect(url: &str) -> PgConnection {
    PgConnection::establish(url).expect("connected")
}

#[async_trait]
impl Append for Fixture {
    async fn transact(&self, steps: &[Step], end: End) -> Vec<Result<(), OutboxError>> {
        let mut results = Vec::new();
        let ended = self.connect().transaction(|connection| {
            for step in steps {
                match step {
                    Step::Append(events) => {
                        results.push(append(connection, &self.schema, events));
                    }
                    Step::Savepoint => connection.batch_execute("SAVEPOINT s")?,
                    Step::RollBackToSavepoint => {
                        connection.batch_execute("ROLLBACK TO SAVEPOINT s")?;
                    }
                }
            }
            match end {
                End::Commit => Ok(()),
                End::RollBack => Err(Error::RollbackTransaction),
            }
        });
        match (ended, end) {
            (Ok(()), End::Commit) | (Err(Error::RollbackTransaction), End::RollBack) => results,
            (ended, _) => panic!("the transaction ended with {ended:?}"),
        }
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

#[async_trait]
impl OutsideFixture for Fixture {
    async fn append_outside(&self, events: &[Event]) -> Result<(), OutboxError> {
        let mut connection = self.connect();
        let begun = connection.transaction::<_, Error, _>(|_| Ok(()));
        begun.expect("a transaction before");
        append(&mut connection, &self.schema, events)
    }
}
