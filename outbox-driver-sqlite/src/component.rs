//! What each adapter does with its tables: open, migrate, count the migrations, print them.

use crate::config::SqliteConfig;
use crate::driver::Driver;
use crate::migrate::{Component, MIGRATE};
use crate::open::inspect;
use outbox_core::OutboxError;
use rusqlite::Connection;

impl Component {
    /// Opens a database that has all tables in this version, or in a newer one that is compatible. A file
    /// that is refused is not changed.
    ///
    /// # Errors
    ///
    /// Those of [`Driver::open`]. Also [`Invalid`](outbox_core::ErrorKind::Invalid) if the tables are
    /// missing, older, or of a newer version that is not compatible with this one; the message says what to
    /// do.
    pub async fn open(&self, config: impl Into<SqliteConfig>) -> Result<Driver, OutboxError> {
        let component = *self;
        let check = move |connection: &Connection| component.require_newest(connection);
        Driver::open(config, check).await
    }

    /// Creates the file if it is missing, and applies the missing migrations. A file that is refused
    /// is not changed.
    ///
    /// All migrations are one transaction that takes the write lock first, so several processes may
    /// call it at the same time: one applies them, the others find nothing to do.
    ///
    /// # Errors
    ///
    /// Those of [`Driver::create`]. Also [`Invalid`](outbox_core::ErrorKind::Invalid) if one of the
    /// tables exists although the component was never migrated, or if a newer program migrated the
    /// file to a version that is not compatible with this one.
    pub async fn migrate(&self, config: impl Into<SqliteConfig>) -> Result<Driver, OutboxError> {
        let component = *self;
        let check = move |connection: &Connection| component.applied_now(connection).map(drop);
        let driver = Driver::create(config, check).await?;
        let apply = move |connection: &Connection| component.apply_missing(connection);
        driver.write(MIGRATE, apply).await?;
        Ok(driver)
    }

    /// How many of the migrations the database has; more than there are here if a newer program migrated it
    /// to a version that is compatible with this one; `None` if its file does not exist, but the folder does.
    /// Changes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`migrate`](Self::migrate): a database that is accepted here can be migrated.
    pub async fn applied(
        &self,
        config: impl Into<SqliteConfig>,
    ) -> Result<Option<usize>, OutboxError> {
        let component = *self;
        let applied = move |connection: &Connection| component.applied_now(connection);
        let applied = inspect(config.into(), applied).await?;
        Ok(applied.map(|applied| applied as usize))
    }

    /// The statements that [`migrate`](Self::migrate) runs in an empty database, as a script for the
    /// `sqlite3` shell or for `Connection::execute_batch`.
    #[must_use]
    pub fn script(&self) -> String {
        self.statements()
    }
}
