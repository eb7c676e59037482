//! The PostgreSQL inbox passes the suite: in the default schema, and in one with an odd name where each
//! handle has a single connection.

use async_trait::async_trait;
use outbox_conformance::inbox::{End, Inbox, InboxFixture};
use outbox_core::{EventId, OutboxError};
use outbox_inbox_postgres::sqlx::{self, Connection, Executor, PgPool, Row, SqlStr};
use outbox_inbox_postgres::{PostgresConfig, PostgresInbox, Schema};
use std::sync::Arc;
use std::time::Duration;
use test_servers::postgres::Database;
use tokio::sync::OnceCell;

struct Fixture {
    database: OnceCell<Database>,
    schema: Schema,
    /// Of each handle.
    connections: u32,
}

impl Fixture {
    fn new(schema: &str, connections: u32) -> Self {
        Self {
            database: OnceCell::new(),
            schema: Schema::new(schema).expect("a name"),
            connections,
        }
    }

    async fn database(&self) -> &Database {
        let create = async || {
            let database = Database::create().await;
            let work = "CREATE TABLE public.work (consumer text, event_id text)";
            database.execute(work).await;
            database
        };
        self.database.get_or_init(create).await
    }
}

struct Handle {
    inbox: PostgresInbox,
    consumer: String,
    pool: PgPool,
}

#[async_trait]
impl Inbox for Handle {
    #[allow(
        clippy::disallowed_methods,
        reason = "a consumer starts its transaction like this; sqlx rolls it back when it is dropped"
    )]
    async fn deliver(&self, id: EventId, end: End) -> Result<bool, OutboxError> {
        let mut connection = self.pool.acquire().await.expect("a connection");
        let mut transaction = connection.begin().await.expect("begun");
        let is_new = self.inbox.accept(&mut transaction, id).await?;
        if is_new {
            let work = sqlx::query("INSERT INTO public.work VALUES ($1, $2)")
                .bind(&self.consumer)
                .bind(id.to_string());
            work.execute(&mut *transaction).await.expect("inserted");
        }
        let ended = match end {
            End::Commit => transaction.commit().await,
            End::RollBack => transaction.rollback().await,
        };
        ended.expect("ended");
        Ok(is_new)
    }

    async fn clean_up(&self, retention: Duration, limit: usize) -> Result<usize, OutboxError> {
        self.inbox.clean_up(retention, limit).await
    }
}

#[async_trait]
impl InboxFixture for Fixture {
    async fn handle(&self, consumer: &str) -> Arc<dyn Inbox> {
        let pool = self.database().await.pool_of(self.connections);
        let config = PostgresConfig::new(pool.clone()).schema(self.schema.clone());
        let inbox = PostgresInbox::migrate(config, consumer).await;
        Arc::new(Handle {
            inbox: inbox.expect("migrated"),
            consumer: consumer.to_owned(),
            pool,
        })
    }

    async fn work(&self, consumer: &str, id: EventId) -> usize {
        let count = "SELECT count(*) FROM public.work WHERE consumer = $1 AND event_id = $2";
        let query = sqlx::query(SqlStr::from_static(count))
            .bind(consumer)
            .bind(id.to_string());
        let pool = self.database().await.pool_of(1);
        let row = pool.fetch_one(query).await.expect("counted");
        usize::try_from(row.get::<i64, _>(0)).expect("a count")
    }

    async fn elapse(&self, time: Duration) {
        self.database().await.elapse(time).await;
    }
}

outbox_conformance::inbox_suite!(
    default_schema,
    Fixture::new("outbox", 4),
    delivery,
    clean_up,
    cancellation,
);
outbox_conformance::inbox_suite!(
    odd_schema,
    Fixture::new("My \"inbox\"", 1),
    delivery,
    clean_up,
    cancellation,
);
