//! The transport passes the suite: in the default schema and raw, in a schema with an odd name and with a
//! single connection, in the modes of CloudEvents, over a wire, and on a server that stops.

use async_trait::async_trait;
use outbox_conformance::transport::{
    LimitedBroker, RemovableDestination, StoppableBroker, ThrottlingBroker, TransportFixture,
    WireFixture,
};
use outbox_conformance::{TcpWire, Wire};
use outbox_core::wire::{Mode, WireForm};
use outbox_core::{Event, Transport};
use outbox_driver_postgres::SchemaSql;
use outbox_transport_postgres::sqlx::{self, AssertSqlSafe, PgPool};
use outbox_transport_postgres::{PostgresTransport, PostgresTransportConfig, Schema, read};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use test_servers::postgres::Database;
use test_servers::{Kind, Server, search_path};
use tokio::sync::OnceCell;

struct Fixture {
    database: OnceCell<Database>,
    schema: Schema,
    connections: u32,
    mode: Mode,
    timeout: Duration,
    wire: OnceLock<TcpWire>,
    /// The server, if a case may stop it.
    server: Option<Mutex<Server>>,
}

impl Fixture {
    fn new(schema: &str, connections: u32, mode: Mode) -> Self {
        Self {
            database: OnceCell::new(),
            schema: Schema::new(schema).expect("a name"),
            connections,
            mode,
            timeout: Duration::from_secs(20),
            wire: OnceLock::new(),
            server: None,
        }
    }

    fn raw() -> Self {
        Self::new("outbox", 4, Mode::Raw)
    }

    /// For faults that a call waits out.
    fn impatient() -> Self {
        Self {
            timeout: Duration::from_secs(2),
            ..Self::raw()
        }
    }

    fn on_a_separate_server() -> Self {
        let server = Server::start(Kind::Postgres, &search_path()).expect("a server");
        Self {
            server: Some(Mutex::new(server)),
            ..Self::impatient()
        }
    }

    async fn database(&self) -> &Database {
        let create = async || {
            let url = match &self.server {
                Some(server) => server.lock().expect("no panic").url().to_owned(),
                None => test_servers::url(Kind::Postgres).expect("a server"),
            };
            let script = PostgresTransport::script(&self.schema);
            Database::create_with(&url, &script).await
        };
        self.database.get_or_init(create).await
    }

    fn open(&self, pool: PgPool) -> Arc<dyn Transport> {
        let form = WireForm::new(self.mode)
            .source("/conformance")
            .expect("a source");
        let config = PostgresTransportConfig::new(pool)
            .schema(self.schema.clone())
            .call_timeout(self.timeout)
            .form(form);
        Arc::new(PostgresTransport::open(config).expect("opened"))
    }

    async fn execute(&self, sql: &str) {
        let sql = self.schema.sql(sql);
        self.database().await.execute(sql.as_str()).await;
    }
}

#[async_trait]
impl TransportFixture for Fixture {
    async fn transport(&self) -> Arc<dyn Transport> {
        let pool = self.database().await.pool_of(self.connections);
        self.open(pool)
    }

    async fn received(&self) -> Vec<Event> {
        let pool = self.database().await.pool_of(1);
        let select = "SELECT * FROM outbox.outbox_arrived ORDER BY seq";
        let rows = sqlx::query(self.schema.sql(select)).fetch_all(&pool).await;
        let events = rows
            .expect("read")
            .iter()
            .map(|row| read(row).expect("an event"))
            .collect();
        pool.close().await;
        events
    }

    fn answers_within(&self) -> Duration {
        self.timeout + Duration::from_secs(3)
    }
}

#[async_trait]
impl WireFixture for Fixture {
    async fn wired(&self) -> Arc<dyn Transport> {
        let database = self.database().await;
        let wire = || TcpWire::to(database.address()).expect("a wire");
        let port = self.wire.get_or_init(wire).port();
        self.open(database.pool_over(port, self.connections))
    }

    fn wire(&self) -> &dyn Wire {
        self.wire.get().expect("a transport over it")
    }
}

#[async_trait]
impl StoppableBroker for Fixture {
    async fn stop(&self) {
        let server = self.server.as_ref().expect("a separate server");
        tokio::task::block_in_place(|| server.lock().expect("no panic").kill()).expect("killed");
    }

    async fn start(&self) {
        let server = self.server.as_ref().expect("a separate server");
        tokio::task::block_in_place(|| server.lock().expect("no panic").restart()).expect("back");
    }
}

