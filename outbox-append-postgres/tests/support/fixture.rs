//! An outbox in a separate database. The tests of each crate that appends in the transactions of a data layer
//! include this file, and add how their layer connects and does a transaction.

use async_trait::async_trait;
use outbox_conformance::append::AppendFixture;
use outbox_conformance::store::Store;
use outbox_core::ClaimLimit;
use outbox_store_postgres::{PostgresConfig, PostgresStore, Schema};
use std::sync::Arc;
use std::time::Duration;
use test_servers::postgres::Database;
use test_servers::{Kind, Server, search_path};

pub(crate) struct Fixture {
    pub(crate) database: Database,
    pub(crate) schema: Schema,
    table: String,
}

impl Fixture {
    pub(crate) async fn new(schema: &str) -> Self {
        let schema = Schema::new(schema).expect("a name");
        let database = Database::create_with(&server(), &PostgresStore::script(&schema)).await;
        let table = format!("{}.outbox_events", schema.quoted());
        database.count_inserts(&table).await;
        Self {
            database,
            schema,
            table,
        }
    }

    /// The URL without its parameters, which only sqlx knows.
    pub(crate) fn url(&self) -> String {
        let url = self.database.url();
        url.split('?').next().unwrap_or_default().to_owned()
    }

    /// A `PgBouncer` in transaction mode, and the URL of the database through it.
    pub(crate) fn through_pgbouncer(&self) -> (Server, String) {
        let bouncer = Server::start_pgbouncer(&search_path(), &server());
        let bouncer = bouncer.unwrap_or_else(|error| panic!("{error}"));
        let (server, _) = bouncer.url().rsplit_once('/').expect("a URL");
        let url = format!("{server}/{}", self.database.name());
        (bouncer, url)
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

fn server() -> String {
    test_servers::url(Kind::Postgres).unwrap_or_else(|error| panic!("{error}"))
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
