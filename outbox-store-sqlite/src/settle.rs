//! The outcome of each event of a claim, in one write transaction.

use crate::keys::{Failures, Head, Result as Step, cursor, move_to_letters, park_or_free};
use crate::row::{Key, count};
use outbox_core::{ClaimToken, ErrorKind, OutboxError, Outcome, Settlement};
use outbox_driver_sqlite::sqlite_error;
use rusqlite::{Connection, OptionalExtension};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

const SETTLE: &str = "settle";

/// The claim's events of one key, by their place in the log.
struct Run<'a> {
    head: Head,
    outcomes: BTreeMap<i64, &'a Outcome>,
}

/// Applies `settlements`. The caller undoes what was written if this is an error.
pub(crate) fn settle(
    connection: &Connection,
    token: ClaimToken,
    settlements: &[Settlement],
    now: i64,
    holds: bool,
) -> Result<(), OutboxError> {
    let size = close(connection, token).map_err(sqlite_error(SETTLE))?;
    let Some(size) = size else {
        return Err(OutboxError::new(ErrorKind::LeaseLost, "sqlite", SETTLE));
    };
    let keys = runs(connection, token, settlements)?;
    if i64::try_from(settlements.len()) != Ok(size) {
        let allowed = format!("exactly the {size} events of the claim");
        let given = settlements.len();
        return Err(invalid("number of settlements", given, allowed));
    }
    let position = cursor(connection).map_err(sqlite_error(SETTLE))?.position;
    for (key, run) in keys {
        let (due_at, head) =
            settle_run(connection, &run, now, holds).map_err(sqlite_error(SETTLE))?;
        park_or_free(connection, &key, position, due_at, head).map_err(sqlite_error(SETTLE))?;
    }
    Ok(())
}

fn close(connection: &Connection, token: ClaimToken) -> Step<Option<i64>> {
    connection
        .prepare_cached(include_str!("sql/close_claim.sql"))?
        .query_row([token.as_uuid().as_bytes()], |row| row.get(0))
        .optional()
}

/// The settlements by key; each must be an event of the claim, once.
fn runs<'a>(
    connection: &Connection,
    token: ClaimToken,
    settlements: &'a [Settlement],
) -> Result<BTreeMap<Key, Run<'a>>, OutboxError> {
    let mut keys: BTreeMap<Key, Run<'a>> = BTreeMap::new();
    let mut seen = HashSet::new();
    let mut statement = connection
        .prepare_cached(include_str!("sql/claimed_event.sql"))
        .map_err(sqlite_error(SETTLE))?;
    for settlement in settlements {
        let ids = (
            settlement.id.as_uuid().as_bytes(),
            token.as_uuid().as_bytes(),
        );
        let found = statement
            .query_row(ids, |row| {
                let head = Head {
                    attempts: count(row.get(2)?),
                    worker_lost: row.get(3)?,
                };
                Ok((row.get::<_, i64>(0)?, row.get::<_, Key>(1)?, head))
            })
            .optional()
            .map_err(sqlite_error(SETTLE))?;
        let allowed = "an event of the claim, named once";
        let (seq, key, head) = found
            .filter(|(seq, ..)| seen.insert(*seq))
            .ok_or_else(|| invalid("event", settlement.id, allowed))?;
        let run = keys.entry(key).or_insert_with(|| Run {
            head,
            outcomes: BTreeMap::new(),
        });
        run.outcomes.insert(seq, &settlement.outcome);
    }
    Ok(keys)
}

/// Applies the outcomes of a key in its order. Returns what the key's first remaining event asks:
/// when it is due, and its failed attempts. Once an event has left, the next begins anew.
fn settle_run(connection: &Connection, run: &Run<'_>, now: i64, holds: bool) -> Step<(i64, Head)> {
    let mut head = run.head;
    let mut first_remaining = None;
    for (&seq, outcome) in &run.outcomes {
        let attempts = if first_remaining.is_none() {
            head.attempts
        } else {
            0
        };
        match outcome {
            Outcome::Published => {
                crate::keys::run(connection, include_str!("sql/remove_event.sql"), [seq])?;
            }
            Outcome::Dead { reason } => {
                let failures = Failures {
                    count: attempts.saturating_add(1),
                    error: Some(reason),
                    first_at: now,
                    last_at: now,
                    holds,
                };
                move_to_letters(connection, seq, &failures, now)?;
            }
            _ => {
                first_remaining.get_or_insert((waits_until(outcome, now), after(outcome, head)));
            }
        }
        if first_remaining.is_none() {
            head = Head::default();
        }
    }
    Ok(first_remaining.unwrap_or((now, Head::default())))
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

/// `delay` after `now`; saturates.
pub(crate) fn later(now: i64, delay: Duration) -> i64 {
    now.saturating_add(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX))
}

fn invalid(
    what: &'static str,
    value: impl std::fmt::Display,
    allowed: impl std::fmt::Display,
) -> OutboxError {
    OutboxError::invalid("sqlite", SETTLE, what, value, allowed)
}
