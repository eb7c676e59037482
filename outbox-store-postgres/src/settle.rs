//! The outcome of each event of a claim.

use crate::PostgresStore;
use crate::draft::{Draft, Reach};
use crate::plan::{Again, Dead, Mismatch, Plan};
use crate::sql::Statements;
use crate::steps::{Failures, close, move_to_dead_letters, park, promote, run, uuids};
use outbox_core::{ClaimToken, ErrorKind, EventId, OutboxError, Settlement};
use outbox_driver_postgres::{PgUuid, interval};
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
        let settled = self.settle_draft(SETTLE, token, &draft, settlements).await;
        let lost = |error: &OutboxError| error.kind() == ErrorKind::LeaseLost;
        if settled.as_ref().err().is_none_or(lost) {
            self.claims.remove(token);
        }
        self.renew_lanes(SETTLE).await;
        settled
    }

    /// Settles a claim during `operation`.
    pub(crate) async fn settle_draft(
        &self,
        operation: &'static str,
        token: ClaimToken,
        draft: &Draft,
        settlements: &[Settlement],
    ) -> Result<(), OutboxError> {
        let plan = Plan::new(draft, settlements).map_err(|found| mismatch(&found))?;
        let statements = &*self.statements;
        if plan.is_clean() {
            let query = close_clean(statements, token, &plan.lanes);
            let closed = self.driver.execute(operation, query).await?;
            let closed = usize::try_from(closed).unwrap_or_default();
            return fence(operation, closed, &plan.lanes);
        }
        self.pace.look_again();
        let blocks = self.blocks_keys;
        self.driver
            .transaction(operation, async |connection: &mut PgConnection| {
                let may_be_lost = plan.dead.is_empty();
                let query = close(statements, token, &plan.lanes, may_be_lost);
                let closed = run(connection, operation, query).await?;
                fence(operation, closed, &plan.lanes)?;
                apply(connection, operation, statements, &plan, blocks).await
            })
            .await?;
        warn_of_unreadable(&plan);
        Ok(())
    }
}

async fn apply(
    connection: &mut PgConnection,
    operation: &'static str,
    statements: &Statements,
    plan: &Plan,
    blocks: bool,
) -> Result<(), OutboxError> {
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
    promote(connection, operation, statements, &plan.keys).await
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

fn park_again<'q>(statements: &Statements, again: &[Again]) -> Query<'q, Postgres, PgArguments> {
    let delays = again.iter().map(|again| again.delay.map(interval));
    let attempts = again.iter().map(|again| i64::from(again.attempts));
    sqlx::query(statements.park_again.clone())
        .bind(again.iter().map(|again| again.place).collect::<Vec<_>>())
        .bind(uuids(again.iter().map(|again| again.id)))
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
