//! Tables that an open transaction keeps from shrinking. Vacuum must leave all rows that were deleted or
//! changed since the transaction started. Moved into an empty table, the rows that are still needed take
//! no more room than they would without it. (`PgQ` rotates its tables for the same reason.)

use crate::PostgresStore;
use outbox_core::OutboxError;
use sqlx::postgres::PgRow;
use sqlx::{Row as _, SqlStr};

/// Some hundred states of each lane.
const LANES_AT_MOST: i64 = 256 * 1024;

/// The log with its indexes and large payloads.
const EVENTS_AT_MOST: i64 = 128 * 1024 * 1024;

impl PostgresStore {
    /// Renews the lanes if their old states take much room. Checked once in so many settlements. If another
    /// transaction blocks the renewal, the next attempt is later, because each blocks the other workers.
    pub(crate) async fn renew_lanes(&self, operation: &'static str) {
        if self.pace.may_renew_lanes() {
            let statement = &self.statements().renew_lanes;
            let renewed = self.renew(operation, "outbox_lanes", statement, LANES_AT_MOST);
            if !renewed.await {
                self.pace.lanes_failed();
            }
        }
    }

    /// Renews the log if it takes much room and hardly any of it is unread. If much is unread, or a
    /// transaction blocks the renewal, the next attempt is later, because each blocks producers.
    pub(crate) async fn renew_events(&self, operation: &'static str) {
        if self.pace.may_renew_events() {
            let statement = &self.statements().renew_events;
            let renewed = self.renew(operation, "outbox_events", statement, EVENTS_AT_MOST);
            if !renewed.await {
                self.pace.events_failed();
            }
        }
    }

    /// Returns false if the table should be renewed and could not be.
    async fn renew(
        &self,
        operation: &'static str,
        table: &'static str,
        statement: &SqlStr,
        at_most: i64,
    ) -> bool {
        let name = format!("{}.{table}", self.driver.schema().quoted());
        let query = sqlx::query(statement.clone()).bind(name).bind(at_most);
        let read = |row: &PgRow| row.try_get(0);
        let renewed: Result<Option<bool>, OutboxError> =
            self.driver.fetch_one(operation, query, read).await;
        tracing::debug!(table, ?renewed, "checked whether to renew the table");
        matches!(renewed, Ok(None | Some(true)))
    }
}
