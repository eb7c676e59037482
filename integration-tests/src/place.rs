//! A store with its events.

use outbox_core::{DeadLetters, Event, OutboxStorage};
use outbox_store_postgres::{PostgresStore, Schema};
use outbox_store_sqlite::SqliteStore;
use outbox_store_sqlite::rusqlite::{Connection, TransactionBehavior};
use std::sync::Arc;
use tempfile::TempDir;
use test_servers::Kind;
use test_servers::postgres::Database;

/// A transaction has that many events at most.
const CHUNK: usize = 1000;

/// A store on SQLite or PostgreSQL, of one test.
#[derive(Debug)]
pub struct Place {
    /// The store.
    pub storage: Arc<dyn OutboxStorage>,
    /// Its dead letters.
    pub dead_letters: Arc<dyn DeadLetters>,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    File(TempDir),
    Database(Box<Database>),
}

impl Place {
    fn new(store: impl OutboxStorage + DeadLetters + 'static, kept: Kept) -> Self {
        let store = Arc::new(store);
        Self {
            storage: Arc::clone(&store) as Arc<dyn OutboxStorage>,
            dead_letters: store,
            kept,
        }
    }

    /// In a file.
    ///
    /// # Panics
    ///
    /// If the store returns an error.
    pub async fn on_sqlite() -> Self {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("shop.db");
        let store = SqliteStore::migrate(&*path).await.expect("migrated");
        Self::new(store, Kept::File(folder))
    }

    /// In a database.
    ///
    /// # Panics
    ///
    /// If the server returns an error.
    pub async fn on_postgres() -> Self {
        let url = test_servers::url(Kind::Postgres).expect("a server");
        let script = PostgresStore::script(&Schema::default());
        let database = Database::create_with(&url, &script).await;
        let store = PostgresStore::open(database.pool_of(10)).await;
        Self::new(store.expect("opened"), Kept::Database(Box::new(database)))
    }

    /// Commits events, in transactions of 1,000.
    ///
    /// # Panics
    ///
    /// If the store returns an error.
    pub async fn append(&self, events: &[Event]) {
        match &self.kept {
            Kept::File(folder) => {
                let path = folder.path().join("shop.db");
                let mut connection = Connection::open(path).expect("opened");
                for events in events.chunks(CHUNK) {
                    let transaction = connection
                        .transaction_with_behavior(TransactionBehavior::Immediate)
                        .expect("begun");
                    outbox_store_sqlite::append(&transaction, events).expect("appended");
                    transaction.commit().expect("committed");
                }
            }
            Kept::Database(database) => {
                let pool = database.pool_of(1);
                let mut connection = pool.acquire().await.expect("connected");
                for events in events.chunks(CHUNK) {
                    let appended = outbox_store_postgres::append(&mut connection, events).await;
                    appended.expect("appended");
                }
            }
        }
    }
}
