//! Rows that are moved out of the way of a lane: what must wait, and what is behind a long run of few
//! keys. And keys whose events were changed by hand while they waited.

use crate::claim::{number, size};
use crate::draft::Run;
use crate::settle::{lock_lanes, promote};
use crate::sql::Statements;
use crate::{PostgresStore, row};
use outbox_core::{ClaimToken, OutboxError};
use outbox_driver_postgres::{PgUuid, postgres_error};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use std::collections::BTreeSet;

const PARK: &str = "park events that must wait";
const SET_ASIDE: &str = "set events of other keys aside";
const REPAIR: &str = "repair keys";

/// Rows that one transaction parks at most, and their bytes.
const PAGE: usize = 10_000;
const PAGE_BYTES: usize = 32 * 1024 * 1024;

/// Rows behind a run that one statement looks at, those that it moves, and their bytes.
const AHEAD: usize = 20_000;
const MOVED: usize = 200;
const MOVED_BYTES: usize = 4 * 1024 * 1024;

/// Keys that one repair looks at.
const KEYS: usize = 2_000;

/// How far a window was looked through for other keys than those of a run.
#[derive(Clone, Debug)]
pub(crate) struct Looked {
    pub(crate) window: String,
    pub(crate) to: i64,
    pub(crate) is_end: bool,
    /// As many rows were moved as may be: there may be more.
    pub(crate) is_full: bool,
}

impl PostgresStore {
    /// Parks the next rows of a lane that must all wait. False if there are none.
    pub(crate) async fn park_page(&self) -> Result<bool, OutboxError> {
        let statements = &*self.statements;
        let error = postgres_error(PARK);
        self.driver
            .transaction(PARK, async |connection: &mut PgConnection| {
                let row = sqlx::query(statements.park_page.clone())
                    .bind(number(PAGE))
                    .bind(size(PAGE_BYTES))
                    .fetch_one(&mut *connection)
                    .await
                    .map_err(&error)?;
                let parked: i64 = row.try_get(0).map_err(&error)?;
                let keys: Vec<String> = row.try_get(1).map_err(&error)?;
                promote(connection, PARK, statements, &keys.into_iter().collect()).await?;
                Ok(parked > 0)
            })
            .await
    }

    /// S12: moves events of other keys from behind a run in a lane of the claim. The claim is good
    /// without it.
    pub(crate) async fn set_aside(&self, token: ClaimToken, runs: Vec<Run>) {
        let Some((run, before)) = self.memory.next_run(runs) else {
            return;
        };
        match self.look_behind(token, &run, before).await {
            Ok(Some(looked)) => {
                self.memory.looked_behind(&run, looked);
                // The next claim finds what was moved.
                self.memory.look_again();
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "no event was set aside"),
        }
    }

    async fn look_behind(
        &self,
        token: ClaimToken,
        run: &Run,
        before: Option<Looked>,
    ) -> Result<Option<Looked>, OutboxError> {
        let statements = &*self.statements;
        let (window, to, is_end) = match before {
            Some(before) => (Some(before.window), Some(before.to), before.is_end),
            None => (None, None, false),
        };
        self.driver
            .transaction(SET_ASIDE, async |connection: &mut PgConnection| {
                let rows = sqlx::query(statements.set_aside.clone())
                    .bind(PgUuid(*token.as_uuid()))
                    .bind(run.lane)
                    .bind(run.read_to)
                    .bind(&run.keys)
                    .bind(to)
                    .bind(window)
                    .bind(is_end)
                    .bind(number(AHEAD))
                    .bind(number(MOVED))
                    .bind(size(MOVED_BYTES))
                    .fetch_all(&mut *connection)
                    .await
                    .map_err(postgres_error(SET_ASIDE))?;
                let looked: Vec<_> = row::collect(SET_ASIDE, rows, looked)?;
                let Some((looked, keys)) = looked.into_iter().next() else {
                    return Ok(None);
                };
                promote(connection, SET_ASIDE, statements, &keys).await?;
                if looked.is_end {
                    look_at_next(connection, statements, token, run, looked.to).await?;
                }
                Ok(Some(looked))
            })
            .await
    }

    /// Now and then: lets keys continue that nothing holds up any more, after rows were deleted or
    /// changed by hand.
    pub(crate) async fn repair_keys(&self) -> Result<(), OutboxError> {
        let Some(after) = self.memory.next_repair() else {
            return Ok(());
        };
        let statements = &*self.statements;
        let query = sqlx::query(statements.repair_keys.clone())
            .bind(after)
            .bind(number(KEYS));
        let rows = self.driver.fetch(REPAIR, query).await?;
        let read = |row: &PgRow| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
        let found: Vec<(i64, Option<String>, Option<i16>)> = row::collect(REPAIR, rows, read)?;
        let (mut keys, mut lanes) = (BTreeSet::new(), BTreeSet::new());
        for (hash, key, lane) in found {
            if key.is_none() {
                self.memory.repaired_to(hash);
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
            "events waited behind rows that were deleted or changed by hand; they continue"
        );
        self.memory.look_again();
        self.driver
            .transaction(REPAIR, async |connection: &mut PgConnection| {
                lock_lanes(connection, REPAIR, statements, &lanes).await?;
                promote(connection, REPAIR, statements, &keys).await
            })
            .await
    }
}

/// The window of a lane ends at `to`, and holds nothing but the run: looks at what comes after it.
async fn look_at_next(
    connection: &mut PgConnection,
    statements: &Statements,
    token: ClaimToken,
    run: &Run,
    to: i64,
) -> Result<(), OutboxError> {
    let keys: Vec<String> = sqlx::query_scalar(statements.set_aside_next.clone())
        .bind(PgUuid(*token.as_uuid()))
        .bind(run.lane)
        .bind(to)
        .bind(&run.keys)
        .bind(number(AHEAD))
        .bind(number(MOVED))
        .bind(size(MOVED_BYTES))
        .fetch_one(&mut *connection)
        .await
        .map_err(postgres_error(SET_ASIDE))?;
    promote(
        connection,
        SET_ASIDE,
        statements,
        &keys.into_iter().collect(),
    )
    .await
}

fn looked(row: &PgRow) -> sqlx::Result<(Looked, BTreeSet<String>)> {
    let looked = Looked {
        window: row.try_get(0)?,
        to: row.try_get(1)?,
        is_end: row.try_get(2)?,
        is_full: usize::try_from(row.try_get::<i64, _>(3)?) == Ok(MOVED),
    };
    let keys: Vec<String> = row.try_get(4)?;
    Ok((looked, keys.into_iter().collect()))
}
