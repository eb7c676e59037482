//! S12: events of other keys that come after a long run of few keys in a lane. They are moved to the
//! retries, so that the next claim finds them before the end of the run.
//!
//! A look behind a run reads up to 20,000 rows. So the first starts once the run has 8 rows. The next ones
//! take about a tenth of the time, or come once in 16 claims.

use crate::draft::Run;
use crate::sql::{Statements, number, size};
use crate::steps::promote;
use crate::{PostgresStore, row};
use outbox_core::{ClaimToken, OutboxError};
use outbox_driver_postgres::{PgUuid, postgres_error};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A run must have so many rows, in one claim or several, before a look behind it.
const RUN: usize = 8;

/// The next look comes after so many claims of the run, or after so many times the duration of a look.
const CLAIMS_OF_RUN: u32 = 16;
const TIMES_A_LOOK: u32 = 10;

/// How many rows one look reads, how many it moves at most, and their bytes.
const AHEAD: usize = 20_000;
const MOVED: usize = 200;
const MOVED_BYTES: usize = 4 * 1024 * 1024;

/// Which runs this handle met, by their lanes. Shared by the clones of the handle.
#[derive(Debug, Default)]
pub(crate) struct Runs(Mutex<HashMap<i16, Behind>>);

/// The looks behind a run.
#[derive(Debug, Default)]
struct Behind {
    keys: Vec<String>,
    rows: usize,
    looked: Option<Looked>,
    /// When the last look started, how long it took, and how many claims there were since.
    at: Option<Instant>,
    took: Duration,
    claims: u32,
}

/// How far a window was searched for keys that are not in the run.
#[derive(Clone, Debug)]
struct Looked {
    window: String,
    to: i64,
    is_end: bool,
    /// As many rows were moved as one look moves at most: there may be more.
    is_full: bool,
}

impl Behind {
    fn is_due(&self) -> bool {
        let rested = |at: Instant| at.elapsed() > self.took.saturating_mul(TIMES_A_LOOK);
        self.rows >= RUN && (self.claims >= CLAIMS_OF_RUN || self.at.is_none_or(rested))
    }
}

impl Runs {
    /// Notes the runs that a claim found. Returns one to look behind, and how far the last look came.
    fn next(&self, runs: Vec<Run>) -> Option<(Run, Option<Looked>)> {
        let mut lanes = self.lock();
        let mut next: Option<(Option<Instant>, Run)> = None;
        for run in runs {
            let behind = lanes.entry(run.lane).or_default();
            if behind.keys != run.keys {
                *behind = Behind {
                    keys: run.keys.clone(),
                    ..Behind::default()
                };
            }
            behind.rows += run.rows;
            behind.claims += 1;
            if behind.is_due() && next.as_ref().is_none_or(|(at, _)| behind.at < *at) {
                next = Some((behind.at, run));
            }
        }
        let (_, run) = next?;
        let behind = lanes.get_mut(&run.lane)?;
        (behind.at, behind.took, behind.claims) = (Some(Instant::now()), Duration::MAX, 0);
        let looked = behind.looked.clone();
        Some((run, looked))
    }

    fn looked(&self, run: &Run, looked: Looked) {
        if let Some(behind) = self.lock().get_mut(&run.lane) {
            behind.took = behind.at.map(|at| at.elapsed()).unwrap_or_default();
            if looked.is_full {
                behind.at = None;
            }
            behind.looked = Some(looked);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i16, Behind>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PostgresStore {
    /// Looks behind one of the runs in the lanes of a claim, if it is time. The claim is valid without
    /// it, so an error is only logged.
    pub(crate) async fn set_aside(
        &self,
        operation: &'static str,
        token: ClaimToken,
        runs: Vec<Run>,
    ) {
        let Some((run, before)) = self.runs.next(runs) else {
            return;
        };
        match self.look_behind(operation, token, &run, before).await {
            Ok(Some(looked)) => {
                self.runs.looked(&run, looked);
                self.pace.look_again();
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "cannot set aside events of other keys"),
        }
    }

    async fn look_behind(
        &self,
        operation: &'static str,
        token: ClaimToken,
        run: &Run,
        before: Option<Looked>,
    ) -> Result<Option<Looked>, OutboxError> {
        let statements = self.statements();
        let (window, to, is_end) = match before {
            Some(before) => (Some(before.window), Some(before.to), before.is_end),
            None => (None, None, false),
        };
        self.driver
            .transaction(operation, async |connection: &mut PgConnection| {
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
                    .map_err(postgres_error(operation))?;
                let looked: Vec<_> = row::collect(operation, rows, looked)?;
                let Some((looked, keys)) = looked.into_iter().next() else {
                    return Ok(None);
                };
                promote(connection, operation, statements, &keys).await?;
                if looked.is_end {
                    let keys = look_at_next(connection, statements, token, run, looked.to).await;
                    let keys = keys.map_err(postgres_error(operation))?;
                    promote(connection, operation, statements, &keys).await?;
                }
                Ok(Some(looked))
            })
            .await
    }
}

/// Moves rows of the next window. The window of the lane ends at `to` and has only rows of the run.
async fn look_at_next(
    connection: &mut PgConnection,
    statements: &Statements,
    token: ClaimToken,
    run: &Run,
    to: i64,
) -> sqlx::Result<BTreeSet<String>> {
    let keys: Vec<String> = sqlx::query_scalar(statements.set_aside_next.clone())
        .bind(PgUuid(*token.as_uuid()))
        .bind(run.lane)
        .bind(to)
        .bind(&run.keys)
        .bind(number(AHEAD))
        .bind(number(MOVED))
        .bind(size(MOVED_BYTES))
        .fetch_one(connection)
        .await?;
    Ok(keys.into_iter().collect())
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
