//! What a claim may find now.

use crate::PostgresStore;
use outbox_core::OutboxError;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use std::time::Duration;

/// The answer of `outlook.sql`.
#[derive(Clone, Copy, Debug, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a column of one answer"
)]
pub(crate) struct Outlook {
    pub(crate) events: bool,
    pub(crate) retries: bool,
    pub(crate) suspects: bool,
    pub(crate) lost: bool,
    /// The time until another event is due or a lease ends.
    pub(crate) next_in: Option<Duration>,
    /// The oldest transaction that is open.
    pub(crate) oldest_open: i64,
    /// The table of the retries is not small.
    pub(crate) many_retries: bool,
}

impl Outlook {
    pub(crate) fn has_work(&self) -> bool {
        self.events || self.retries || self.suspects || self.lost
    }
}

impl PostgresStore {
    /// Reads what a claim may find. If the server or its tables are not those that were checked last,
    /// checks them first.
    pub(crate) async fn outlook(&self, operation: &'static str) -> Result<Outlook, OutboxError> {
        let mut is_home = true;
        let outlook = self.read_outlook(operation, &mut is_home).await;
        if is_home {
            return outlook;
        }
        self.adopt(operation).await?;
        self.read_outlook(operation, &mut is_home).await
    }

    /// Fails, and sets `is_home` to false, if the server or its tables are not those that were checked
    /// last. The connection is then closed.
    async fn read_outlook(
        &self,
        operation: &'static str,
        is_home: &mut bool,
    ) -> Result<Outlook, OutboxError> {
        let query = sqlx::query(self.statements().outlook.clone());
        let read = |row: &PgRow| -> sqlx::Result<Outlook> {
            *is_home = row.try_get(6)?;
            if !*is_home {
                let text = "the server or its tables are not those that were checked last";
                return Err(sqlx::Error::Protocol(text.to_owned()));
            }
            let next_in: Option<i64> = row.try_get(4)?;
            Ok(Outlook {
                events: row.try_get(0)?,
                retries: row.try_get(1)?,
                suspects: row.try_get(2)?,
                lost: row.try_get(3)?,
                next_in: next_in.map(|micros| {
                    Duration::from_micros(u64::try_from(micros).unwrap_or_default().max(1))
                }),
                oldest_open: row.try_get(5)?,
                many_retries: row.try_get(7)?,
            })
        };
        self.driver.fetch_one(operation, query, read).await
    }
}
