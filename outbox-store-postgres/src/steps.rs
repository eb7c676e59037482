//! Steps that claim, settle, quarantine and upkeep share. Each runs in the transaction of its caller,
//! which gives the operation for its errors.

use crate::draft::Reach;
use crate::plan::{Park, Wait};
use crate::row;
use crate::sql::Statements;
use outbox_core::{ClaimToken, EventId, OutboxError};
use outbox_driver_postgres::{PgTime, PgUuid, interval, postgres_error};
use sqlx::postgres::PgArguments;
use sqlx::postgres::types::PgInterval;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Row as _};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// An event that becomes a dead letter, by its place in `outbox_retries`.
#[derive(Debug)]
pub(crate) struct Failures {
    pub(crate) place: i64,
    pub(crate) id: EventId,
    pub(crate) count: u32,
    pub(crate) error: Option<String>,
    /// The first and the last failure. Without them, both are now.
    pub(crate) failed: Option<(PgTime, PgTime)>,
}

/// Runs a statement and returns how many rows it changed.
pub(crate) async fn run(
    connection: &mut PgConnection,
    operation: &'static str,
    query: Query<'_, Postgres, PgArguments>,
) -> Result<usize, OutboxError> {
    let done = query.execute(connection).await;
    done.map(|done| usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
        .map_err(postgres_error(operation))
}

/// Locks lanes for the rest of the transaction.
pub(crate) async fn lock_lanes(
    connection: &mut PgConnection,
    operation: &'static str,
    statements: &Statements,
    lanes: &[i16],
) -> Result<(), OutboxError> {
    let query = sqlx::query(statements.lock_lanes.clone()).bind(lanes);
    run(connection, operation, query).await?;
    Ok(())
}

/// S4: ends the claim in its lanes.
pub(crate) fn close<'q>(
    statements: &Statements,
    token: ClaimToken,
    lanes: &BTreeMap<i16, Reach>,
    may_be_lost: bool,
) -> Query<'q, Postgres, PgArguments> {
    let reaches = || lanes.values();
    sqlx::query(statements.settle_lanes.clone())
        .bind(PgUuid(*token.as_uuid()))
        .bind(lanes.keys().copied().collect::<Vec<i16>>())
        .bind(reaches().map(|reach| reach.read_to).collect::<Vec<_>>())
        .bind(reaches().map(|reach| reach.ends).collect::<Vec<_>>())
        .bind(may_be_lost)
}

/// Moves events of the log to the retries. Returns their places there.
pub(crate) async fn park(
    connection: &mut PgConnection,
    operation: &'static str,
    statements: &Statements,
    park: &[Park],
) -> Result<HashMap<EventId, i64>, OutboxError> {
    if park.is_empty() {
        return Ok(HashMap::new());
    }
    let waits = || park.iter().map(|park| &park.wait);
    let alone = waits().map(|wait| wait.suspicion.worker_lost);
    let rows = sqlx::query(statements.park_events.clone())
        .bind(park.iter().map(|park| park.lane).collect::<Vec<_>>())
        .bind(park.iter().map(|park| park.seq).collect::<Vec<_>>())
        .bind(uuids(park.iter().map(|park| park.id)))
        .bind(delays(waits()))
        .bind(attempts(waits()))
        .bind(destinations(waits()))
        .bind(keepers(waits()))
        .bind(alone.collect::<Vec<_>>())
        .bind(errors(waits()))
        .fetch_all(connection)
        .await
        .map_err(postgres_error(operation))?;
    row::collect(operation, rows, |row| {
        Ok((row::id(row, 1)?, row.try_get(0)?))
    })
}

/// S8: moves events from the retries to the dead letters. Returns how many.
pub(crate) async fn move_to_dead_letters(
    connection: &mut PgConnection,
    operation: &'static str,
    statements: &Statements,
    events: &[Failures],
    blocks: bool,
) -> Result<usize, OutboxError> {
    if events.is_empty() {
        return Ok(0);
    }
    let counts = events.iter().map(|one| i64::from(one.count));
    let errors = events.iter().map(|one| one.error.clone());
    let first = events.iter().map(|one| one.failed.map(|(first, _)| first));
    let last = events.iter().map(|one| one.failed.map(|(_, last)| last));
    let query = sqlx::query(statements.quarantine.clone())
        .bind(events.iter().map(|one| one.place).collect::<Vec<_>>())
        .bind(counts.collect::<Vec<_>>())
        .bind(errors.collect::<Vec<_>>())
        .bind(first.collect::<Vec<_>>())
        .bind(last.collect::<Vec<_>>())
        .bind(blocks)
        .bind(uuids(events.iter().map(|one| one.id)));
    run(connection, operation, query).await
}

/// Gives the first waiting event of each key its due time, unless a dead letter blocks the key.
pub(crate) async fn promote(
    connection: &mut PgConnection,
    operation: &'static str,
    statements: &Statements,
    keys: &BTreeSet<String>,
) -> Result<(), OutboxError> {
    if keys.is_empty() {
        return Ok(());
    }
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let query = sqlx::query(statements.promote.clone()).bind(keys);
    run(connection, operation, query).await?;
    Ok(())
}

pub(crate) fn delays<'w>(waits: impl Iterator<Item = &'w Wait>) -> Vec<Option<PgInterval>> {
    waits.map(|wait| wait.delay.map(interval)).collect()
}

pub(crate) fn attempts<'w>(waits: impl Iterator<Item = &'w Wait>) -> Vec<i64> {
    waits.map(|wait| i64::from(wait.attempts)).collect()
}

pub(crate) fn destinations<'w>(waits: impl Iterator<Item = &'w Wait>) -> Vec<Option<&'w str>> {
    waits.map(|wait| wait.held_for.as_deref()).collect()
}

pub(crate) fn errors<'w>(waits: impl Iterator<Item = &'w Wait>) -> Vec<Option<&'w str>> {
    waits.map(|wait| wait.error.as_deref()).collect()
}

pub(crate) fn keepers<'w>(waits: impl Iterator<Item = &'w Wait>) -> Vec<Option<PgUuid>> {
    let keeper = |wait: &Wait| wait.kept_by.map(|token| PgUuid(*token.as_uuid()));
    waits.map(keeper).collect()
}

pub(crate) fn uuids(ids: impl Iterator<Item = EventId>) -> Vec<PgUuid> {
    ids.map(|id| PgUuid(*id.as_uuid())).collect()
}
