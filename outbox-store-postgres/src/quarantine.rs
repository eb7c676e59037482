//! S8: moves events that keep failing into the quarantine.

use crate::PostgresStore;
use crate::plan::Park;
use crate::row;
use crate::sql::Statements;
use crate::steps::{Failures, lock_lanes, move_to_dead_letters, park, promote, run, uuids};
use outbox_core::{DlqEntry, EventId, OutboxError, QuarantineOutcome};
use outbox_driver_postgres::{PgTime, postgres_error};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use std::collections::{BTreeSet, HashMap};

const QUARANTINE: &str = "quarantine_events";

/// The most bytes that one call copies. A single event may be larger.
const COPIED: usize = 64 * 1024 * 1024;

/// An event that is still in the outbox.
struct Found {
    lane: i16,
    /// Its place in the retries, if it waits.
    place: Option<i64>,
    /// Its position in the log, if it was not claimed yet.
    seq: Option<i64>,
    key: Option<String>,
    attempts: u32,
    replayed: bool,
    claimed: bool,
    bytes: usize,
}

/// The events that one call moves.
#[derive(Default)]
struct Moves {
    /// Events of the retries.
    waiting: Vec<Failures>,
    /// Events of the log. They pass through the retries.
    log: Vec<(Park, Failures)>,
    keys: BTreeSet<String>,
    bytes: usize,
}

impl PostgresStore {
    /// Moves as many events as one call can copy; the other entries are busy. Returns an outcome for
    /// each entry, in order.
    pub(crate) async fn quarantine(
        &self,
        entries: &[DlqEntry],
    ) -> Result<Vec<QuarantineOutcome>, OutboxError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        self.take_over_lost_claims(QUARANTINE).await?;
        let statements = self.statements();
        let blocks = self.blocks_keys;
        self.pace.look_again();
        self.driver
            .transaction(QUARANTINE, async |connection: &mut PgConnection| {
                let mut found = find(connection, statements, entries).await?;
                let mut moves = Moves::default();
                let outcomes = entries
                    .iter()
                    .map(|entry| moves.decide(entry, &mut found, blocks))
                    .collect();
                moves.apply(connection, statements, blocks).await?;
                Ok(outcomes)
            })
            .await
    }
}

impl Moves {
    fn decide(
        &mut self,
        entry: &DlqEntry,
        found: &mut HashMap<EventId, Found>,
        blocks: bool,
    ) -> QuarantineOutcome {
        let Some(event) = found.get(&entry.id) else {
            return QuarantineOutcome::Missing;
        };
        // A dead letter blocks its key from its place on, and an event that was never claimed has none.
        if event.claimed || (blocks && event.place.is_none()) {
            return QuarantineOutcome::Busy;
        }
        // D3: a replay resets the failures. If none came after it, the entry counts older ones.
        if event.replayed && event.attempts == 0 {
            return QuarantineOutcome::Missing;
        }
        let bytes = self.bytes.saturating_add(event.bytes);
        if self.bytes > 0 && bytes > COPIED {
            return QuarantineOutcome::Busy;
        }
        self.bytes = bytes;
        let failures = Failures {
            place: event.place.unwrap_or_default(),
            id: entry.id,
            count: entry.failure_count,
            error: entry
                .last_error
                .as_ref()
                .map(|text| text.as_str().to_owned()),
            failed: Some((PgTime(entry.first_failed_at), PgTime(entry.last_failed_at))),
        };
        match event.seq {
            None => self.waiting.push(failures),
            Some(seq) => {
                let park = Park::behind(event.lane, seq, entry.id);
                self.log.push((park, failures));
            }
        }
        self.keys.extend(event.key.clone());
        found.remove(&entry.id);
        QuarantineOutcome::Moved
    }

    async fn apply(
        mut self,
        connection: &mut PgConnection,
        statements: &Statements,
        blocks: bool,
    ) -> Result<(), OutboxError> {
        if !self.log.is_empty() {
            self.take_from_log(connection, statements).await?;
        }
        let events = &self.waiting;
        move_to_dead_letters(connection, QUARANTINE, statements, events, blocks).await?;
        promote(connection, QUARANTINE, statements, &self.keys).await
    }

    /// Moves events that no claim has read from the log to the retries.
    async fn take_from_log(
        &mut self,
        connection: &mut PgConnection,
        statements: &Statements,
    ) -> Result<(), OutboxError> {
        let (rows, events): (Vec<Park>, Vec<Failures>) = self.log.drain(..).unzip();
        let places = park(connection, QUARANTINE, statements, &rows).await?;
        for mut failures in events {
            if let Some(&place) = places.get(&failures.id) {
                failures.place = place;
                self.waiting.push(failures);
            }
        }
        let query = sqlx::query(statements.remove_events.clone())
            .bind(rows.iter().map(|row| row.lane).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.seq).collect::<Vec<_>>());
        run(connection, QUARANTINE, query).await?;
        Ok(())
    }
}

/// Locks the lanes of the entries, then reads their events.
async fn find(
    connection: &mut PgConnection,
    statements: &Statements,
    entries: &[DlqEntry],
) -> Result<HashMap<EventId, Found>, OutboxError> {
    let error = postgres_error(QUARANTINE);
    let ids = uuids(entries.iter().map(|entry| entry.id));
    let lanes: Vec<i16> = sqlx::query_scalar(statements.find_lanes.clone())
        .bind(&ids)
        .fetch_all(&mut *connection)
        .await
        .map_err(&error)?;
    lock_lanes(connection, QUARANTINE, statements, &lanes).await?;
    let rows = sqlx::query(statements.find_entries.clone())
        .bind(&ids)
        .bind(&lanes)
        .fetch_all(connection)
        .await
        .map_err(&error)?;
    let mut found = HashMap::new();
    for row in &rows {
        let (id, event) = found_row(row).map_err(&error)?;
        found.entry(id).or_insert(event);
    }
    Ok(found)
}

fn found_row(row: &PgRow) -> sqlx::Result<(EventId, Found)> {
    let found = Found {
        lane: row.try_get(1)?,
        place: row.try_get(2)?,
        seq: row.try_get(3)?,
        key: row.try_get(4)?,
        attempts: row::count(row.try_get(5)?),
        replayed: row.try_get::<i32, _>(6)? > 0,
        claimed: row.try_get(7)?,
        bytes: usize::try_from(row.try_get::<i64, _>(8)?).unwrap_or_default(),
    };
    Ok((row::id(row, 0)?, found))
}
