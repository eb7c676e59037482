//! A store in a database of its own.
#![allow(dead_code, reason = "each test file uses a part of it")]

use async_trait::async_trait;
use outbox_conformance::store::{
    AppTransaction, BystanderFixture, HoldingFixture, Store, StoreFixture,
};
use outbox_core::{ErrorKind, Event, OutboxError, OutboxStorage};
use outbox_store_postgres::sqlx::postgres::PgConnectOptions;
use outbox_store_postgres::sqlx::{ConnectOptions, Executor, PgConnection};
use outbox_store_postgres::{DriverOptions, PostgresOutbox, Schema, append};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use test_servers::postgres::Database;
use tokio::runtime::{Builder, Runtime};

pub(crate) struct Own {
    database: Database,
    schema: Schema,
}

impl Own {
    /// Made on a thread of its own, as a test may call it within its runtime.
    pub(crate) fn in_schema(name: &str) -> Self {
        let schema = Schema::new(name).expect("a name");
        let options = DriverOptions::default().schema(schema.clone());
        let database = std::thread::spawn(|| {
            runtime().block_on(async move {
                let database = Database::create().await;
                let pool = database.pool();
                PostgresOutbox::migrate(pool.clone(), options)
                    .await
                    .expect("migrated");
                pool.close().await;
                database
            })
        });
        let database = database.join().expect("a database");
        Self { database, schema }
    }

    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// A connection of the application's.
    pub(crate) async fn connect(&self) -> PgConnection {
        self.database.options().connect().await.expect("connected")
    }

    /// Returns when nothing is pending that is committed.
    pub(crate) async fn drained(&self) {
        let store = self.open().await;
        while store.backlog().await.expect("a backlog").pending > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn open(&self) -> PostgresOutbox {
        let options = DriverOptions::default().schema(self.schema.clone());
        PostgresOutbox::open(self.database.pool(), options)
            .await
            .expect("opened")
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

#[async_trait]
impl StoreFixture for Own {
    async fn handle(&self) -> Arc<dyn Store> {
        Arc::new(self.open().await)
    }

    fn begin(&self) -> Box<dyn AppTransaction> {
        Box::new(Writer::begin(self.database.options(), self.schema.clone()))
    }

    async fn elapse(&self, time: Duration) {
        self.database.elapse(time).await;
    }
}

#[async_trait]
impl HoldingFixture for Own {
    async fn holding_handle(&self) -> Arc<dyn Store> {
        Arc::new(self.open().await.holding_keys())
    }
}

#[async_trait]
impl BystanderFixture for Own {
    async fn begin_elsewhere(&self) -> Box<dyn Send> {
        let mut connection = self.connect().await;
        connection.execute("BEGIN").await.expect("begun");
        let event = Event::new("elsewhere", "never").ordering_key("elsewhere");
        append(&mut connection, &self.schema, &[event])
            .await
            .expect("appended");
        Box::new(connection)
    }
}

enum Order {
    Append(Vec<Event>),
    Commit,
}

/// A transaction on a thread and a connection of its own, as the suite calls it without `await`.
struct Writer {
    orders: Sender<Order>,
    answers: Receiver<Result<(), OutboxError>>,
}

impl Writer {
    fn begin(options: PgConnectOptions, schema: Schema) -> Self {
        let (orders, received) = channel();
        let (answer, answers) = channel();
        std::thread::spawn(move || {
            runtime().block_on(async move {
                let mut connection = options.connect().await.expect("connected");
                connection.execute("BEGIN").await.expect("begun");
                while let Ok(order) = received.recv() {
                    let result = obey(&mut connection, &schema, order).await;
                    answer.send(result).expect("a caller");
                }
            });
        });
        Self { orders, answers }
    }

    fn ask(&self, order: Order) -> Result<(), OutboxError> {
        self.orders.send(order).expect("a writer");
        self.answers.recv().expect("an answer")
    }
}

async fn obey(
    connection: &mut PgConnection,
    schema: &Schema,
    order: Order,
) -> Result<(), OutboxError> {
    match order {
        Order::Append(events) => append(connection, schema, &events).await,
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
