//! The outcome of each event of a claim, in one write transaction.

use crate::keys::{
    Claimed, Failures, Head, Result as Step, State, Wait, claimed, cursor, move_to_dead_letters,
    park_or_free, state,
};
use crate::row::{Key, count};
use outbox_core::{ClaimToken, ErrorKind, OutboxError, Outcome, Settlement};
use outbox_driver_sqlite::sqlite_error;
use rusqlite::{Connection, OptionalExtension};
use std::collections::BTreeMap;
use std::time::Duration;

const SETTLE: &str = "settle";

/// The claim's events of one key, by their place in the log.
#[derive(Default)]
struct Run<'a> {
    head: Head,
    /// The key belongs to the claim. Somebody may have given an event another key since.
    claimed: bool,
    outcomes: BTreeMap<i64, &'a Outcome>,
    /// Rows in the place of events of the claim, which have another id.
    replaced: Vec<i64>,
}

/// Applies `settlements`. The caller undoes what was written if this is an error.
pub(crate) fn settle(
    connection: &Connection,
    token: ClaimToken,
    settlements: &[Settlement],
    now: i64,
    holds: bool,
) -> Result<(), OutboxError> {
    let keys = claimed_keys(connection, token).map_err(sqlite_error(SETTLE))?;
    let outcomes = match close(connection, token).map_err(sqlite_error(SETTLE))? {
        Some(claim) => outcomes(claim, settlements)?,
        None if keys.is_empty() => {
            return Err(OutboxError::new(ErrorKind::LeaseLost, "sqlite", SETTLE));
        }
        None => {
            outcomes_without_claim(connection, token, settlements).map_err(sqlite_error(SETTLE))?
        }
    };
    settle_all(connection, keys, outcomes, now, holds).map_err(sqlite_error(SETTLE))
}

fn close(connection: &Connection, token: ClaimToken) -> Step<Option<Claimed>> {
    connection
        .prepare_cached(include_str!("sql/close_claim.sql"))?
        .query_row([token.as_uuid().as_bytes()], |row| {
            row.get_ref(0)?.as_blob().map(claimed).map_err(Into::into)
        })
        .optional()
}

/// The settlements with the places of their events; each must be an event of the claim, once.
fn outcomes(
    mut claim: Claimed,
    settlements: &[Settlement],
) -> Result<Vec<(i64, &Settlement)>, OutboxError> {
    let size = claim.len();
    let mut outcomes = Vec::with_capacity(size);
    for settlement in settlements {
        let allowed = "an event of the claim, named once";
        let seq = claim
            .remove(settlement.id.as_uuid())
            .ok_or_else(|| invalid("event", settlement.id, allowed))?;
        outcomes.push((seq, settlement));
    }
    if !claim.is_empty() {
        let allowed = format!("exactly the {size} events of the claim");
        return Err(invalid("number of settlements", settlements.len(), allowed));
    }
    Ok(outcomes)
}

/// Somebody deleted the row of the claim. Nobody took it over, as keys belong to it still; their
/// events are settled.
fn outcomes_without_claim<'a>(
    connection: &Connection,
    token: ClaimToken,
    settlements: &'a [Settlement],
) -> Step<Vec<(i64, &'a Settlement)>> {
    tracing::warn!("the row of a claim was removed while it was open; what is there is settled");
    let token = token.as_uuid().as_bytes();
    let mut statement = connection.prepare_cached(include_str!("sql/claimed_event.sql"))?;
    let mut outcomes = Vec::new();
    for settlement in settlements {
        let id = settlement.id.as_uuid().as_bytes();
        let seq = statement.query_row((id, token), |row| row.get(0));
        outcomes.extend(seq.optional()?.map(|seq| (seq, settlement)));
    }
    Ok(outcomes)
}

fn settle_all<'a>(
    connection: &Connection,
    mut keys: BTreeMap<Key, Run<'a>>,
    outcomes: Vec<(i64, &'a Settlement)>,
    now: i64,
    holds: bool,
) -> Step<()> {
    for (seq, settlement) in outcomes {
        let found = key_now(connection, seq, settlement)?;
        if let Some((key, true)) = found {
            let run = keys.entry(key).or_default();
            run.outcomes.insert(seq, &settlement.outcome);
            continue;
        }
        let (id, outcome) = (settlement.id, name(&settlement.outcome));
        tracing::warn!(
            %id, outcome,
            "an event was removed or replaced while it was claimed; its outcome is dropped"
        );
        if let Some((key, false)) = found {
            keys.entry(key).or_default().replaced.push(seq);
        }
    }
    let position = cursor(connection)?.position;
    for (key, run) in keys {
        let wait = settle_run(connection, &run, now, holds)?;
        if run.claimed {
            park_or_free(connection, &key, position, now, wait)?;
        } else {
            lead_to(connection, &key, &run, wait, now)?;
        }
    }
    Ok(())
}

