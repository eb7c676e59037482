//! The outcome of each event of a claim.

use crate::PostgresStore;
use crate::draft::{Draft, Reach};
use crate::plan::{Again, Dead, Mismatch, Park, Plan};
use crate::row;
use crate::sql::Statements;
use outbox_core::{ClaimToken, ErrorKind, EventId, OutboxError, Settlement};
use outbox_driver_postgres::{PgTime, PgUuid, interval, postgres_error};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Row as _};
use std::collections::{BTreeMap, BTreeSet, HashMap};

const SETTLE: &str = "settle";

const MISSING: &str = "events of a claim were deleted or changed by hand before they were settled; the others are settled";

/// An event that goes into the quarantine, by its place among those that wait.
#[derive(Debug)]
pub(crate) struct Burial {
    pub(crate) place: i64,
    pub(crate) id: EventId,
    pub(crate) count: u32,
    pub(crate) error: Option<String>,
    /// The first and the last failure; none: now.
    pub(crate) failed: Option<(PgTime, PgTime)>,
}

impl PostgresStore {
    pub(crate) async fn settle_claim(
        &self,
        token: ClaimToken,
        settlements: &[Settlement],
    ) -> Result<(), OutboxError> {
        let Some(draft) = self.memory.claim(token) else {
            return Err(lease_lost());
        };
        let settled = self.settle_draft(token, &draft, settlements).await;
        let lost = |error: &OutboxError| error.kind() == ErrorKind::LeaseLost;
        if settled.as_ref().err().is_none_or(lost) {
            self.memory.forget(token);
        }
        self.renew_lanes().await;
        settled
    }

    pub(crate) async fn settle_draft(
        &self,
        token: ClaimToken,
        draft: &Draft,
        settlements: &[Settlement],
    ) -> Result<(), OutboxError> {
        let plan = Plan::new(draft, settlements).map_err(|found| mismatch(&found))?;
        let statements = &*self.statements;
        if plan.is_clean() {
            let query = close_clean(statements, token, &plan.lanes);
            let closed = self.driver.execute(SETTLE, query).await?;
            return fence(usize::try_from(closed).unwrap_or_default(), &plan.lanes);
        }
        self.memory.look_again();
        let holds = self.holds_keys;
        self.driver
            .transaction(SETTLE, async |connection: &mut PgConnection| {
                let may_be_lost = plan.dead.is_empty();
                let query = close(statements, token, &plan.lanes, may_be_lost);
                fence(run(connection, SETTLE, query).await?, &plan.lanes)?;
                apply(connection, statements, &plan, holds).await
            })
            .await
    }
}

async fn apply(
    connection: &mut PgConnection,
    statements: &Statements,
    plan: &Plan,
    holds: bool,
) -> Result<(), OutboxError> {
    let places = park(connection, SETTLE, statements, &plan.park).await?;
    let mut settled = places.len();
    if !plan.again.is_empty() {
        settled += run(connection, SETTLE, park_again(statements, &plan.again)).await?;
    }
    if !plan.remove.is_empty() {
        settled += run(connection, SETTLE, remove_retries(statements, &plan.remove)).await?;
    }
    let burials: Vec<Burial> = plan
        .dead
        .iter()
        .filter_map(|dead| burial(dead, &places))
        .collect();
    settled += bury(connection, SETTLE, statements, &burials, holds).await?;
    let all = plan.park.len() + plan.again.len() + plan.remove.len() + burials.len();
    if settled < all {
        let missing = all - settled;
        tracing::warn!(missing, "{MISSING}");
    }
    promote(connection, SETTLE, statements, &plan.keys).await
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

/// S4: ends a claim that was published as a whole.
fn close_clean<'q>(
    statements: &Statements,
    token: ClaimToken,
    lanes: &BTreeMap<i16, Reach>,
) -> Query<'q, Postgres, PgArguments> {
    match lanes.first_key_value() {
        Some((lane, reach)) if lanes.len() == 1 => sqlx::query(statements.settle_lane.clone())
            .bind(PgUuid(*token.as_uuid()))
            .bind(*lane)
            .bind(reach.read_to)
            .bind(reach.ends),
        _ => close(statements, token, lanes, true),
    }
}

/// All lanes of the claim, or the claim was taken over: all its lanes are taken back at once.
fn fence(closed: usize, lanes: &BTreeMap<i16, Reach>) -> Result<(), OutboxError> {
    if closed == lanes.len() {
        Ok(())
    } else {
        Err(lease_lost())
    }
}

