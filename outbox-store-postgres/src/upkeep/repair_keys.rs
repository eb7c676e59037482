//! S13: keys that wait for an event or a dead letter that was deleted or changed by hand.

use crate::sql::number;
use crate::steps::{lock_lanes, promote};
use crate::{PostgresStore, row};
use outbox_core::OutboxError;
use sqlx::PgConnection;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use std::collections::BTreeSet;

/// How many keys one repair checks.
const KEYS: usize = 2_000;

impl PostgresStore {
    /// Every eight seconds, checks the next keys, and unblocks those that nothing blocks any more.
    pub(crate) async fn repair_keys(&self, operation: &'static str) -> Result<(), OutboxError> {
        let Some(from) = self.progress.next_repair() else {
            return Ok(());
        };
        let statements = self.statements();
        let query = sqlx::query(statements.repair_keys.clone())
            .bind(from)
            .bind(number(KEYS));
        let rows = self.driver.fetch(operation, query).await?;
        let read = |row: &PgRow| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
        let found: Vec<(i64, Option<String>, Option<i16>)> = row::collect(operation, rows, read)?;
        let (mut keys, mut lanes) = (BTreeSet::new(), BTreeSet::new());
        for (hash, key, lane) in found {
            if key.is_none() {
                self.progress.repaired_to(hash);
            }
            keys.extend(key);
            lanes.extend(lane);
        }
        if keys.is_empty() {
            return Ok(());
        }
        let lanes: Vec<i16> = lanes.into_iter().collect();
        tracing::warn!(
            keys = keys.len(),
            "events waited for rows that were deleted or changed by hand; they continue"
        );
        self.pace.look_again();
        self.driver
            .transaction(operation, async |connection: &mut PgConnection| {
                lock_lanes(connection, operation, statements, &lanes).await?;
                promote(connection, operation, statements, &keys).await
            })
            .await
    }
}