#[async_trait]
impl LimitedBroker for Fixture {
    /// Memory that is never touched.
    async fn too_large(&self) -> Event {
        Event::new("conformance.limits", vec![0; 500_000_001])
    }
}

#[async_trait]
impl ThrottlingBroker for Fixture {
    /// A trigger raises the error of a full disk.
    async fn fill(&self, events: usize) {
        let full = format!(
            "CREATE SEQUENCE public.room MAXVALUE {};
             CREATE FUNCTION public.full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 PERFORM nextval('public.room'); RETURN NEW;
             EXCEPTION WHEN sequence_generator_limit_exceeded THEN
                 RAISE SQLSTATE '53100' USING MESSAGE = 'could not extend file: No space left on device';
             END $$;
             CREATE TRIGGER is_full BEFORE INSERT ON outbox.outbox_arrived
                 FOR EACH ROW EXECUTE FUNCTION public.full();",
            events.max(1)
        );
        self.execute(&full).await;
    }

    async fn make_room(&self) {
        self.execute("DROP TRIGGER is_full ON outbox.outbox_arrived")
            .await;
    }
}

#[async_trait]
impl RemovableDestination for Fixture {
    async fn remove(&self, _event: &Event) {
        self.execute("DROP TABLE outbox.outbox_arrived").await;
    }

    async fn restore(&self, _event: &Event) {
        self.execute(outbox_transport_postgres::MIGRATIONS[0]).await;
    }
}

/// The same cases, where a right is taken away and given back instead of the table.
struct WithoutRight(Fixture, OnceCell<String>);

impl WithoutRight {
    fn new() -> Self {
        Self(Fixture::raw(), OnceCell::new())
    }

    /// A role with the rights of a publisher.
    async fn role(&self) -> &str {
        let create = async || {
            let role = format!("{}_publisher", self.0.database().await.name());
            let create = format!(
                "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA outbox TO {role};
                 GRANT INSERT, SELECT (id) ON outbox.outbox_arrived TO {role}"
            );
            self.0.execute(&create).await;
            role
        };
        self.1.get_or_init(create).await
    }
}

#[async_trait]
impl TransportFixture for WithoutRight {
    async fn transport(&self) -> Arc<dyn Transport> {
        let options = self
            .0
            .database()
            .await
            .options()
            .username(self.role().await);
        let pool = sqlx::postgres::PgPoolOptions::new().connect_lazy_with(options);
        self.0.open(pool)
    }

    async fn received(&self) -> Vec<Event> {
        self.0.received().await
    }
}

#[async_trait]
impl RemovableDestination for WithoutRight {
    async fn remove(&self, _event: &Event) {
        let role = self.role().await;
        self.0
            .execute(&format!(
                "REVOKE INSERT ON outbox.outbox_arrived FROM {role}"
            ))
            .await;
    }

    async fn restore(&self, _event: &Event) {
        let role = self.role().await;
        self.0
            .execute(&format!("GRANT INSERT ON outbox.outbox_arrived TO {role}"))
            .await;
    }
}

impl Drop for WithoutRight {
    fn drop(&mut self) {
        let (Some(database), Some(role)) = (self.0.database.get(), self.1.get()) else {
            return;
        };
        let drop = AssertSqlSafe(format!("DROP OWNED BY {role}; DROP ROLE {role}"));
        let pool = test_servers::postgres::lasting_pool(database.options(), 1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let dropped = sqlx::raw_sql(drop).execute(&pool);
                test_servers::postgres::runtime()
                    .block_on(dropped)
                    .expect("dropped")
            });
        });
    }
}

outbox_conformance::transport_suite!(
    raw,
    Fixture::raw(),
    delivery,
    cancellation,
    limits,
    throttling,
    order,
    duplicates,
    missing,
    checks,
);
outbox_conformance::transport_suite!(
    odd_schema,
    Fixture::new("My \"inbox\" o'clock; 100 %", 1, Mode::Raw),
    delivery,
    cancellation,
    order,
    duplicates,
    missing,
    checks,
);
outbox_conformance::transport_suite!(
    cloudevents_binary,
    Fixture::new("outbox", 4, Mode::CloudEventsBinary),
    delivery,
    order,
    duplicates,
);
outbox_conformance::transport_suite!(
    cloudevents_structured,
    Fixture::new("outbox", 4, Mode::CloudEventsStructured),
    delivery,
    order,
    duplicates,
);
outbox_conformance::transport_suite!(over_a_wire, Fixture::impatient(), wire);
outbox_conformance::transport_suite!(own_server, Fixture::on_a_separate_server(), outage);
outbox_conformance::transport_suite!(forbidden, WithoutRight::new(), missing, checks);
