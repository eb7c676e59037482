//! The operator's side: [`DeadLetters`].

use crate::sql::size;
use crate::steps::{lock_lanes, promote};
use crate::{PostgresStore, filter, row};
use async_trait::async_trait;
use outbox_core::{
    DeadLetter, DeadLetterFilter, DeadLetterGroup, DeadLetters, ErrorText, Event, EventId,
    OutboxError,
};
use outbox_driver_postgres::{PgTime, PgUuid, postgres_error};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Row as _};
use std::collections::BTreeSet;

/// The most bytes that one replay copies, and that one purge deletes. A single dead letter may be larger.
const REPLAYED: usize = 64 * 1024 * 1024;
const PURGED: usize = 256 * 1024 * 1024;

#[async_trait]
impl DeadLetters for PostgresStore {
    async fn list(
        &self,
        filter: &DeadLetterFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, OutboxError> {
        const LIST: &str = "list";
        let after = after.map_or(0, |after| i64::try_from(after).unwrap_or(i64::MAX));
        let query = filter::query(&self.statements().list_dead_letters, filter)
            .bind(size(limit))
            .bind(after);
        let rows = self.driver.fetch(LIST, query).await?;
        row::collect(LIST, rows, row::dead_letter)
    }

    async fn find(&self, id: EventId) -> Result<Option<(DeadLetter, Event)>, OutboxError> {
        const FIND: &str = "find";
        let query =
            sqlx::query(self.statements().find_dead_letter.clone()).bind(PgUuid(*id.as_uuid()));
        let rows = self.driver.fetch(FIND, query).await?;
        let found: Vec<_> = row::collect(FIND, rows, row::whole_dead_letter)?;
        Ok(found.into_iter().next())
    }

    /// One call copies at most 64 MiB, or one dead letter.
    async fn replay(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<EventId>, OutboxError> {
        let query = filter::query(&self.statements().replay, filter)
            .bind(size(limit))
            .bind(size(REPLAYED));
        self.take_dead_letters("replay", query).await
    }

    /// One call deletes at most 256 MiB, or one dead letter.
    async fn purge(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<EventId>, OutboxError> {
        let query = filter::query(&self.statements().purge, filter)
            .bind(size(limit))
            .bind(size(PURGED));
        self.take_dead_letters("purge", query).await
    }

    async fn statistics(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<DeadLetterGroup>, OutboxError> {
        const STATISTICS: &str = "statistics";
        let query = filter::query(&self.statements().dead_letter_groups, filter).bind(size(limit));
        let rows = self.driver.fetch(STATISTICS, query).await?;
        row::collect(STATISTICS, rows, group)
    }
}

impl PostgresStore {
    /// Replays or purges, and unblocks the keys that the dead letters blocked. For that it locks their
    /// lanes: an event that starts to wait at the same moment is seen here, or sees no dead letter.
    async fn take_dead_letters(
        &self,
        operation: &'static str,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<EventId>, OutboxError> {
        let error = postgres_error(operation);
        let statements = self.statements();
        self.driver
            .transaction(operation, async |connection: &mut PgConnection| {
                let rows = query.fetch_all(&mut *connection).await.map_err(&error)?;
                let (mut ids, mut lanes, mut keys) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
                for (id, lane, key) in row::collect::<_, Vec<_>>(operation, rows, taken)? {
                    ids.push(id);
                    lanes.extend(key.is_some().then_some(lane));
                    keys.extend(key);
                }
                if !keys.is_empty() {
                    let lanes: Vec<i16> = lanes.into_iter().collect();
                    lock_lanes(connection, operation, statements, &lanes).await?;
                    promote(connection, operation, statements, &keys).await?;
                }
                Ok(ids)
            })
            .await
    }
}

/// The event, its lane, and its key if the dead letter blocked it.
fn taken(row: &PgRow) -> sqlx::Result<(EventId, i16, Option<String>)> {
    Ok((row::id(row, 0)?, row.try_get(1)?, row.try_get(2)?))
}

fn group(row: &PgRow) -> sqlx::Result<DeadLetterGroup> {
    let error: Option<String> = row.try_get(1)?;
    Ok(DeadLetterGroup::new(
        row.try_get(0)?,
        error.map(|text| ErrorText::new(&text)),
        u64::try_from(row.try_get::<i64, _>(2)?).unwrap_or_default(),
        row.try_get::<PgTime, _>(3)?.0,
        row.try_get::<PgTime, _>(4)?.0,
    ))
}
