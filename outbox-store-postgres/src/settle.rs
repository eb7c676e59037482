//! The outcome of each event of a claim.

use crate::PostgresStore;
use crate::draft::{Draft, Reach};
use crate::keep::{keep, still_kept};
use crate::plan::{Again, Dead, Mismatch, Plan, only_moves_cursors};
use crate::sql::Statements;
use crate::steps::{
    Failures, attempts, close, delays, destinations, errors, keepers, move_to_dead_letters, park,
    promote, run, uuids,
};
use outbox_core::{ClaimToken, ErrorKind, EventId, OutboxError, Settlement};
use outbox_driver_postgres::PgUuid;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres};
use std::collections::{BTreeMap, HashMap};

const SETTLE: &str = "settle";

const MISSING: &str = "events of a claim were deleted or changed by hand before they were settled; the others are settled";

impl PostgresStore {
    pub(crate) async fn settle_claim(
        &self,
        token: ClaimToken,
        settlements: &[Settlement],
    ) -> Result<(), OutboxError> {
        let Some(draft) = self.claims.get(token) else {
            return Err(lease_lost(SETTLE));
        };
        for settlement in settlements {
            settlement.outcome.validate("postgres")?;
        }
        let settled = self.settle_draft(SETTLE, token, &draft, settlements).await;
        let settled = match settled {
            Ok(Some(rest)) => {
                self.claims.keep(token, rest);
                Ok(())
            }
            Err(error) if error.kind() != ErrorKind::LeaseLost => Err(error),
            settled => {
                self.claims.remove(token);
                settled.map(drop)
            }
        };
        self.renew_lanes(SETTLE).await;
        settled
    }

    /// Settles a claim during `operation`. Returns the claim of the events that it keeps (S22).
    pub(crate) async fn settle_draft(
        &self,
        operation: &'static str,
        token: ClaimToken,
        draft: &Draft,
        settlements: &[Settlement],
    ) -> Result<Option<Draft>, OutboxError> {
        let statements = self.statements();
        let plan = if only_moves_cursors(draft, settlements) {
            Plan::of_lanes(draft)
        } else {
            Plan::new(draft, token, settlements).map_err(|found| mismatch(&found))?
        };
        if plan.is_clean() {
            let query = close_clean(statements, token, &plan.lanes);
            let closed = self.driver.execute(operation, query).await?;
            let closed = usize::try_from(closed).unwrap_or_default();
            return fence(operation, closed, &plan.lanes).map(|()| None);
        }
        self.pace.look_again();
        let blocks = self.blocks_keys;
        let kept = self
            .driver
            .transaction(operation, async |connection: &mut PgConnection| {
                end(connection, operation, statements, token, draft, &plan).await?;
                let places = apply(connection, operation, statements, &plan, blocks).await?;
                keep(connection, operation, statements, draft, &plan, &places).await
            })
            .await?;
        warn_of_unreadable(&plan);
        Ok(kept)
    }
}

/// S4: ends the claim, or fails if it was taken over.
async fn end(
    connection: &mut PgConnection,
    operation: &'static str,
    statements: &Statements,
    token: ClaimToken,
    draft: &Draft,
    plan: &Plan,
) -> Result<(), OutboxError> {
    if let Some(until) = draft.kept_until {
        let is_kept = still_kept(connection, operation, statements, token, draft, until).await?;
        return is_kept.then_some(()).ok_or_else(|| lease_lost(operation));
    }
    let may_be_lost = plan.dead.is_empty();
    let query = close(statements, token, &plan.lanes, may_be_lost);
    let closed = run(connection, operation, query).await?;
    fence(operation, closed, &plan.lanes)
}

/// Applies the changes to the events. Returns the places of those that were in the log.
async fn apply(
    connection: &mut PgConnection,
    operation: &'static str,
    statements: &Statements,
    plan: &Plan,
    blocks: bool,
) -> Result<HashMap<EventId, i64>, OutboxError> {
    let places = park(connection, operation, statements, &plan.park).await?;
    let mut settled = places.len();
    if !plan.again.is_empty() {
        settled += run(connection, operation, park_again(statements, &plan.again)).await?;
    }
    if !plan.remove.is_empty() {
        let remove = remove_retries(statements, &plan.remove);
        settled += run(connection, operation, remove).await?;
    }
    let dead = plan.dead.iter();
    let dead: Vec<Failures> = dead.filter_map(|dead| failures(dead, &places)).collect();
    settled += move_to_dead_letters(connection, operation, statements, &dead, blocks).await?;
    let all = plan.park.len() + plan.again.len() + plan.remove.len() + dead.len();
    if settled < all {
        let missing = all - settled;
        tracing::warn!(missing, "{MISSING}");
    }
    promote(connection, operation, statements, &plan.keys).await?;
    Ok(places)
}

/// S4: ends a claim of which all events were published.
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

/// A claim that was taken over has lost all its lanes at once, so fewer closed lanes mean a lost lease.
fn fence(
    operation: &'static str,
    closed: usize,
    lanes: &BTreeMap<i16, Reach>,
) -> Result<(), OutboxError> {
    if closed == lanes.len() {
        Ok(())
    } else {
        Err(lease_lost(operation))
    }
}

fn park_again<'q>(statements: &Statements, again: &'q [Again]) -> Query<'q, Postgres, PgArguments> {
    let waits = || again.iter().map(|again| &again.wait);
    let suspicions = || waits().map(|wait| wait.suspicion);
    sqlx::query(statements.park_again.clone())
        .bind(again.iter().map(|again| again.place).collect::<Vec<_>>())
        .bind(uuids(again.iter().map(|again| again.id)))
        .bind(delays(waits()))
        .bind(attempts(waits()))
        .bind(suspicions().map(|one| one.suspect).collect::<Vec<_>>())
        .bind(suspicions().map(|one| one.worker_lost).collect::<Vec<_>>())
        .bind(again.iter().map(|again| again.in_turn).collect::<Vec<_>>())
        .bind(destinations(waits()))
        .bind(keepers(waits()))
        .bind(errors(waits()))
}

fn remove_retries<'q>(
    statements: &Statements,
    remove: &[(i64, EventId)],
) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(statements.remove_retries.clone())
        .bind(remove.iter().map(|(place, _)| *place).collect::<Vec<_>>())
        .bind(uuids(remove.iter().map(|(_, id)| *id)))
}

fn failures(dead: &Dead, places: &HashMap<EventId, i64>) -> Option<Failures> {
    Some(Failures {
        place: dead.place.or_else(|| places.get(&dead.id).copied())?,
        id: dead.id,
        count: dead.count,
        error: Some(dead.reason.as_str().to_owned()),
        failed: None,
    })
}

/// One warning for each row that cannot be read: no worker got it, so no worker logs it.
fn warn_of_unreadable(plan: &Plan) {
    for dead in plan.dead.iter().filter(|dead| dead.is_unreadable) {
        let (id, reason) = (dead.id, dead.reason.as_str());
        tracing::warn!(
            %id, reason,
            "event quarantined, as its row cannot be read; `outbox dlq show {id}` shows it"
        );
    }
}

fn lease_lost(operation: &'static str) -> OutboxError {
    OutboxError::new(ErrorKind::LeaseLost, "postgres", operation)
}

fn mismatch(mismatch: &Mismatch) -> OutboxError {
    let problem = match mismatch {
        Mismatch::Unknown(id) => format!("event {id} is not in the claim, or is named twice"),
        Mismatch::Missing(id) => {
            format!("event {id} is not named, but a settlement must name each event of the claim")
        }
    };
    OutboxError::invalid("postgres", SETTLE, problem)
}
