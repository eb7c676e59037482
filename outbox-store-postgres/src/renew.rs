//! What an open transaction keeps: rows that were deleted or changed since it began, which vacuum must
//! leave. Put into an empty table, what is still needed costs no more for it. (`PgQ` turns its tables
//! over for the same reason.)

use crate::PostgresStore;
use outbox_core::OutboxError;
use sqlx::postgres::PgRow;
use sqlx::{Row as _, SqlStr};

/// The lanes in some hundred states each.
const LANES_AT_MOST: i64 = 256 * 1024;

/// The log with its indexes and large payloads.
const EVENTS_AT_MOST: i64 = 128 * 1024 * 1024;

impl PostgresStore {
    /// Gives back what the states of the lanes took, after so many settlements.
    pub(crate) async fn renew_lanes(&self) {
        if self.memory.may_renew_lanes() {
            let statement = &self.statements.renew_lanes;
            self.renew("outbox_lanes", statement, LANES_AT_MOST).await;
        }
    }

    /// Gives back what consumed events took, if it is much and hardly any are to be read. If they
    /// are, or a transaction is in the way, producers are spared for a while.
    pub(crate) async fn renew_events(&self) {
        if self.memory.may_renew_events() {
            let statement = &self.statements.renew_events;
            if !self.renew("outbox_events", statement, EVENTS_AT_MOST).await {
                self.memory.spare_events();
            }
        }
    }

    /// False if that was not possible now.
    async fn renew(&self, table: &'static str, statement: &SqlStr, at_most: i64) -> bool {
        let name = format!("{}.{table}", self.driver.schema().quoted());
        let query = sqlx::query(statement.clone()).bind(name).bind(at_most);
        let read = |row: &PgRow| row.try_get(0);
        let renewed: Result<Option<bool>, OutboxError> =
            self.driver.fetch_one("renew a table", query, read).await;
        tracing::debug!(table, ?renewed, "room that an open transaction had kept");
        matches!(renewed, Ok(None | Some(true)))
    }
}
