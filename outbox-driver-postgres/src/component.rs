//! What each adapter does with its tables: open, migrate, count the migrations, print them.

use crate::config::PostgresConfig;
use crate::driver::Driver;
use crate::error::refusal;
use crate::migrate::{self, APPLIED, Component, LONGEST, MIGRATE, OPEN};
use outbox_append_postgres::Schema;
use outbox_core::{ErrorKind, OutboxError};
use sqlx::PgConnection;

impl Component {
    /// Opens a schema that has all tables in this version, or in a newer one that is compatible. Changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] if the tables are missing, older, or of a newer version that is not compatible
    /// with this one, if rows are hidden from the role, or if the adapters cannot use the server; the message
    /// says what to do.
    /// [`ErrorKind::Unavailable`] if the server cannot be reached.
    pub async fn open(&self, config: impl Into<PostgresConfig>) -> Result<Driver, OutboxError> {
        let driver = Driver::without_logs(config);
        let found = driver
            .transaction(OPEN, async |connection: &mut PgConnection| {
                migrate::version_here(connection, driver.schema(), self).await
            })
            .await?;
        let (name, newest) = (self.name, self.newest());
        let text = match found {
            None => format!(
                "no outbox tables in the schema {:?} ({name}); run `outbox migrate`",
                driver.schema().name()
            ),
            Some(found) if found.version < newest => format!(
                "the tables of {name} are of version {}, this program needs {newest}; \
                 run `outbox migrate`",
                found.version
            ),
            Some(found) => {
                found.log(self);
                return Ok(driver);
            }
        };
        Err(refusal(ErrorKind::Invalid, OPEN, text))
    }

    /// Creates the schema if it is missing, and applies the missing migrations.
    ///
    /// All migrations are one transaction under an advisory lock, so several processes may call it at
    /// the same time: one applies them, the others find nothing to do. It may take ten minutes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] if one of the tables exists although the component was never migrated,
    /// if a newer program migrated the schema to a version that is not compatible with this one, if the
    /// server is too old or has settings that the adapters cannot work with, if a migrated table is missing,
    /// or if a privilege is missing.
    /// After an error nothing is changed.
    /// [`ErrorKind::Unavailable`] if the server cannot be reached.
    pub async fn migrate(&self, config: impl Into<PostgresConfig>) -> Result<Driver, OutboxError> {
        let driver = Driver::without_logs(config);
        driver
            .transaction_within(LONGEST, MIGRATE, async |connection: &mut PgConnection| {
                migrate::apply_missing(connection, driver.schema(), self).await
            })
            .await?;
        Ok(driver)
    }

    /// How many of the migrations the schema has; more than there are here if a newer program migrated it
    /// to a version that is compatible with this one. Changes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`migrate`](Self::migrate), except a missing privilege.
    pub async fn applied(&self, config: impl Into<PostgresConfig>) -> Result<usize, OutboxError> {
        let driver = Driver::without_logs(config);
        driver
            .transaction(APPLIED, async |connection: &mut PgConnection| {
                migrate::applied_here(connection, driver.schema(), self).await
            })
            .await
    }

    /// The statements that [`migrate`](Self::migrate) runs in an empty schema, as a script for psql.
    #[must_use]
    pub fn script(&self, schema: &Schema) -> String {
        migrate::script(schema, self)
    }
}
