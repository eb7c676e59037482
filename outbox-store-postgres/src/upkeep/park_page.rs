//! Rows of the log that must all wait, moved to the retries in bulk.

use crate::PostgresStore;
use crate::sql::{number, size};
use crate::steps::promote;
use outbox_core::OutboxError;
use outbox_driver_postgres::postgres_error;
use sqlx::{PgConnection, Row as _};

/// The most rows that one transaction moves, and their bytes.
const ROWS: usize = 10_000;
const BYTES: usize = 32 * 1024 * 1024;

impl PostgresStore {
    /// Moves the next rows of a lane that must all wait. Returns whether there were any.
    pub(crate) async fn park_page(&self, operation: &'static str) -> Result<bool, OutboxError> {
        let statements = self.statements();
        let error = postgres_error(operation);
        self.driver
            .transaction(operation, async |connection: &mut PgConnection| {
                let row = sqlx::query(statements.park_page.clone())
                    .bind(number(ROWS))
                    .bind(size(BYTES))
                    .fetch_one(&mut *connection)
                    .await
                    .map_err(&error)?;
                let parked: i64 = row.try_get(0).map_err(&error)?;
                let keys: Vec<String> = row.try_get(1).map_err(&error)?;
                let keys = keys.into_iter().collect();
                promote(connection, operation, statements, &keys).await?;
                Ok(parked > 0)
            })
            .await
    }
}