/// The keys that belong to the claim, none of whose events is settled yet.
fn claimed_keys<'a>(connection: &Connection, token: ClaimToken) -> Step<BTreeMap<Key, Run<'a>>> {
    connection
        .prepare_cached(include_str!("sql/claimed_keys.sql"))?
        .query_map([token.as_uuid().as_bytes()], |row| {
            let head = Head {
                attempts: count(row.get(1)?),
                worker_lost: row.get(2)?,
            };
            let run = Run {
                head,
                claimed: true,
                ..Run::default()
            };
            Ok((row.get(0)?, run))
        })?
        .collect()
}

/// The key of the row in the place of an event, and whether it is that event.
fn key_now(
    connection: &Connection,
    seq: i64,
    settlement: &Settlement,
) -> Step<Option<(Key, bool)>> {
    connection
        .prepare_cached(include_str!("sql/key_now.sql"))?
        .query_row((seq, settlement.id.as_uuid().as_bytes()), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()
}

/// Somebody gave events the key `key` while they were claimed: it leads to what remains of them. If
/// it is claimed itself, its own settlement does.
fn lead_to(
    connection: &Connection,
    key: &Key,
    moved: &Run<'_>,
    wait: Option<Wait>,
    now: i64,
) -> Step<()> {
    let own = match state(connection, key)? {
        Some(State::Claimed) => return Ok(()),
        Some(State::Waits(own)) => Some(own),
        None => None,
    };
    // It may have waited for the moved event until now.
    let own = own.filter(|own| {
        !moved.outcomes.contains_key(&own.first) && !moved.replaced.contains(&own.first)
    });
    let first = [own, wait]
        .into_iter()
        .flatten()
        .min_by_key(|wait| wait.first);
    let position = cursor(connection)?.position;
    park_or_free(connection, key, position, now, first)
}

/// Applies the outcomes of a key in its order. Returns how its first remaining event waits. Once an
/// event has left, the next begins with no attempts.
fn settle_run(connection: &Connection, run: &Run<'_>, now: i64, holds: bool) -> Step<Option<Wait>> {
    let mut head = run.head;
    let mut remaining = None;
    for (&seq, outcome) in &run.outcomes {
        match outcome {
            Outcome::Published => {
                crate::keys::run(connection, include_str!("sql/remove_event.sql"), [seq])?;
            }
            Outcome::Dead { reason } => {
                let attempts = if remaining.is_none() {
                    head.attempts
                } else {
                    0
                };
                let failures = Failures {
                    count: attempts.saturating_add(1),
                    error: Some(reason),
                    first_at: now,
                    last_at: now,
                    holds,
                };
                move_to_dead_letters(connection, seq, &failures, now)?;
            }
            _ => {
                remaining.get_or_insert(Wait {
                    first: seq,
                    due_at: waits_until(outcome, now),
                    head: after(outcome, head),
                });
            }
        }
        if remaining.is_none() {
            head = Head::default();
        }
    }
    Ok(remaining)
}

fn waits_until(outcome: &Outcome, now: i64) -> i64 {
    match outcome {
        Outcome::Retry { delay, .. } | Outcome::Released { delay } => later(now, *delay),
        _ => now,
    }
}

/// A failed attempt is charged, and so settles the loss of a worker too. A release changes nothing.
fn after(outcome: &Outcome, head: Head) -> Head {
    match outcome {
        Outcome::Retry { .. } => Head {
            attempts: head.attempts.saturating_add(1),
            worker_lost: false,
        },
        _ => head,
    }
}

fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Published => "published",
        Outcome::Retry { .. } => "retry",
        Outcome::Dead { .. } => "dead",
        Outcome::Released { .. } => "released",
        _ => "unknown",
    }
}

/// `delay` after `now`; saturates.
fn later(now: i64, delay: Duration) -> i64 {
    now.saturating_add(micros_of(delay))
}

/// A length in microseconds; saturates.
pub(crate) fn micros_of(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}

fn invalid(
    what: &'static str,
    value: impl std::fmt::Display,
    allowed: impl std::fmt::Display,
) -> OutboxError {
    let problem = format!("{what} is {value}, but must be {allowed}");
    OutboxError::invalid("sqlite", SETTLE, problem)
}
