//! A store in a separate database.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod load;

use async_trait::async_trait;
use outbox_conformance::registry::{BlockingFixture, Observed, RegistryFixture};
use outbox_conformance::store::{
    AppTransaction, BystanderFixture, Edit, EditFixture, HoldingFixture, RestoreFixture, Store,
    StoreFixture, WireFixture,
};
use outbox_conformance::{TcpWire, Wire};
use outbox_core::{
    Claim, ClaimedEvent, ErrorKind, Event, OutboxError, OutboxStorage, Outcome, Settlement,
};
use outbox_driver_postgres::SchemaSql;
use outbox_store_postgres::sqlx::postgres::PgConnectOptions;
use outbox_store_postgres::sqlx::{
    self, ConnectOptions, Connection, Executor, PgConnection, PgPool,
};
use outbox_store_postgres::{Appender, PostgresConfig, PostgresStore, Schema};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use test_servers::Kind;
use test_servers::postgres::{Database, lasting_pool, runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

pub(crate) struct Own {
    database: Database,
    server: String,
    schema: Schema,
    /// How many connections each handle has.
    connections: u32,
    /// The connections of [`Writer`]s, which are used on the shared runtime only.
    writers: PgPool,
    wire: OnceLock<TcpWire>,
    /// All handles use the wire, which delivers replies in parts.
    is_slow: bool,
}

impl Own {
    pub(crate) fn in_schema(name: &str) -> Self {
        let url = test_servers::url(Kind::Postgres).unwrap_or_else(|error| panic!("{error}"));
        Self::on(&url, name)
    }

    /// On the server at `url`.
    pub(crate) fn on(url: &str, name: &str) -> Self {
        let schema = Schema::new(name).expect("a name");
        let script = PostgresStore::script(&schema);
        Self::with(url, schema, script)
    }

    /// Without the tables.
    pub(crate) fn empty_on(url: &str, name: &str) -> Self {
        let schema = Schema::new(name).expect("a name");
        Self::with(url, schema, String::new())
    }

    /// With what `script` creates.
    fn with(url: &str, schema: Schema, script: String) -> Self {
        let server = url.to_owned();
        let database = apart(async move { Database::create_with(&server, &script).await });
        Self {
            writers: writers(database.options()),
            database,
            server: url.to_owned(),
            schema,
            connections: 4,
            wire: OnceLock::new(),
            is_slow: false,
        }
    }

    /// Each handle has a single connection.
    pub(crate) fn on_one_connection(mut self) -> Self {
        self.connections = 1;
        self
    }

    pub(crate) fn over_a_slow_wire() -> Self {
        let mut own = Self::in_schema("outbox");
        own.is_slow = true;
        own.its_wire().dribble();
        own
    }

    /// The wire to its server.
    pub(crate) fn its_wire(&self) -> &TcpWire {
        let wire = || TcpWire::to(self.database.address()).expect("a wire");
        self.wire.get_or_init(wire)
    }

    /// The URL of the database, for the server's own tools.
    pub(crate) fn url(&self) -> String {
        let (server, _) = self.server.rsplit_once('/').expect("a URL with a database");
        format!("{server}/{}", self.database.name())
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    pub(crate) fn name(&self) -> &str {
        self.database.name()
    }

    /// The schema, through a new pool.
    pub(crate) fn config(&self) -> PostgresConfig {
        PostgresConfig::new(self.pool()).schema(self.schema.clone())
    }

    /// The same over the wire.
    pub(crate) fn wired_config(&self) -> PostgresConfig {
        let port = self.its_wire().port();
        let pool = self.database.pool_over(port, self.connections);
        PostgresConfig::new(pool).schema(self.schema.clone())
    }

    pub(crate) fn appender(&self) -> Appender {
        Appender::new(&self.schema)
    }

    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// A connection of the application.
    pub(crate) async fn connect(&self) -> PgConnection {
        self.try_connect().await.expect("connected")
    }

    pub(crate) async fn try_connect(&self) -> sqlx::Result<PgConnection> {
        self.options().connect().await
    }

    /// A connection to another database of the server.
    pub(crate) async fn connect_elsewhere(&self) -> PgConnection {
        PgConnection::connect(&self.server)
            .await
            .expect("connected")
    }

    pub(crate) fn options(&self) -> PgConnectOptions {
        self.database.options()
    }

    pub(crate) fn pool(&self) -> PgPool {
        self.database.pool_of(self.connections)
    }

    /// Appends events in a separate transaction.
    pub(crate) async fn append(&self, events: &[Event]) {
        let mut connection = self.connect().await;
        self.appender()
            .append(&mut connection, events)
            .await
            .expect("appended");
    }

    /// Runs SQL as the superuser.
    pub(crate) async fn execute(&self, sql: &str) {
        self.database.execute(sql).await;
    }

    /// Returns when no committed event is pending.
    pub(crate) async fn drained(&self) {
        let store = self.open().await;
        while store.backlog().await.expect("a backlog").pending > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn open(&self) -> PostgresStore {
        if self.is_slow {
            open(self.wired_config()).await
        } else {
            open(self.config()).await
        }
    }

    /// Over the wire.
    pub(crate) async fn open_wired(&self) -> PostgresStore {
        open(self.wired_config()).await
    }
}

async fn open(config: PostgresConfig) -> PostgresStore {
    PostgresStore::open(config).await.expect("opened")
}

/// The same outcome for each event of a claim.
pub(crate) fn each(claim: &Claim, outcome: &Outcome) -> Vec<Settlement> {
    let settlement = |one: &ClaimedEvent| Settlement::new(one.event.id, outcome.clone());
    claim.events.iter().map(settlement).collect()
}

/// Runs `work` on the shared runtime and waits for it on a new thread, because a test may call this
/// within its own runtime.
fn apart<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let thread = std::thread::spawn(|| runtime().block_on(work));
    thread.join().expect("done")
}

/// More connections than a case has transactions at a time.
fn writers(options: PgConnectOptions) -> PgPool {
    lasting_pool(options, 32)
}

#[async_trait]
impl StoreFixture for Own {
    async fn handle(&self) -> Arc<dyn Store> {
        Arc::new(self.open().await)
    }

    fn begin(&self) -> Box<dyn AppTransaction> {
        Box::new(Writer::begin(self.writers.clone(), self.schema.clone()))
    }

    async fn elapse(&self, time: Duration) {
        self.database.elapse(time).await;
    }

    async fn end_abandoned_calls(&self) {
        self.database.disconnect_all().await;
    }
}

#[async_trait]
impl WireFixture for Own {
    async fn wired(&self) -> Arc<dyn Store> {
        Arc::new(self.open_wired().await)
    }

    fn begin_wired(&self) -> Box<dyn AppTransaction> {
        let options = self.database.options_over(self.its_wire().port());
        Box::new(Writer::begin(writers(options), self.schema.clone()))
    }

    fn wire(&self) -> &dyn Wire {
        self.its_wire()
    }
}

#[async_trait]
impl RegistryFixture for Own {
    async fn observed(&self) -> Arc<dyn Observed> {
        Arc::new(self.open().await)
    }
}

#[async_trait]
impl BlockingFixture for Own {
    async fn blocking_handle(&self) -> Arc<dyn Observed> {
        Arc::new(self.open().await.block_key_on_dead_letter())
    }
}

#[async_trait]
impl HoldingFixture for Own {
    async fn holding_handle(&self) -> Arc<dyn Store> {
        Arc::new(self.open().await.block_key_on_dead_letter())
    }
}

/// The statements of an edit: the id is the first parameter, a key the second.
const DELETE: &[&str] = &[
    "DELETE FROM outbox.outbox_retries WHERE id = $1::text::uuid",
    "DELETE FROM outbox.outbox_events WHERE id = $1::text::uuid",
];
const CHANGE_KEY: &[&str] = &[
    "UPDATE outbox.outbox_retries SET ordering_key = $2 WHERE id = $1::text::uuid",
    "UPDATE outbox.outbox_events SET ordering_key = $2 WHERE id = $1::text::uuid",
];

#[async_trait]
impl EditFixture for Own {
    async fn edit(&self, edit: Edit) {
        let (id, statements, key, event) = match edit {
            Edit::Delete(id) => (id, DELETE, None, None),
            Edit::Replace(event) => (event.id, DELETE, None, Some(event)),
            Edit::ChangeKey(id, key) => (id, CHANGE_KEY, Some(key), None),
            other => unreachable!("no case asks for {other:?}"),
        };
        let mut connection = self.connect().await;
        connection.execute("BEGIN").await.expect("begun");
        for sql in statements {
            let query = sqlx::query(self.schema.sql(sql)).bind(id.to_string());
            let query = match &key {
                Some(key) => query.bind(key),
                None => query,
            };
            query.execute(&mut connection).await.expect("edited");
        }
        if let Some(event) = event {
            let appended = self.appender().append(&mut connection, &[event]).await;
            appended.expect("appended");
        }
        connection.execute("COMMIT").await.expect("committed");
    }
}

#[async_trait]
impl RestoreFixture for Own {
    async fn back_up(&self) {
        self.database.back_up().await;
    }

    async fn restore(&self) {
        self.database.restore().await;
    }
}

#[async_trait]
impl BystanderFixture for Own {
    async fn begin_elsewhere(&self) -> Box<dyn Send> {
        let mut connection = self.connect().await;
        connection.execute("BEGIN").await.expect("begun");
        let event = Event::new("elsewhere", "never").ordering_key("elsewhere");
        self.appender()
            .append(&mut connection, &[event])
            .await
            .expect("appended");
        Box::new(connection)
    }
}

enum Order {
    Append(Vec<Event>),
    Commit,
}

/// A transaction on the shared runtime, because the suite calls it without `await`. It has its own
/// connection.
struct Writer {
    orders: UnboundedSender<Order>,
    answers: Receiver<Result<(), OutboxError>>,
}

impl Writer {
    fn begin(pool: PgPool, schema: Schema) -> Self {
        let (orders, received) = unbounded_channel();
        let (answer, answers) = channel();
        runtime().spawn(write(pool, schema, received, answer));
        answers.recv().expect("a writer").expect("begun");
        Self { orders, answers }
    }

    fn ask(&self, order: Order) -> Result<(), OutboxError> {
        self.orders.send(order).expect("a writer");
        self.answers.recv().expect("an answer")
    }
}

/// Obeys until the writer is dropped. The connection is used again if its transaction has ended.
async fn write(
    pool: PgPool,
    schema: Schema,
    mut orders: UnboundedReceiver<Order>,
    answer: Sender<Result<(), OutboxError>>,
) {
    let mut connection = pool.acquire().await.expect("connected");
    connection.execute("BEGIN").await.expect("begun");
    answer.send(Ok(())).expect("a caller");
    let mut has_ended = false;
    while let Some(order) = orders.recv().await {
        has_ended = matches!(order, Order::Commit);
        let result = obey(&mut connection, &schema, order).await;
        answer.send(result).expect("a caller");
    }
    if !has_ended {
        drop(connection.detach());
    }
}

async fn obey(
    connection: &mut PgConnection,
    schema: &Schema,
    order: Order,
) -> Result<(), OutboxError> {
    match order {
        Order::Append(events) => Appender::new(schema).append(connection, &events).await,
        Order::Commit => connection
            .execute("COMMIT")
            .await
            .map(drop)
            .map_err(|error| {
                OutboxError::new(ErrorKind::Unavailable, "postgres", "test").with_source(error)
            }),
    }
}

impl AppTransaction for Writer {
    fn append(&mut self, events: &[Event]) -> Result<(), OutboxError> {
        self.ask(Order::Append(events.to_vec()))
    }

    fn commit(self: Box<Self>) -> Result<(), OutboxError> {
        self.ask(Order::Commit)
    }
}
