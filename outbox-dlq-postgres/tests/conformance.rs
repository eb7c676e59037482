//! The PostgreSQL heap passes the suite, in the default schema and in one with an odd name. Each
//! handle has connections of its own, in the odd schema a single one, and each case a database.

use async_trait::async_trait;
use outbox_conformance::heap::HeapFixture;
use outbox_core::{DlqEntry, DlqHeap};
use outbox_dlq_postgres::{DriverOptions, PostgresDlqHeap, Schema, sqlx};
use outbox_driver_postgres::{PgTime, PgUuid};
use std::sync::Arc;
use std::time::Duration;
use test_servers::postgres::Database;
use tokio::sync::OnceCell;

struct Fixture {
    database: OnceCell<Database>,
    schema: Schema,
    neighbour: Schema,
    /// Of each handle.
    connections: u32,
}

impl Fixture {
    fn new(connections: u32, schema: &str, neighbour: &str) -> Self {
        let name = |name| Schema::new(name).expect("a name");
        Self {
            database: OnceCell::new(),
            schema: name(schema),
            neighbour: name(neighbour),
            connections,
        }
    }

    async fn database(&self) -> &Database {
        self.database.get_or_init(Database::create).await
    }

    async fn open(&self, schema: &Schema) -> Arc<dyn DlqHeap> {
        let pool = self.database().await.pool_of(self.connections);
        let options = DriverOptions::default().schema(schema.clone());
        Arc::new(
            PostgresDlqHeap::migrate_with(pool, options)
                .await
                .expect("opened"),
        )
    }
}

#[async_trait]
impl HeapFixture for Fixture {
    async fn handle(&self) -> Arc<dyn DlqHeap> {
        self.open(&self.schema).await
    }

    async fn neighbour(&self) -> Arc<dyn DlqHeap> {
        self.open(&self.neighbour).await
    }

    async fn elapse(&self, time: Duration) {
        self.database().await.elapse(time).await;
    }

    async fn plant(&self, entry: DlqEntry) {
        let insert = "INSERT INTO outbox.outbox_dlq_heap
            (event_id, failure_count, first_failed_at, last_failed_at) VALUES ($1, $2, $3, $4)";
        let pool = self.database().await.pool();
        sqlx::query(self.schema.sql(insert))
            .bind(PgUuid(*entry.id.as_uuid()))
            .bind(i64::from(entry.failure_count))
            .bind(PgTime(entry.first_failed_at))
            .bind(PgTime(entry.last_failed_at))
            .execute(&pool)
            .await
            .expect("planted");
    }
}

outbox_conformance::dlq_heap_suite!(
    default_schema,
    Fixture::new(4, "outbox", "outbox 2"),
    counting,
    races,
    leases,
    durability,
);
outbox_conformance::dlq_heap_suite!(
    odd_schema,
    Fixture::new(
        1,
        "My \"héap\" o'clock; 100 %",
        "My \"héap\" o'clock; 100 %.outbox"
    ),
    counting,
    races,
    leases,
    durability,
);
