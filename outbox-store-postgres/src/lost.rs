//! S7: claims whose lease ran out are taken back, and their events become suspects.

use crate::PostgresStore;
use crate::draft::Reach;
use crate::settle::{close, promote, run};
use crate::sql::Statements;
use outbox_core::{ClaimToken, OutboxError};
use outbox_driver_postgres::{PgUuid, postgres_error};
use sqlx::{PgConnection, Row as _};
use std::collections::{BTreeMap, BTreeSet};

const TAKE_BACK: &str = "take back a lost claim";

/// What a lost claim had.
#[derive(Default)]
struct Lost {
    token: Option<ClaimToken>,
    lanes: BTreeMap<i16, Reach>,
    /// Places of those that waited.
    held: Vec<i64>,
    keys: BTreeSet<String>,
}

impl PostgresStore {
    /// Takes one lost claim back, if there is one.
    pub(crate) async fn take_back_lost_claim(&self) -> Result<bool, OutboxError> {
        let statements = &*self.statements;
        self.memory.look_again();
        self.driver
            .transaction(TAKE_BACK, async |connection: &mut PgConnection| {
                let mut lost = lock(connection, statements).await?;
                let Some(token) = lost.token else {
                    return Ok(false);
                };
                park(connection, statements, token, &mut lost).await?;
                let query = close(statements, token, &lost.lanes, false);
                run(connection, TAKE_BACK, query).await?;
                promote(connection, TAKE_BACK, statements, &lost.keys).await?;
                Ok(true)
            })
            .await
    }
}

async fn lock(connection: &mut PgConnection, statements: &Statements) -> Result<Lost, OutboxError> {
    let error = postgres_error(TAKE_BACK);
    let rows = sqlx::query(statements.lost_claim.clone())
        .fetch_all(connection)
        .await
        .map_err(&error)?;
    let mut lost = Lost::default();
    for row in &rows {
        let lane = row.try_get(0).map_err(&error)?;
        lost.lanes.insert(lane, Reach::default());
        let PgUuid(token) = row.try_get(1).map_err(&error)?;
        lost.token = Some(token.into());
        let held: Vec<i64> = row.try_get(2).map_err(&error)?;
        lost.held.extend(held);
    }
    Ok(lost)
}

/// The events that the claim had from the log join those that it had from the retries.
async fn park(
    connection: &mut PgConnection,
    statements: &Statements,
    token: ClaimToken,
    lost: &mut Lost,
) -> Result<(), OutboxError> {
    let error = postgres_error(TAKE_BACK);
    let rows = sqlx::query(statements.take_back.clone())
        .bind(PgUuid(*token.as_uuid()))
        .bind(lost.lanes.keys().copied().collect::<Vec<i16>>())
        .fetch_all(&mut *connection)
        .await
        .map_err(&error)?;
    for row in &rows {
        let lane: i16 = row.try_get(0).map_err(&error)?;
        lost.held.push(row.try_get(1).map_err(&error)?);
        let key: Option<String> = row.try_get(2).map_err(&error)?;
        lost.keys.extend(key);
        let reach = lost.lanes.entry(lane).or_default();
        reach.read_to = Some(row.try_get(3).map_err(&error)?);
        reach.ends = row.try_get(4).map_err(&error)?;
    }
    let query = sqlx::query(statements.suspect.clone())
        .bind(&lost.held)
        .bind(lost.held.len() == 1);
    run(connection, TAKE_BACK, query).await?;
    Ok(())
}
