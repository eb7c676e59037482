//! The PostgreSQL heap passes the suite: in the default schema, in a schema with an odd name, and over a
//! wire that delivers replies in parts. Each case has a separate database, and each handle has its own
//! connections; in the odd schema it has a single one.

use async_trait::async_trait;
use outbox_conformance::heap::{CrashFixture, HeapFixture, WireFixture};
use outbox_conformance::{TcpWire, Wire};
use outbox_core::{DlqEntry, DlqHeap};
use outbox_dlq_postgres::sqlx::{self, PgPool};
use outbox_dlq_postgres::{PostgresConfig, PostgresDlqHeap, Schema};
use outbox_driver_postgres::{PgTime, PgUuid, SchemaSql};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use test_servers::postgres::Database;
use test_servers::{Kind, Server, search_path};
use tokio::sync::OnceCell;

struct Fixture {
    database: OnceCell<Database>,
    schema: Schema,
    neighbour: Schema,
    /// How many connections each handle has.
    connections: u32,
    wire: OnceLock<TcpWire>,
    /// All handles use the wire, which delivers replies in parts.
    is_slow: bool,
    /// The server, if a case may kill it.
    server: Option<Mutex<Server>>,
}

impl Fixture {
    fn new(connections: u32, schema: &str, neighbour: &str) -> Self {
        let name = |name| Schema::new(name).expect("a name");
        Self {
            database: OnceCell::new(),
            schema: name(schema),
            neighbour: name(neighbour),
            connections,
            wire: OnceLock::new(),
            is_slow: false,
            server: None,
        }
    }

    fn over_a_slow_wire() -> Self {
        let fixture = Self::new(4, "outbox", "outbox 2");
        Self {
            is_slow: true,
            ..fixture
        }
    }

    fn on_a_separate_server() -> Self {
        let server = Server::start(Kind::Postgres, &search_path()).expect("a server");
        let fixture = Self::new(4, "outbox", "outbox 2");
        Self {
            server: Some(Mutex::new(server)),
            ..fixture
        }
    }

    /// With the tables in both schemas.
    async fn database(&self) -> &Database {
        let create = async || {
            let url = match &self.server {
                Some(server) => server.lock().expect("no panic").url().to_owned(),
                None => test_servers::url(Kind::Postgres).expect("a server"),
            };
            let scripts = [&self.schema, &self.neighbour].map(PostgresDlqHeap::script);
            Database::create_with(&url, &scripts.concat()).await
        };
        self.database.get_or_init(create).await
    }

    async fn over_the_wire(&self) -> PgPool {
        let database = self.database().await;
        let wire = || TcpWire::to(database.address()).expect("a wire");
        let wire = self.wire.get_or_init(wire);
        if self.is_slow {
            wire.dribble();
        }
        database.pool_over(wire.port(), 4)
    }

    async fn open(&self, schema: &Schema) -> Arc<dyn DlqHeap> {
        let pool = if self.is_slow {
            self.over_the_wire().await
        } else {
            self.database().await.pool_of(self.connections)
        };
        self.open_on(pool, schema).await
    }

    async fn open_on(&self, pool: PgPool, schema: &Schema) -> Arc<dyn DlqHeap> {
        let config = PostgresConfig::new(pool).schema(schema.clone());
        Arc::new(PostgresDlqHeap::open(config).await.expect("opened"))
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

    async fn end_abandoned_calls(&self) {
        self.database().await.disconnect_all().await;
    }
}

#[async_trait]
impl WireFixture for Fixture {
    async fn wired(&self) -> Arc<dyn DlqHeap> {
        let pool = self.over_the_wire().await;
        self.open_on(pool, &self.schema).await
    }

    fn wire(&self) -> &dyn Wire {
        self.wire.get().expect("a handle over it")
    }
}

#[async_trait]
impl CrashFixture for Fixture {
    async fn crash(&self) {
        let server = self.server.as_ref().expect("a separate server");
        let crashed = || server.lock().expect("no panic").crash();
        tokio::task::block_in_place(crashed).expect("back");
    }
}

outbox_conformance::dlq_heap_suite!(
    default_schema,
    Fixture::new(4, "outbox", "outbox 2"),
    counting,
    races,
    leases,
    cancellation,
    durability,
    wire,
);
outbox_conformance::dlq_heap_suite!(
    slow_wire,
    Fixture::over_a_slow_wire(),
    counting,
    races,
    cancellation,
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
    cancellation,
    durability,
);
outbox_conformance::dlq_heap_suite!(own_server, Fixture::on_a_separate_server(), crashes);
