//! What the command asks of a backend.

use super::examine::Finding;
use super::role::{HEAP, Role, STORE, SWITCHES};
use super::switches::SwitchTable;
use crate::failure::Failure;
use async_trait::async_trait;
use outbox_core::{DeadLetters, DlqHeap, OutboxError, OutboxStorage, RelayRegistry};
use std::sync::Arc;

/// Where a store, a heap or an inbox is. A new backend implements this in a new file and gets a
/// row in [`backend`](fn@super::backend).
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    /// What it is used for.
    fn role(&self) -> Role;

    /// The same for two URLs that lead to the same tables. Asks no server, so it may miss some.
    fn identity(&self) -> String;

    /// The URL without a password.
    fn shown(&self) -> String;

    /// The crate of the adapter.
    fn package(&self) -> &'static str;

    /// Opens a store that was migrated before. With `block_keys`, a dead letter blocks its key.
    async fn store(&self, block_keys: bool) -> Result<Store, Failure>;

    /// Opens a heap that was migrated before.
    async fn heap(&self) -> Result<Arc<dyn DlqHeap>, Failure>;

    /// Opens a heap for a relay. It need not answer yet where that stops no delivery.
    async fn heap_for_relay(&self) -> Result<Arc<dyn DlqHeap>, Failure> {
        self.heap().await
    }

    /// Checks an inbox, or the table of a destination, that was migrated before.
    async fn inbox(&self) -> Result<(), Failure>;

    /// Opens the table of the destinations that are off, which was migrated before.
    async fn switches(&self) -> Result<Arc<dyn SwitchTable>, OutboxError>;

    /// Creates what is missing.
    async fn migrate(&self) -> Result<(), Failure>;

    /// How many migrations are applied, also by a newer version that is compatible; `None` if the file for the
    /// tables does not exist yet. Changes nothing.
    async fn applied(&self) -> Result<Option<usize>, Failure>;

    /// How many migrations this version has.
    fn known(&self) -> usize;

    /// The statements of all migrations. Connects to nothing.
    fn script(&self) -> String;

    /// What is wrong with it, although its tables can be used. `has_heap`: the tables of the
    /// store and the heap are in one place. Changes nothing.
    async fn examine(&self, has_heap: bool) -> Result<Vec<Finding>, Failure> {
        let _ = has_heap;
        Ok(Vec::new())
    }

    /// Opens it as the other commands do, and fails where they would.
    async fn check(&self) -> Result<(), Failure> {
        match self.role() {
            STORE => self.store(false).await.map(drop),
            HEAP => self.heap().await.map(drop),
            SWITCHES => Ok(self.switches().await.map(drop)?),
            _ => self.inbox().await,
        }
    }
}

/// The command opens an inbox for its tables, which all consumers share.
pub(super) const CONSUMER: &str = "outbox";

/// Everything that is behind a store's URL.
pub(crate) struct Store {
    pub(crate) storage: Arc<dyn OutboxStorage>,
    pub(crate) dead_letters: Arc<dyn DeadLetters>,
    pub(crate) registry: Arc<dyn RelayRegistry>,
}

impl Store {
    pub(super) fn new(store: impl OutboxStorage + DeadLetters + RelayRegistry + 'static) -> Self {
        let store = Arc::new(store);
        Self {
            storage: Arc::clone(&store) as Arc<dyn OutboxStorage>,
            dead_letters: Arc::clone(&store) as Arc<dyn DeadLetters>,
            registry: store,
        }
    }
}
