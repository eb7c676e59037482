//! The outcome of each event of a claim, in one write transaction.

use crate::row::{Key, count};
use crate::steps::{
    Claimed, Failures, History, KeyState, Wait, claimed, cursor, key_state, move_to_dead_letters,
    remove_event, wait_or_remove,
};
use outbox_core::{ClaimToken, ErrorKind, OutboxError, Outcome, Settlement};
use outbox_driver_sqlite::{interval, sqlite_error};
use rusqlite::{Connection, OptionalExtension};
use std::collections::BTreeMap;
use std::time::Duration;

const SETTLE: &str = "settle";

/// The events of the claim that have one key, by their row numbers.
#[derive(Default)]
struct KeyOutcomes<'a> {
    history: History,
    /// The key belongs to the claim. It does not if a claimed event was given another key by hand.
    claimed: bool,
    outcomes: BTreeMap<i64, &'a Outcome>,
    /// Row numbers of the claim that belong to other events now.
    replaced: Vec<i64>,
}

/// Applies `settlements`. After an error the caller undoes what was written.
pub(crate) fn settle(
    connection: &Connection,
    token: ClaimToken,
    settlements: &[Settlement],
    now: i64,
    blocks: bool,
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
    settle_all(connection, keys, outcomes, now, blocks).map_err(sqlite_error(SETTLE))
}

fn close(connection: &Connection, token: ClaimToken) -> rusqlite::Result<Option<Claimed>> {
    connection
        .prepare_cached(include_str!("sql/close_claim.sql"))?
        .query_row([token.as_uuid().as_bytes()], |row| {
            row.get_ref(0)?.as_blob().map(claimed).map_err(Into::into)
        })
        .optional()
}

/// The settlements with the row numbers of their events. They must name each event of the claim once.
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

/// S13: the row of the claim was deleted by hand. No worker has taken the claim over, as it still has
/// keys. The events of these keys are settled.
fn outcomes_without_claim<'a>(
    connection: &Connection,
    token: ClaimToken,
    settlements: &'a [Settlement],
) -> rusqlite::Result<Vec<(i64, &'a Settlement)>> {
    tracing::warn!(
        "the row of an open claim was deleted by hand; the events that are left are settled"
    );
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
    mut keys: BTreeMap<Key, KeyOutcomes<'a>>,
    outcomes: Vec<(i64, &'a Settlement)>,
    now: i64,
    blocks: bool,
) -> rusqlite::Result<()> {
    for (seq, settlement) in outcomes {
        let found = current_key(connection, seq, settlement)?;
        if let Some((key, true)) = found {
            let of_key = keys.entry(key).or_default();
            of_key.outcomes.insert(seq, &settlement.outcome);
            continue;
        }
        let (id, outcome) = (settlement.id, name(&settlement.outcome));
        tracing::warn!(
            %id, outcome,
            "a claimed event was deleted or replaced by hand; its outcome is ignored"
        );
        if let Some((key, false)) = found {
            keys.entry(key).or_default().replaced.push(seq);
        }
    }
    let position = cursor(connection)?.position;
    for (key, of_key) in keys {
        let wait = settle_key(connection, &of_key, now, blocks)?;
        if of_key.claimed {
            wait_or_remove(connection, &key, position, now, wait)?;
        } else {
            add_to_key(connection, &key, &of_key, wait, now)?;
        }
    }
    Ok(())
}

/// The keys that belong to the claim, before any of their events is settled.
fn claimed_keys<'a>(
    connection: &Connection,
    token: ClaimToken,
) -> rusqlite::Result<BTreeMap<Key, KeyOutcomes<'a>>> {
    connection
        .prepare_cached(include_str!("sql/claimed_keys.sql"))?
        .query_map([token.as_uuid().as_bytes()], |row| {
            let history = History {
                attempts: count(row.get(1)?),
                worker_lost: row.get(2)?,
            };
            let outcomes = KeyOutcomes {
                history,
                claimed: true,
                ..KeyOutcomes::default()
            };
            Ok((row.get(0)?, outcomes))
        })?
        .collect()
}

/// The key of the row that has the number now, and whether it is the event that was claimed.
fn current_key(
    connection: &Connection,
    seq: i64,
    settlement: &Settlement,
) -> rusqlite::Result<Option<(Key, bool)>> {
    connection
        .prepare_cached(include_str!("sql/current_key.sql"))?
        .query_row((seq, settlement.id.as_uuid().as_bytes()), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()
}

/// S13: claimed events were given the key `key` by hand. It waits for those that remain. If the key is
/// claimed itself, its settlement makes it wait.
fn add_to_key(
    connection: &Connection,
    key: &Key,
    moved: &KeyOutcomes<'_>,
    wait: Option<Wait>,
    now: i64,
) -> rusqlite::Result<()> {
    let own = match key_state(connection, key)? {
        Some(KeyState::Claimed) => return Ok(()),
        Some(KeyState::Waits(own)) => Some(own),
        None => None,
    };
    // The key may have waited for one of these events.
    let own = own.filter(|own| {
        !moved.outcomes.contains_key(&own.first) && !moved.replaced.contains(&own.first)
    });
    let first = [own, wait]
        .into_iter()
        .flatten()
        .min_by_key(|wait| wait.first);
    let position = cursor(connection)?.position;
    wait_or_remove(connection, key, position, now, first)
}

/// Applies the outcomes of a key in the order of its events, and returns how its first remaining event
/// waits. Once an event has left, the next one has no attempts.
fn settle_key(
    connection: &Connection,
    of_key: &KeyOutcomes<'_>,
    now: i64,
    blocks: bool,
) -> rusqlite::Result<Option<Wait>> {
    let mut history = of_key.history;
    let mut remaining = None;
    for (&seq, outcome) in &of_key.outcomes {
        match outcome {
            Outcome::Published => {
                remove_event(connection, seq)?;
            }
            Outcome::Dead { reason } => {
                let attempts = if remaining.is_none() {
                    history.attempts
                } else {
                    0
                };
                let failures = Failures {
                    count: attempts.saturating_add(1),
                    error: Some(reason),
                    first_at: now,
                    last_at: now,
                    blocks,
                };
                move_to_dead_letters(connection, seq, &failures, now)?;
            }
            _ => {
                remaining.get_or_insert(Wait {
                    first: seq,
                    due_at: waits_until(outcome, now),
                    history: after(outcome, history),
                });
            }
        }
        if remaining.is_none() {
            history = History::default();
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

/// A retry counts as an attempt, and clears the mark of a lost worker. A release changes nothing.
fn after(outcome: &Outcome, history: History) -> History {
    match outcome {
        Outcome::Retry { .. } => History {
            attempts: history.attempts.saturating_add(1),
            worker_lost: false,
        },
        _ => history,
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

fn later(now: i64, delay: Duration) -> i64 {
    now.saturating_add(interval(delay))
}

fn invalid(
    what: &'static str,
    value: impl std::fmt::Display,
    allowed: impl std::fmt::Display,
) -> OutboxError {
    let problem = format!("{what} is {value}, but must be {allowed}");
    OutboxError::invalid("sqlite", SETTLE, problem)
}
