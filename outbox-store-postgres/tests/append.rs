//! Appending in a transaction of sqlx passes the suite: with `append`, and with an `Appender` that prepares
//! nothing and has another schema.

#[path = "../../examples/shop/sqlx.rs"]
#[allow(dead_code, reason = "its `main` is the example")]
mod shop;
mod support;

use async_trait::async_trait;
use outbox_conformance::append::{Append, AppendFixture, End, Step};
use outbox_conformance::store::{Store, StoreFixture};
use outbox_core::{Event, OutboxError};
use outbox_store_postgres::sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use outbox_store_postgres::{Appender, append};
use std::sync::Arc;
use support::Own;

struct Fixture {
    own: Own,
    /// `None` for `append`.
    appender: Option<Appender>,
    table: String,
}

impl Fixture {
    async fn new(schema: &str) -> Self {
        let own = Own::in_schema(schema);
        let table = format!("{}.outbox_events", own.schema().quoted());
        own.database().count_inserts(&table).await;
        Self {
            own,
            appender: None,
            table,
        }
    }

    fn with_an_appender(mut self) -> Self {
        self.appender = Some(Appender::new(self.own.schema()).through_pgbouncer());
        self
    }

    async fn append(
        &self,
        connection: &mut PgConnection,
        events: &[Event],
    ) -> Result<(), OutboxError> {
        match &self.appender {
            Some(appender) => appender.append(connection, events).await,
            None => append(connection, events).await,
        }
    }
}

#[async_trait]
impl Append for Fixture {
    #[allow(
        clippy::disallowed_methods,
        reason = "an application starts its transaction like this"
    )]
    async fn transact(&self, steps: &[Step], end: End) -> Vec<Result<(), OutboxError>> {
        let mut connection = self.own.connect().await;
        let mut transaction = connection.begin().await.expect("begun");
        let mut results = Vec::new();
        for step in steps {
            let sql = match step {
                Step::Append(events) => {
                    results.push(self.append(&mut transaction, events).await);
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
        self.own.handle().await
    }

    async fn statements(&self) -> u64 {
        self.own.database().inserts().await
    }

    async fn remove_tables(&self) {
        let drop = format!("DROP TABLE {} CASCADE", self.table);
        let mut connection = self.own.connect().await;
        let dropped = connection.execute(AssertSqlSafe(drop)).await;
        dropped.expect("dropped");
    }
}

outbox_conformance::append_suite!(
    append,
    Fixture::new("outbox").await,
    transactions,
    statements,
    refusals,
    fields,
);
outbox_conformance::append_suite!(
    appender,
    Fixture::new("Größe \"x\" 'y'").await.with_an_appender(),
    transactions,
    statements,
    refusals,
    fields,
);

#[tokio::test]
async fn the_shop_of_the_examples_sells_what_is_paid() {
    let fixture = Fixture::new("outbox").await;
    let sold = shop::run(&fixture.own.url()).await.expect("sold");
    assert_eq!(sold, shop::order::SOLD);
}
