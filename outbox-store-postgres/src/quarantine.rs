//! Events that keep failing, into the quarantine.

use crate::PostgresStore;
use crate::plan::Park;
use crate::row;
use crate::settle::{Burial, bury, lock_lanes, park, promote, run};
use crate::sql::Statements;
use outbox_core::{DlqEntry, EventId, OutboxError, QuarantineOutcome};
use outbox_driver_postgres::{PgTime, PgUuid, postgres_error};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use std::collections::{BTreeSet, HashMap};

const QUARANTINE: &str = "quarantine_events";

/// Bytes that one call copies at most, if they are of several events.
const COPIED: usize = 64 * 1024 * 1024;

/// An event that is still in the outbox.
struct Found {
    lane: i16,
    /// Its place, if it waits.
    place: Option<i64>,
    /// Its position in the log, if it was not claimed yet.
    seq: Option<i64>,
    key: Option<String>,
    attempts: u32,
    replayed: bool,
    claimed: bool,
    bytes: usize,
}

/// What is moved.
#[derive(Default)]
struct Moves {
    burials: Vec<Burial>,
    /// Events of the log, with the entry that buries them.
    log: Vec<(EventId, Park, Burial)>,
    keys: BTreeSet<String>,
    bytes: usize,
}

impl PostgresStore {
    /// Moves what may be moved, and not more than a call can copy: the other entries are busy. Answers
    /// for each entry, in order.
    pub(crate) async fn quarantine(
        &self,
        entries: &[DlqEntry],
    ) -> Result<Vec<QuarantineOutcome>, OutboxError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        while self.take_back_lost_claim().await? {}
        let statements = &*self.statements;
        let holds = self.holds_keys;
        self.memory.look_again();
        self.driver
            .transaction(QUARANTINE, async |connection: &mut PgConnection| {
                let mut found = find(connection, statements, entries).await?;
                let mut moves = Moves::default();
                let outcomes = entries
                    .iter()
                    .map(|entry| moves.decide(entry, &mut found, holds))
                    .collect();
                moves.apply(connection, statements, holds).await?;
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
        holds: bool,
    ) -> QuarantineOutcome {
        let Some(event) = found.get(&entry.id) else {
            return QuarantineOutcome::Missing;
        };
        // A dead letter blocks its key from its position; an event that was never claimed has none.
        if event.claimed || (holds && event.place.is_none()) {
            return QuarantineOutcome::Busy;
        }
        // D3: a replayed event begins anew. Without a failed attempt of this life the entry tells of
        // the earlier one.
        if event.replayed && event.attempts == 0 {
            return QuarantineOutcome::Missing;
        }
        let bytes = self.bytes.saturating_add(event.bytes);
        if self.bytes > 0 && bytes > COPIED {
            return QuarantineOutcome::Busy;
        }
        self.bytes = bytes;
        let burial = Burial {
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
            None => self.burials.push(burial),
            Some(seq) => {
                let park = Park::behind(event.lane, seq, entry.id);
                self.log.push((entry.id, park, burial));
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
        holds: bool,
    ) -> Result<(), OutboxError> {
        if !self.log.is_empty() {
            self.take_up(connection, statements).await?;
        }
        bury(connection, QUARANTINE, statements, &self.burials, holds).await?;
        promote(connection, QUARANTINE, statements, &self.keys).await
    }

    /// Takes events out of the log that no claim has read.
    async fn take_up(
        &mut self,
        connection: &mut PgConnection,
        statements: &Statements,
    ) -> Result<(), OutboxError> {
        let mut rows = Vec::new();
        let mut ours = Vec::new();
        for (id, row, burial) in self.log.drain(..) {
            rows.push(row);
            ours.push((id, burial));
        }
        let places = park(connection, QUARANTINE, statements, &rows).await?;
        for (id, mut burial) in ours {
            if let Some(&place) = places.get(&id) {
                burial.place = place;
                self.burials.push(burial);
            }
        }
        let query = sqlx::query(statements.remove_events.clone())
            .bind(rows.iter().map(|row| row.lane).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.seq).collect::<Vec<_>>());
        run(connection, QUARANTINE, query).await?;
        Ok(())
    }
}

/// Locks the lanes of the entries, then reads what is there.
async fn find(
    connection: &mut PgConnection,
    statements: &Statements,
    entries: &[DlqEntry],
) -> Result<HashMap<EventId, Found>, OutboxError> {
    let error = postgres_error(QUARANTINE);
    let ids: Vec<PgUuid> = entries
        .iter()
        .map(|entry| PgUuid(*entry.id.as_uuid()))
        .collect();
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
