//! The operator's side: [`DeadLetters`].

use crate::claim::number;
use crate::settle::{lock_lanes, promote};
use crate::{PostgresOutbox, row};
use async_trait::async_trait;
use outbox_core::{
    DeadLetter, DeadLetterFilter, DeadLetterGroup, DeadLetters, ErrorText, Event, EventId,
    OutboxError,
};
use outbox_driver_postgres::{PgTime, PgUuid, postgres_error};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Row as _, SqlStr};
use std::collections::BTreeSet;

#[async_trait]
impl DeadLetters for PostgresOutbox {
    async fn list(
        &self,
        filter: &DeadLetterFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, OutboxError> {
        let letters = self.read_letters("list", filter, after, limit).await?;
        Ok(letters.into_iter().map(|(about, _)| about).collect())
    }

    async fn find(&self, id: EventId) -> Result<Option<(DeadLetter, Event)>, OutboxError> {
        let filter = DeadLetterFilter::ids([id]);
        let letters = self.read_letters("find", &filter, None, 1).await?;
        Ok(letters.into_iter().next())
    }

    async fn replay(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<EventId>, OutboxError> {
        let statement = &self.statements.replay;
        self.take_letters("replay", statement, filter, limit).await
    }

    async fn purge(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<EventId>, OutboxError> {
        let statement = &self.statements.purge;
        self.take_letters("purge", statement, filter, limit).await
    }

    async fn statistics(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<DeadLetterGroup>, OutboxError> {
        const STATISTICS: &str = "statistics";
        let query = filtered(&self.statements.letter_groups, filter, limit);
        let rows = self.driver.fetch(STATISTICS, query).await?;
        row::collect(STATISTICS, &rows, group)
    }
}

impl PostgresOutbox {
    async fn read_letters(
        &self,
        operation: &'static str,
        filter: &DeadLetterFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(DeadLetter, Event)>, OutboxError> {
        let after = after.map_or(0, |after| i64::try_from(after).unwrap_or(i64::MAX));
        let query = filtered(&self.statements.list_letters, filter, limit).bind(after);
        let rows = self.driver.fetch(operation, query).await?;
        row::collect(operation, &rows, row::letter)
    }

    /// Replays or purges. Where a letter held its key, the key may go on: then the lane is locked,
    /// so that an event which begins to wait at this moment is seen here or sees the letter gone.
    async fn take_letters(
        &self,
        operation: &'static str,
        statement: &SqlStr,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<EventId>, OutboxError> {
        let error = postgres_error(operation);
        let statements = &*self.statements;
        self.driver
            .transaction(operation, async |connection: &mut PgConnection| {
                let rows = filtered(statement, filter, limit)
                    .fetch_all(&mut *connection)
                    .await
                    .map_err(&error)?;
                let (mut lanes, mut keys) = (BTreeSet::new(), BTreeSet::new());
                for (lane, key) in row::collect::<_, Vec<_>>(operation, &rows, held_key)? {
                    lanes.extend(key.is_some().then_some(lane));
                    keys.extend(key);
                }
                if !keys.is_empty() {
                    let lanes: Vec<i16> = lanes.into_iter().collect();
                    lock_lanes(connection, operation, statements, &lanes).await?;
                    promote(connection, operation, statements, &keys).await?;
                }
                row::collect(operation, &rows, |row| row::id(row, 0))
            })
            .await
    }
}

fn held_key(row: &PgRow) -> sqlx::Result<(i16, Option<String>)> {
    Ok((row.try_get(1)?, row.try_get(2)?))
}

/// A statement with the filter as its first five parameters and the limit as the sixth.
fn filtered<'q>(
    statement: &SqlStr,
    filter: &DeadLetterFilter,
    limit: usize,
) -> Query<'q, Postgres, PgArguments> {
    let uuid = |id: &EventId| PgUuid(*id.as_uuid());
    let ids = filter
        .ids
        .as_ref()
        .map(|ids| ids.iter().map(uuid).collect::<Vec<_>>());
    sqlx::query(statement.clone())
        .bind(ids)
        .bind(filter.event_type.clone())
        .bind(filter.ordering_key.clone())
        .bind(filter.error_contains.clone())
        .bind(filter.before.map(PgTime))
        .bind(i64::from(number(limit)))
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
