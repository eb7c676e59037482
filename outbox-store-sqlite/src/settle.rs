//! The outcome of each event of a claim, in one write transaction.

use crate::claims::{self, Claimed, FreshKeys, OpenClaim, claim_key, event_bytes};
use crate::refusal::delete;
use crate::row::{Key, count};
use crate::steps::{
    Failures, History, KeyState, Wait, add_waiting, cursor, key_state, move_to_dead_letters, run,
    wait_or_remove,
};
use outbox_core::{ClaimToken, ErrorKind, EventId, OutboxError, Outcome, Settlement};
use outbox_driver_sqlite::{interval, sqlite_error};
use rusqlite::{Connection, Error};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const SETTLE: &str = "settle";

/// One call. It runs in the transaction of its caller, who undoes it after an error.
pub(crate) struct Settle<'c> {
    pub(crate) connection: &'c Connection,
    pub(crate) token: ClaimToken,
    pub(crate) now: i64,
    /// S9: dead letters block their keys.
    pub(crate) blocks: bool,
}

/// The settlements, by the row numbers of their events.
type Outcomes<'a> = BTreeMap<i64, &'a Settlement>;

/// The outcomes of the events of each key.
type Keys<'a> = BTreeMap<Key, KeyOutcomes<'a>>;

#[derive(Default)]
struct KeyOutcomes<'a> {
    history: History,
    /// The key belongs to the claim. It does not if a claimed event was given another key by hand.
    claimed: bool,
    outcomes: BTreeMap<i64, &'a Outcome>,
    /// Row numbers of the claim that belong to other events now.
    replaced: Vec<i64>,
}

impl KeyOutcomes<'_> {
    /// The events that wait from now on.
    fn waiting(&self) -> impl Iterator<Item = i64> {
        let leaves = |outcome: &Outcome| {
            matches!(
                outcome,
                Outcome::Published | Outcome::Dead { .. } | Outcome::Kept
            )
        };
        let stay = self.outcomes.iter().filter(move |(_, one)| !leaves(one));
        stay.map(|(&seq, _)| seq)
            .chain(self.replaced.iter().copied())
    }
}

/// A row of the log.
struct Current {
    id: Uuid,
    key: Key,
    /// Whether its key has a row in `outbox_keys`.
    has_row: bool,
}

/// What remains of the events of a key.
#[derive(Default)]
struct Rest {
    /// How the first one waits.
    wait: Option<Wait>,
    /// S22: the last one that stays in the claim, if the first one does.
    kept: Option<i64>,
}

