//! What the command asks of a backend.

use super::role::{HEAP, Role, STORE};
use crate::failure::Failure;
use async_trait::async_trait;
use outbox_core::{DeadLetters, DlqHeap, OutboxStorage};
use std::sync::Arc;

/// Where a store, a heap or an inbox is. A new backend implements this in a new file and gets a
/// row in [`backend`](fn@super::backend).
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    /// What it is used for.
    fn role(&self) -> Role;

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

    /// Creates what is missing.
    async fn migrate(&self) -> Result<(), Failure>;

    /// How many migrations are applied; `None` if the file for the tables does not exist yet. Changes nothing.
    async fn applied(&self) -> Result<Option<usize>, Failure>;

    /// How many migrations this version has.
    fn known(&self) -> usize;

    /// The statements of all migrations. Connects to nothing.
    fn script(&self) -> String;

    /// Opens it as the other commands do, and fails where they would.
    async fn check(&self) -> Result<(), Failure> {
        match self.role() {
            STORE => self.store(false).await.map(drop),
            HEAP => self.heap().await.map(drop),
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
}

impl Store {
    pub(super) fn new(store: impl OutboxStorage + DeadLetters + 'static) -> Self {
        let store = Arc::new(store);
        Self {
            storage: Arc::clone(&store) as Arc<dyn OutboxStorage>,
            dead_letters: store,
        }
    }
}