/// Moves events of the log among those that wait. Returns their places.
pub(crate) async fn park(
    connection: &mut PgConnection,
    operation: &'static str,
    statements: &Statements,
    park: &[Park],
) -> Result<HashMap<EventId, i64>, OutboxError> {
    if park.is_empty() {
        return Ok(HashMap::new());
    }
    let delays = park.iter().map(|park| park.delay.map(interval));
    let rows = sqlx::query(statements.park_events.clone())
        .bind(park.iter().map(|park| park.lane).collect::<Vec<_>>())
        .bind(park.iter().map(|park| park.seq).collect::<Vec<_>>())
        .bind(ids(park.iter().map(|park| park.id)))
        .bind(delays.collect::<Vec<_>>())
        .bind(
            park.iter()
                .map(|park| i64::from(park.attempts))
                .collect::<Vec<_>>(),
        )
        .fetch_all(connection)
        .await
        .map_err(postgres_error(operation))?;
    row::collect(operation, rows, |row| {
        Ok((row::id(row, 1)?, row.try_get(0)?))
    })
}

fn park_again<'q>(statements: &Statements, again: &[Again]) -> Query<'q, Postgres, PgArguments> {
    let delays = again.iter().map(|again| again.delay.map(interval));
    let attempts = again.iter().map(|again| i64::from(again.attempts));
    sqlx::query(statements.park_again.clone())
        .bind(again.iter().map(|again| again.place).collect::<Vec<_>>())
        .bind(ids(again.iter().map(|again| again.id)))
        .bind(delays.collect::<Vec<_>>())
        .bind(attempts.collect::<Vec<_>>())
        .bind(again.iter().map(|again| again.charged).collect::<Vec<_>>())
}

fn remove_retries<'q>(
    statements: &Statements,
    remove: &[(i64, EventId)],
) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(statements.remove_retries.clone())
        .bind(remove.iter().map(|(place, _)| *place).collect::<Vec<_>>())
        .bind(ids(remove.iter().map(|(_, id)| *id)))
}

fn ids(ids: impl Iterator<Item = EventId>) -> Vec<PgUuid> {
    ids.map(|id| PgUuid(*id.as_uuid())).collect()
}

fn burial(dead: &Dead, places: &HashMap<EventId, i64>) -> Option<Burial> {
    Some(Burial {
        place: dead.place.or_else(|| places.get(&dead.id).copied())?,
        id: dead.id,
        count: dead.count,
        error: Some(dead.reason.as_str().to_owned()),
        failed: None,
    })
}

/// S8: moves events that wait into the quarantine. Returns how many.
pub(crate) async fn bury(
    connection: &mut PgConnection,
    operation: &'static str,
    statements: &Statements,
    burials: &[Burial],
    holds: bool,
) -> Result<usize, OutboxError> {
    if burials.is_empty() {
        return Ok(0);
    }
    let first = burials.iter().map(|one| one.failed.map(|(first, _)| first));
    let last = burials.iter().map(|one| one.failed.map(|(_, last)| last));
    let query = sqlx::query(statements.quarantine.clone())
        .bind(burials.iter().map(|one| one.place).collect::<Vec<_>>())
        .bind(
            burials
                .iter()
                .map(|one| i64::from(one.count))
                .collect::<Vec<_>>(),
        )
        .bind(
            burials
                .iter()
                .map(|one| one.error.clone())
                .collect::<Vec<_>>(),
        )
        .bind(first.collect::<Vec<_>>())
        .bind(last.collect::<Vec<_>>())
        .bind(holds)
        .bind(ids(burials.iter().map(|one| one.id)));
    run(connection, operation, query).await
}

/// Lets the first waiting event of each key become due.
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

/// Runs a statement of a transaction and returns how many rows it changed.
pub(crate) async fn run(
    connection: &mut PgConnection,
    operation: &'static str,
    query: Query<'_, Postgres, PgArguments>,
) -> Result<usize, OutboxError> {
    let done = query.execute(connection).await;
    done.map(|done| usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
        .map_err(postgres_error(operation))
}

fn lease_lost() -> OutboxError {
    OutboxError::new(ErrorKind::LeaseLost, "postgres", SETTLE)
}

fn mismatch(mismatch: &Mismatch) -> OutboxError {
    let problem = match mismatch {
        Mismatch::Stranger(id) => format!("event {id} is not in the claim, or is named twice"),
        Mismatch::Missing(id) => {
            format!("event {id} is not named, but a settlement must name each event of the claim")
        }
    };
    OutboxError::invalid("postgres", SETTLE, problem)
}
