//! The one place that knows which backends there are.

mod open_files;
mod outlet;
mod place;
mod postgres;
mod progress;
mod redis;

pub(crate) use open_files::close_files;
pub(crate) use outlet::{Destination, Outlet, destination, outlet};
pub(crate) use place::{Place, STORE};
pub(crate) use postgres::{Database, with_schema};

use crate::failure::Failure;
use crate::settings::Urls;
use open_files::OpenFile;
use outbox_core::{DeadLetters, DlqHeap, OutboxStorage};
use outbox_dlq_postgres::PostgresDlqHeap;
use outbox_dlq_sqlite::SqliteDlqHeap;
use outbox_store_postgres::PostgresStore;
use outbox_store_sqlite::SqliteStore;
use place::{HEAP, HeapPlace, heap_place};
use std::sync::Arc;

/// Everything that lives behind a store's URL.
pub(crate) struct Store {
    pub(crate) storage: Arc<dyn OutboxStorage>,
    pub(crate) dead_letters: Arc<dyn DeadLetters>,
}

/// Opens a store that was migrated before. With `hold_keys`, a dead letter holds its key.
pub(crate) async fn open_store(url: &str, hold_keys: bool) -> Result<Store, Failure> {
    match STORE.place(url)? {
        Place::Sqlite(path) => {
            let store = SqliteStore::open(path).await?;
            OpenFile::Store(store.clone()).register();
            Ok(Store::new(if hold_keys {
                store.block_key_on_dead_letter()
            } else {
                store
            }))
        }
        Place::Postgres(database) => {
            let store = PostgresStore::open(database.config().await?).await?;
            let store = if database.listens() {
                store
            } else {
                store.without_listening()
            };
            Ok(Store::new(if hold_keys {
                store.block_key_on_dead_letter()
            } else {
                store
            }))
        }
    }
}

/// Opens a heap that was migrated before.
pub(crate) async fn open_heap(url: &str) -> Result<Arc<dyn DlqHeap>, Failure> {
    match heap_place(url)? {
        HeapPlace::Tables(place) => open_tables(place).await,
        HeapPlace::Redis(namespace) => Ok(Arc::new(namespace.open().await?)),
    }
}

/// Opens a heap for a relay: Redis need not answer yet, as delivery waits for no heap.
pub(crate) async fn open_heap_for_relay(url: &str) -> Result<Arc<dyn DlqHeap>, Failure> {
    match heap_place(url)? {
        HeapPlace::Tables(place) => open_tables(place).await,
        HeapPlace::Redis(namespace) => Ok(Arc::new(namespace.open_or_wait().await?)),
    }
}

async fn open_tables(place: Place) -> Result<Arc<dyn DlqHeap>, Failure> {
    Ok(match place {
        Place::Sqlite(path) => {
            let heap = SqliteDlqHeap::open(path).await?;
            OpenFile::Heap(heap.clone()).register();
            Arc::new(heap)
        }
        Place::Postgres(database) => {
            Arc::new(PostgresDlqHeap::open(database.config().await?).await?)
        }
    })
}

/// Creates what is missing. What can be refused of either place is refused before anything is
/// made in the other.
pub(crate) async fn migrate(urls: &Urls) -> Result<(), Failure> {
    components(urls).await?;
    match STORE.place(&urls.store)? {
        Place::Sqlite(path) => OpenFile::Store(SqliteStore::migrate(path).await?).register(),
        Place::Postgres(database) => {
            drop(PostgresStore::migrate(database.config().await?).await?);
        }
    }
    match heap_place(&urls.heap)? {
        HeapPlace::Tables(Place::Sqlite(path)) => {
            OpenFile::Heap(SqliteDlqHeap::migrate(path).await?).register();
        }
        HeapPlace::Tables(Place::Postgres(database)) => {
            drop(PostgresDlqHeap::migrate(database.config().await?).await?);
        }
        // It has no tables, and answered above.
        HeapPlace::Redis(_) => {}
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
            applied: SqliteStore::applied_migrations(path).await?,
            known: outbox_store_sqlite::MIGRATIONS.len(),
        },
        Place::Postgres(database) => {
            let applied = PostgresStore::applied_migrations(database.config().await?).await?;
            Component {
                role: STORE.name(),
                package: "outbox-store-postgres",
                applied: Some(applied),
                known: outbox_store_postgres::MIGRATIONS.len(),
            }
        }
    };
    let heap = match heap_place(&urls.heap)? {
        HeapPlace::Tables(Place::Sqlite(path)) => Component {
            role: HEAP.name(),
            package: "outbox-dlq-sqlite",
            applied: SqliteDlqHeap::applied_migrations(path).await?,
            known: outbox_dlq_sqlite::MIGRATIONS.len(),
        },
        HeapPlace::Tables(Place::Postgres(database)) => {
            let applied = PostgresDlqHeap::applied_migrations(database.config().await?).await?;
            Component {
                role: HEAP.name(),
                package: "outbox-dlq-postgres",
                applied: Some(applied),
                known: outbox_dlq_postgres::MIGRATIONS.len(),
            }
        }
        HeapPlace::Redis(namespace) => {
            namespace.open().await?;
            Component {
                role: HEAP.name(),
                package: "outbox-dlq-redis",
                applied: Some(0),
                known: 0,
            }
        }
    };
    Ok([store, heap])
}

/// The statements of all migrations of the store and the heap. Connects to nothing.
pub(crate) fn scripts(urls: &Urls) -> Result<[String; 2], Failure> {
    let store = match STORE.place(&urls.store)? {
        Place::Sqlite(_) => SqliteStore::script(),
        Place::Postgres(database) => PostgresStore::script(database.schema()),
    };
    let heap = match heap_place(&urls.heap)? {
        HeapPlace::Tables(Place::Sqlite(_)) => SqliteDlqHeap::script(),
        HeapPlace::Redis(_) => "-- The heap is in Redis, and needs no tables.".to_owned(),
        HeapPlace::Tables(Place::Postgres(database)) => PostgresDlqHeap::script(database.schema()),
    };
    Ok([store, heap])
}

impl Store {
    fn new(store: impl OutboxStorage + DeadLetters + 'static) -> Self {
        let store = Arc::new(store);
        Self {
            storage: Arc::clone(&store) as Arc<dyn OutboxStorage>,
            dead_letters: store,
        }
    }
}
