//! S7: takes over claims whose lease has ended. Their events become suspects.

use crate::PostgresStore;
use crate::draft::Reach;
use crate::sql::Statements;
use crate::steps::{close, promote, run};
use outbox_core::{ClaimToken, OutboxError};
use outbox_driver_postgres::{PgUuid, postgres_error};
use sqlx::{PgConnection, Row as _};
use std::collections::{BTreeMap, BTreeSet};

/// A lost claim.
struct Lost {
    token: ClaimToken,
    lanes: BTreeMap<i16, Reach>,
    /// The places of its events in `outbox_retries`.
    places: Vec<i64>,
    keys: BTreeSet<String>,
}

impl PostgresStore {
    /// Takes over all lost claims, during `operation`.
    pub(crate) async fn take_over_lost_claims(
        &self,
        operation: &'static str,
    ) -> Result<(), OutboxError> {
        while let Some(lost) = self.take_over(operation).await? {
            let (token, events) = (lost.token.as_uuid(), lost.places.len());
            tracing::info!(%token, events, "took over a claim whose lease had ended");
        }
        Ok(())
    }

    /// Takes over one lost claim, if there is one.
    async fn take_over(&self, operation: &'static str) -> Result<Option<Lost>, OutboxError> {
        let statements = self.statements();
        self.pace.look_again();
        self.driver
            .transaction(operation, async |connection: &mut PgConnection| {
                let Some(mut lost) = lock(connection, operation, statements).await? else {
                    return Ok(None);
                };
                park(connection, operation, statements, &mut lost).await?;
                let query = close(statements, lost.token, &lost.lanes, false);
                run(connection, operation, query).await?;
                promote(connection, operation, statements, &lost.keys).await?;
                Ok(Some(lost))
            })
            .await
    }
}

/// Locks the lanes of a lost claim, and reads which events it had from the retries.
async fn lock(
    connection: &mut PgConnection,
    operation: &'static str,
    statements: &Statements,
) -> Result<Option<Lost>, OutboxError> {
    let error = postgres_error(operation);
    let rows = sqlx::query(statements.lost_claim.clone())
        .fetch_all(connection)
        .await
        .map_err(&error)?;
    let mut lost: Option<Lost> = None;
    for row in &rows {
        let PgUuid(token) = row.try_get(1).map_err(&error)?;
        let lost = lost.get_or_insert_with(|| Lost {
            token: token.into(),
            lanes: BTreeMap::new(),
            places: Vec::new(),
            keys: BTreeSet::new(),
        });
        let lane = row.try_get(0).map_err(&error)?;
        lost.lanes.insert(lane, Reach::default());
        let places: Vec<i64> = row.try_get(2).map_err(&error)?;
        lost.places.extend(places);
    }
    Ok(lost)
}

/// Moves the events that the claim had from the log to the retries, and marks all its events as suspects.
async fn park(
    connection: &mut PgConnection,
    operation: &'static str,
    statements: &Statements,
    lost: &mut Lost,
) -> Result<(), OutboxError> {
    let error = postgres_error(operation);
    let rows = sqlx::query(statements.take_back.clone())
        .bind(PgUuid(*lost.token.as_uuid()))
        .bind(lost.lanes.keys().copied().collect::<Vec<i16>>())
        .fetch_all(&mut *connection)
        .await
        .map_err(&error)?;
    for row in &rows {
        let lane: i16 = row.try_get(0).map_err(&error)?;
        lost.places.push(row.try_get(1).map_err(&error)?);
        let key: Option<String> = row.try_get(2).map_err(&error)?;
        lost.keys.extend(key);
        let reach = lost.lanes.entry(lane).or_default();
        reach.read_to = Some(row.try_get(3).map_err(&error)?);
        reach.ends = row.try_get(4).map_err(&error)?;
    }
    let query = sqlx::query(statements.suspect.clone())
        .bind(&lost.places)
        .bind(lost.places.len() == 1);
    run(connection, operation, query).await?;
    Ok(())
}