impl Settle<'_> {
    pub(crate) fn run(&self, settlements: &[Settlement]) -> Result<(), OutboxError> {
        let claim = claims::find(self.connection, self.token).map_err(sqlite_error(SETTLE))?;
        let Some(OpenClaim { events, keys }) = claim else {
            return Err(OutboxError::new(ErrorKind::LeaseLost, "sqlite", SETTLE));
        };
        let outcomes = outcomes(events, settlements)?;
        self.apply(&outcomes, &keys).map_err(sqlite_error(SETTLE))
    }

    fn apply(&self, outcomes: &Outcomes<'_>, fresh: &FreshKeys) -> rusqlite::Result<()> {
        let mut keys = self.keys_with_row()?;
        let published = self.sort(outcomes, fresh, &mut keys)?;
        for (first, last) in runs(&published) {
            self.remove(first, last)?;
        }
        self.settle_keys(keys)?;
        self.close(outcomes)
    }

    /// The keys of the claim that have a row, before any of their events is settled.
    fn keys_with_row<'a>(&self) -> rusqlite::Result<Keys<'a>> {
        self.connection
            .prepare_cached(include_str!("sql/claimed_keys.sql"))?
            .query_map([self.token.as_uuid().as_bytes()], |row| {
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

    /// Adds each outcome to the key that its event has now, and returns the published events. They are only
    /// removed if their key has no row, as no other event waits for them then.
    fn sort<'a>(
        &self,
        outcomes: &Outcomes<'a>,
        fresh: &FreshKeys,
        keys: &mut Keys<'a>,
    ) -> rusqlite::Result<Vec<i64>> {
        let mut published = Vec::new();
        let mut current = self.current(outcomes)?;
        for (&seq, settlement) in outcomes {
            let Some(Current { id, key, has_row }) = current.remove(&seq) else {
                warn_of(settlement);
                continue;
            };
            let is_same = id == *settlement.id.as_uuid();
            let is_published = matches!(settlement.outcome, Outcome::Published);
            if is_same && is_published {
                published.push(seq);
                if !has_row {
                    continue;
                }
            }
            let claimed = fresh.contains_key(&key) || key == Key::Event(*settlement.id.as_uuid());
            let new = || KeyOutcomes {
                claimed,
                ..KeyOutcomes::default()
            };
            let of_key = keys.entry(key).or_insert_with(new);
            if is_same {
                of_key.outcomes.insert(seq, &settlement.outcome);
            } else {
                warn_of(settlement);
                of_key.replaced.push(seq);
            }
        }
        Ok(published)
    }

    /// The rows of the claim as they are now.
    fn current(&self, outcomes: &Outcomes<'_>) -> rusqlite::Result<HashMap<i64, Current>> {
        let sql = include_str!("sql/settled_events.sql");
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut current = HashMap::with_capacity(outcomes.len());
        let seqs: Vec<i64> = outcomes.keys().copied().collect();
        for run in runs(&seqs) {
            let mut rows = statement.query(run)?;
            while let Some(row) = rows.next()? {
                let row_now = Current {
                    id: Uuid::from_bytes(row.get(1)?),
                    key: row.get(2)?,
                    has_row: row.get(3)?,
                };
                current.insert(row.get(0)?, row_now);
            }
        }
        Ok(current)
    }

    fn remove(&self, first: i64, last: i64) -> rusqlite::Result<()> {
        delete(self.connection, "outbox_events", || {
            let sql = include_str!("sql/remove_events.sql");
            let removed = run(self.connection, sql, (first, last))?;
            if i64::try_from(removed) == Ok(last - first + 1) {
                Ok(())
            } else {
                Err(Error::QueryReturnedNoRows)
            }
        })
    }

    fn settle_keys(&self, keys: Keys<'_>) -> rusqlite::Result<()> {
        let position = cursor(self.connection)?.position;
        for (key, of_key) in keys {
            let Rest { wait, kept } = self.settle_key(&of_key)?;
            for seq in of_key.waiting() {
                add_waiting(self.connection, &key, seq)?;
            }
            if !of_key.claimed {
                self.add_to_key(&key, &of_key, position, wait)?;
            } else if let Some(kept) = kept {
                let history = wait.map(|wait| wait.history).unwrap_or_default();
                claim_key(self.connection, self.token, &key, kept, self.now, history)?;
            } else {
                wait_or_remove(self.connection, &key, position, self.now, wait)?;
            }
        }
        Ok(())
    }

    /// Ends the claim, or leaves it the events that are kept.
    fn close(&self, outcomes: &Outcomes<'_>) -> rusqlite::Result<()> {
        let is_kept = |one: &&Settlement| matches!(one.outcome, Outcome::Kept);
        let kept = outcomes.iter().filter(|(_, one)| is_kept(one));
        let kept = event_bytes(kept.map(|(&seq, one)| (*one.id.as_uuid(), seq)));
        let token = self.token.as_uuid().as_bytes();
        if kept.is_empty() {
            run(
                self.connection,
                include_str!("sql/close_claim.sql"),
                [token],
            )?;
        } else {
            let sql = include_str!("sql/keep_events.sql");
            run(self.connection, sql, (token, kept))?;
        }
        Ok(())
    }

    /// S13: claimed events were given the key `key` by hand. It waits for those that remain. If the key is
    /// claimed itself, its settlement makes it wait.
    fn add_to_key(
        &self,
        key: &Key,
        moved: &KeyOutcomes<'_>,
        position: i64,
        wait: Option<Wait>,
    ) -> rusqlite::Result<()> {
        let own = match key_state(self.connection, key)? {
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
        wait_or_remove(self.connection, key, position, self.now, first)
    }

    /// Applies the outcomes of a key in the order of its events. Once an event has left, the next one has no
    /// attempts. Those that are published are removed already.
    fn settle_key(&self, of_key: &KeyOutcomes<'_>) -> rusqlite::Result<Rest> {
        let mut history = of_key.history;
        let mut rest = Rest::default();
        for (&seq, outcome) in &of_key.outcomes {
            match outcome {
                Outcome::Published => {}
                Outcome::Dead { reason } => {
                    let attempts = if rest.wait.is_none() {
                        history.attempts
                    } else {
                        0
                    };
                    let failures = Failures {
                        count: attempts.saturating_add(1),
                        error: Some(reason),
                        first_at: self.now,
                        last_at: self.now,
                        blocks: self.blocks,
                    };
                    move_to_dead_letters(self.connection, seq, &failures, self.now)?;
                }
                _ => {
                    // An earlier event that waits delays the kept ones, not the other way round.
                    let is_behind = rest.wait.is_some() && rest.kept.is_none();
                    if matches!(outcome, Outcome::Kept) && !is_behind {
                        rest.kept = Some(seq);
                    }
                    rest.wait
                        .get_or_insert_with(|| wait(seq, outcome, history, self.now));
                }
            }
            if rest.wait.is_none() {
                history = History::default();
            }
        }
        Ok(rest)
    }
}

/// The settlements must name each event of the claim once.
fn outcomes(mut claim: Claimed, settlements: &[Settlement]) -> Result<Outcomes<'_>, OutboxError> {
    let size = claim.len();
    let mut outcomes = Outcomes::new();
    for settlement in settlements {
        let allowed = "an event of the claim, named once";
        let seq = claim
            .remove(settlement.id.as_uuid())
            .ok_or_else(|| invalid("event", settlement.id, allowed))?;
        settlement.outcome.validate("sqlite")?;
        outcomes.insert(seq, settlement);
    }
    if !claim.is_empty() {
        let allowed = format!("exactly the {size} events of the claim");
        return Err(invalid("number of settlements", settlements.len(), allowed));
    }
    Ok(outcomes)
}

/// The runs of numbers without a gap: the first and the last of each.
fn runs(sorted: &[i64]) -> impl Iterator<Item = (i64, i64)> {
    let runs = sorted.chunk_by(|one, next| one.checked_add(1) == Some(*next));
    runs.filter_map(|run| Some((*run.first()?, *run.last()?)))
}

fn warn_of(settlement: &Settlement) {
    let (id, outcome): (EventId, _) = (settlement.id, name(&settlement.outcome));
    tracing::warn!(
        %id, outcome,
        "a claimed event was deleted or replaced by hand; its outcome is ignored"
    );
}

/// How the first remaining event of a key waits.
fn wait(first: i64, outcome: &Outcome, history: History, now: i64) -> Wait {
    let (delay, destination) = match outcome {
        Outcome::Retry { delay, .. } | Outcome::Released { delay } => (*delay, None),
        Outcome::Held { delay, destination } => (*delay, Some(Arc::clone(destination))),
        _ => (Duration::ZERO, None),
    };
    let error = match outcome {
        Outcome::Retry { error, .. } => Some(error.clone()),
        _ => None,
    };
    Wait {
        first,
        due_at: now.saturating_add(interval(delay)),
        history: after(outcome, history),
        destination,
        error,
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
        Outcome::Held { .. } => "held",
        Outcome::Kept => "kept",
        _ => "unknown",
    }
}

fn invalid(
    what: &'static str,
    value: impl std::fmt::Display,
    allowed: impl std::fmt::Display,
) -> OutboxError {
    let problem = format!("{what} is {value}, but must be {allowed}");
    OutboxError::invalid("sqlite", SETTLE, problem)
}
