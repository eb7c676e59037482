//! The one place that knows which backends there are.

mod outlet;
mod place;
mod postgres;

pub(crate) use outlet::{Destination, destination, outlet};
pub(crate) use place::{HEAP, Place, STORE};
pub(crate) use postgres::{Database, with_schema};

use crate::failure::Failure;
use crate::settings::Urls;
use outbox_core::{DeadLetters, DlqHeap, OutboxStorage};
use outbox_dlq_postgres::PostgresDlqHeap;
use outbox_dlq_sqlite::SqliteDlqHeap;
use outbox_store_postgres::PostgresOutbox;
use outbox_store_sqlite::SqliteOutbox;
use std::sync::Arc;

/// Everything that lives behind a store's URL.
pub(crate) struct Store {
    pub(crate) storage: Arc<dyn OutboxStorage>,
    pub(crate) letters: Arc<dyn DeadLetters>,
}

/// Opens a store that was migrated before. With `hold_keys`, a dead letter holds its key.
pub(crate) async fn open_store(url: &str, hold_keys: bool) -> Result<Store, Failure> {
    match STORE.place(url)? {
        Place::Sqlite(path) => {
            let store = SqliteOutbox::open(path).await?;
            Ok(Store::new(if hold_keys {
                store.holding_keys()
            } else {
                store
            }))
        }
        Place::Postgres(database) => {
            let pool = database.pool().await?;
            let store = PostgresOutbox::open(pool, database.options()).await?;
            Ok(Store::new(if hold_keys {
                store.holding_keys()
            } else {
                store
            }))
        }
    }
}

/// Opens a heap that was migrated before.
pub(crate) async fn open_heap(url: &str) -> Result<Arc<dyn DlqHeap>, Failure> {
    Ok(match HEAP.place(url)? {
        Place::Sqlite(path) => Arc::new(SqliteDlqHeap::open(path).await?),
        Place::Postgres(database) => {
            let pool = database.pool().await?;
            Arc::new(PostgresDlqHeap::open_with(pool, database.options()).await?)
        }
    })
}

/// Creates what is missing. What can be refused of either place is refused before anything is
/// made in the other.
pub(crate) async fn migrate(urls: &Urls) -> Result<(), Failure> {
    components(urls).await?;
    match STORE.place(&urls.store)? {
        Place::Sqlite(path) => drop(SqliteOutbox::migrate(path).await?),
        Place::Postgres(database) => {
            let pool = database.pool().await?;
            drop(PostgresOutbox::migrate(pool, database.options()).await?);
        }
    }
    match HEAP.place(&urls.heap)? {
        Place::Sqlite(path) => drop(SqliteDlqHeap::migrate(path).await?),
        Place::Postgres(database) => {
            let pool = database.pool().await?;
            drop(PostgresDlqHeap::migrate_with(pool, database.options()).await?);
        }
    }
    Ok(())
}

/// How far the tables of one crate are migrated.
pub(crate) struct Component {
    pub(crate) role: &'static str,
    pub(crate) package: &'static str,
    /// `None` if there is nothing yet in which tables could be.
    pub(crate) applied: Option<usize>,
    pub(crate) known: usize,
}

/// How far the store and the heap are migrated. Changes nothing.
pub(crate) async fn components(urls: &Urls) -> Result<[Component; 2], Failure> {
    let store = match STORE.place(&urls.store)? {
        Place::Sqlite(path) => Component {
            role: STORE.name(),
            package: "outbox-store-sqlite",
            applied: SqliteOutbox::applied_migrations(path)?,
            known: outbox_store_sqlite::MIGRATIONS.len(),
        },
        Place::Postgres(database) => {
            let pool = database.pool().await?;
            let applied = PostgresOutbox::applied_migrations(pool, database.options()).await?;
            Component {
                role: STORE.name(),
                package: "outbox-store-postgres",
                applied: Some(applied),
                known: outbox_store_postgres::MIGRATIONS.len(),
            }
        }
    };
    let heap = match HEAP.place(&urls.heap)? {
        Place::Sqlite(path) => Component {
            role: HEAP.name(),
            package: "outbox-dlq-sqlite",
            applied: SqliteDlqHeap::applied_migrations(path)?,
            known: outbox_dlq_sqlite::MIGRATIONS.len(),
        },
        Place::Postgres(database) => {
            let pool = database.pool().await?;
            let applied = PostgresDlqHeap::applied_migrations(pool, database.options()).await?;
            Component {
                role: HEAP.name(),
                package: "outbox-dlq-postgres",
                applied: Some(applied),
                known: outbox_dlq_postgres::MIGRATIONS.len(),
            }
        }
    };
    Ok([store, heap])
}

/// The statements of all migrations of the store and the heap. Connects to nothing.
pub(crate) fn scripts(urls: &Urls) -> Result<[String; 2], Failure> {
    let store = match STORE.place(&urls.store)? {
        Place::Sqlite(_) => outbox_store_sqlite::MIGRATIONS.join("\n"),
        Place::Postgres(database) => PostgresOutbox::script(database.schema()),
    };
    let heap = match HEAP.place(&urls.heap)? {
        Place::Sqlite(_) => outbox_dlq_sqlite::MIGRATIONS.join("\n"),
        Place::Postgres(database) => PostgresDlqHeap::script(database.schema()),
    };
    Ok([store, heap])
}

impl Store {
    fn new(store: impl OutboxStorage + DeadLetters + 'static) -> Self {
        let store = Arc::new(store);
        Self {
            storage: Arc::clone(&store) as Arc<dyn OutboxStorage>,
            letters: store,
        }
    }
}
