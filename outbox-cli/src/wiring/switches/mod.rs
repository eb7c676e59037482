//! The destinations that are off until a person switches them on, in a table next to those of the store.

mod postgres;
mod sqlite;

pub(super) use postgres::{COMPONENT as POSTGRES, PostgresSwitches};
pub(super) use sqlite::{COMPONENT as SQLITE, SqliteSwitches};

use super::backend::Backend;
use async_trait::async_trait;
use outbox_core::OutboxError;
use outbox_transport_http::Switches;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::OnceCell;

/// The name of the component in `outbox_migrations`.
const NAME: &str = "destinations";
const TABLE: &str = "outbox_destinations_off";

/// A destination that is off.
pub(crate) struct SwitchedOff {
    pub(crate) name: String,
    pub(crate) since: SystemTime,
    pub(crate) reason: String,
}

/// The table, seen by a person.
#[async_trait]
pub(crate) trait SwitchTable: Switches {
    /// All destinations that are off, by name.
    async fn list(&self) -> Result<Vec<SwitchedOff>, OutboxError>;

    /// Switches a destination on. Returns whether it was off.
    async fn switch_on(&self, destination: &str) -> Result<bool, OutboxError>;
}

/// The table, seen by a relay, which starts while its database is away.
pub(super) struct LazySwitches {
    backend: Box<dyn Backend>,
    table: OnceCell<Arc<dyn SwitchTable>>,
}

impl LazySwitches {
    pub(super) fn new(backend: Box<dyn Backend>) -> Self {
        let table = OnceCell::new();
        Self { backend, table }
    }

    async fn table(&self) -> Result<&Arc<dyn SwitchTable>, OutboxError> {
        let open = || self.backend.switches();
        self.table.get_or_try_init(open).await
    }
}

#[async_trait]
impl Switches for LazySwitches {
    async fn off(&self) -> Result<Vec<String>, OutboxError> {
        self.table().await?.off().await
    }

    async fn switch_off(&self, destination: &str, reason: &str) -> Result<(), OutboxError> {
        let table = self.table().await?;
        table.switch_off(destination, reason).await
    }
}

impl fmt::Debug for LazySwitches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.backend.package())
    }
}
