//! Events that a settlement keeps in their claim, and events that wait for a destination.
//!
//! A kept event waits in the retries until the end of its lease, so that its lane is free at once (S22). Its
//! row names the claim. After the lease another claim takes it as a suspect, and clears that name.

use crate::PostgresStore;
use crate::draft::{Draft, Place};
use crate::plan::Plan;
use crate::sql::{Statements, size};
use crate::steps::{lock_lanes, uuids};
use outbox_core::{ClaimToken, EventId, OutboxError};
use outbox_driver_postgres::{PgTime, PgUuid, interval, postgres_error};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

const RESUME: &str = "resume";

/// S4: locks the lanes of kept events, and returns whether the claim still has the events.
pub(crate) async fn still_kept(
    connection: &mut PgConnection,
    operation: &'static str,
    statements: &Statements,
    token: ClaimToken,
    draft: &Draft,
    until: PgTime,
) -> Result<bool, OutboxError> {
    let since = Instant::now();
    let lanes: BTreeSet<i16> = draft.held.iter().map(|held| held.lane).collect();
    let lanes: Vec<i16> = lanes.into_iter().collect();
    lock_lanes(connection, operation, statements, &lanes).await?;
    let place = |place: Place| match place {
        Place::Waiting(place) | Place::Log(place) => place,
    };
    let places = draft.held.iter().map(|held| place(held.place));
    sqlx::query_scalar(statements.still_kept.clone())
        .bind(places.collect::<Vec<i64>>())
        .bind(uuids(draft.held.iter().map(|held| held.id)))
        .bind(PgUuid(*token.as_uuid()))
        .bind(interval(since.elapsed()))
        .bind(until)
        .bind(interval(draft.lease))
        .fetch_one(connection)
        .await
        .map_err(postgres_error(operation))
}

/// S22: the claim of the events that a settlement keeps. `places` has those that were in the log.
pub(crate) async fn keep(
    connection: &mut PgConnection,
    operation: &'static str,
    statements: &Statements,
    draft: &Draft,
    plan: &Plan,
    places: &HashMap<EventId, i64>,
) -> Result<Option<Draft>, OutboxError> {
    if plan.kept.is_empty() {
        return Ok(None);
    }
    let until = sqlx::query_scalar(statements.lease_end.clone())
        .bind(interval(draft.lease))
        .fetch_one(connection)
        .await
        .map_err(postgres_error(operation))?;
    Ok(Some(draft.keeping(&plan.kept, places, until)))
}

impl PostgresStore {
    /// S23: makes up to `limit` events due that are held for `destination`.
    pub(crate) async fn resume_held(
        &self,
        destination: &str,
        limit: usize,
    ) -> Result<usize, OutboxError> {
        let table = format!("{}.outbox_events", self.driver.schema().quoted());
        let query = sqlx::query(self.statements().resume.clone())
            .bind(destination)
            .bind(size(limit))
            .bind(table);
        let read = |row: &PgRow| row.try_get::<i64, _>(0);
        let resumed = self.driver.fetch_one(RESUME, query, read).await?;
        if resumed > 0 {
            self.pace.forget_looks();
        }
        Ok(usize::try_from(resumed).unwrap_or_default())
    }
}
