//! The pools of connections to PostgreSQL.

use super::open_files::{Owner, close_files_of};
use outbox_driver_postgres::sqlx::PgPool;
use outbox_driver_postgres::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// Connections of a pool, for a command that has one store.
const CONNECTIONS: u32 = 4;

/// How long a connection may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How long the connections may take to close.
const CLOSING: Duration = Duration::from_secs(5);

/// A pool for each database: a store and its heap in the same one share it.
#[derive(Clone, Debug)]
pub(crate) struct Pools(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    size: u32,
    owner: Owner,
    made: Mutex<Vec<(Arc<str>, PgPool)>>,
}

impl Default for Pools {
    fn default() -> Self {
        Self::of(CONNECTIONS)
    }
}

impl Pools {
    /// Pools of `size` connections each.
    pub(crate) fn of(size: u32) -> Self {
        Self(Arc::new(Inner {
            size,
            owner: Owner::next(),
            made: Mutex::default(),
        }))
    }

    /// The pool of the database. It connects when it is used.
    pub(super) fn pool(&self, database: &Arc<str>, options: &PgConnectOptions) -> PgPool {
        let mut made = self.0.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, pool)) = made.iter().find(|(other, _)| other == database) {
            return pool.clone();
        }
        let pool = PgPoolOptions::new()
            .max_connections(self.0.size)
            .acquire_timeout(PATIENCE)
            .test_before_acquire(false)
            .connect_lazy_with(options.clone());
        made.push((Arc::clone(database), pool.clone()));
        pool
    }

    /// Of the SQLite files that are open next to the pools.
    pub(super) fn owner(&self) -> Owner {
        self.0.owner
    }

    /// Closes all connections, also those to SQLite files, so that others may be made in their place.
    pub(crate) async fn close(&self) {
        close_files_of(self.0.owner).await;
        let made = std::mem::take(&mut *self.0.made.lock().unwrap_or_else(PoisonError::into_inner));
        for (_, pool) in made {
            let _ = timeout(CLOSING, pool.close()).await;
        }
    }
}
