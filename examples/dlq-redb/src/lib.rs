//! An example: a `DlqHeap` in a file of [redb].
//!
//! `docs/adding-a-backend.md` builds it step by step. Each method is one write transaction, which is applied
//! whole or not at all. redb runs write transactions one after another, so concurrent calls cannot mix.
//!
//! [redb]: https://www.redb.org

use async_trait::async_trait;
use outbox_core::{
    Clock, DlqEntry, DlqHeap, ErrorKind, ErrorText, EventId, FailedAttempt, HeapSize, OutboxError,
};
pub use redb;
use redb::{Database, ReadableTable, ReadableTableMetadata, Table, TableDefinition};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// Count, first and last failure, end of the lease (0: none), turn, latest error. Times are
/// microseconds since 1970.
type Row = (u32, u64, u64, u64, u64, Option<String>);

const ENTRIES: TableDefinition<'_, u128, Row> = TableDefinition::new("entries");
/// Orders the leases: an entry gets a number at its first failure, and a new one at each lease.
const TURNS: TableDefinition<'_, u64, u128> = TableDefinition::new("turns");

/// A [`DlqHeap`] in a file. Clones share the file; no other process can open it at the same time.
#[derive(Clone, Debug)]
pub struct RedbDlqHeap {
    database: Arc<Database>,
    clock: Clock,
}

impl RedbDlqHeap {
    /// Opens the file, or creates it.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) if the file cannot be opened, for example because it is
    /// open already. [`Corrupt`](ErrorKind::Corrupt) if it is not a file of redb.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OutboxError> {
        let database = Database::create(path).map_err(|error| failed("open", error.into()))?;
        Ok(Self {
            database: Arc::new(database),
            clock: Clock::system(),
        })
    }

    /// Replaces the clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Adds an entry from another heap or from a test. Replaces the entry with the same id.
    ///
    /// # Errors
    ///
    /// Those of the file.
    pub async fn restore(&self, entry: DlqEntry) -> Result<(), OutboxError> {
        self.write("restore", move |tables, _| {
            let id = number(entry.id);
            tables.remove(id)?;
            let error = entry.last_error.map(|text| text.as_str().to_owned());
            let (first, last) = (entry.first_failed_at, entry.last_failed_at);
            let turn = tables.turn(id)?;
            let row = (
                entry.failure_count,
                micros(first),
                micros(last),
                0,
                turn,
                error,
            );
            tables.entries.insert(id, row)?;
            Ok(())
        })
        .await
    }

    /// Runs `work` in one write transaction, on a blocking thread because it waits for the disk. If the
    /// future of the caller is dropped, the transaction still ends: it is applied whole or not at all.
    async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut Tables<'_>, u64) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, OutboxError> {
        let heap = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let transaction = heap.database.begin_write()?;
            let now = micros(heap.clock.now());
            let mut tables = Tables {
                entries: transaction.open_table(ENTRIES)?,
                turns: transaction.open_table(TURNS)?,
            };
            let value = work(&mut tables, now)?;
            drop(tables);
            transaction.commit()?;
            Ok(value)
        });
        match done.await {
            Ok(result) => result.map_err(|error| failed(operation, error)),
            Err(lost) => {
                let error = OutboxError::new(ErrorKind::Unavailable, "redb", operation);
                Err(error.with_source(lost))
            }
        }
    }
}

#[async_trait]
impl DlqHeap for RedbDlqHeap {
    async fn record_failure(&self, id: EventId) -> Result<(), OutboxError> {
        self.record_failures(&[FailedAttempt::new(id)]).await
    }

    async fn record_success(&self, id: EventId) -> Result<(), OutboxError> {
        self.forget(&[id]).await
    }

    async fn drain_exceeded(&self, threshold: u32) -> Result<Vec<DlqEntry>, OutboxError> {
        self.write("drain_exceeded", move |tables, now| {
            let mut drained = Vec::new();
            for id in tables.exceeded(threshold, usize::MAX, now)? {
                drained.extend(tables.get(id)?.map(|row| entry(id, &row)));
                tables.remove(id)?;
            }
            Ok(drained)
        })
        .await
    }

    async fn record_failures(&self, failures: &[FailedAttempt]) -> Result<(), OutboxError> {
        let failures = failures.to_vec();
        self.write("record_failures", move |tables, now| {
            failures
                .iter()
                .try_for_each(|failure| tables.record(failure, now))
        })
        .await
    }

    async fn forget(&self, ids: &[EventId]) -> Result<(), OutboxError> {
        let ids = ids.to_vec();
        self.write("forget", move |tables, _| {
            ids.iter().try_for_each(|id| tables.remove(number(*id)))
        })
        .await
    }

    async fn lease_exceeded(
        &self,
        threshold: u32,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<DlqEntry>, OutboxError> {
        let lease = u64::try_from(lease.as_micros()).unwrap_or(u64::MAX);
        self.write("lease_exceeded", move |tables, now| {
            let mut leased = Vec::new();
            for id in tables.exceeded(threshold, limit, now)? {
                leased.extend(tables.lease(id, now.saturating_add(lease))?);
            }
            Ok(leased)
        })
        .await
    }

    async fn size(&self) -> Result<Option<HeapSize>, OutboxError> {
        self.write("size", |tables, _| {
            let mut oldest = None;
            for row in tables.entries.iter()? {
                let first = row?.1.value().1;
                oldest = Some(oldest.map_or(first, |oldest: u64| oldest.min(first)));
            }
            Ok(Some(HeapSize::new(tables.entries.len()?, oldest.map(time))))
        })
        .await
    }

    async fn prune(&self, age: Duration, limit: usize) -> Result<usize, OutboxError> {
        let age = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        self.write("prune", move |tables, now| {
            let mut old = Vec::new();
            for row in tables.entries.iter()? {
                let (id, row) = row?;
                let (_, _, last, leased, ..) = row.value();
                if old.len() < limit && leased <= now && now.saturating_sub(last) > age {
                    old.push(id.value());
                }
            }
            old.iter().try_for_each(|id| tables.remove(*id))?;
            Ok(old.len())
        })
        .await
    }
}

/// The tables within a write transaction.
struct Tables<'t> {
    entries: Table<'t, u128, Row>,
    turns: Table<'t, u64, u128>,
}

impl Tables<'_> {
    fn get(&self, id: u128) -> Result<Option<Row>, redb::Error> {
        Ok(self.entries.get(id)?.map(|row| row.value()))
    }

    /// Gives `id` a turn behind all others.
    fn turn(&mut self, id: u128) -> Result<u64, redb::Error> {
        let last = self.turns.last()?.map(|(turn, _)| turn.value());
        let turn = last.map_or(0, |turn| turn + 1);
        self.turns.insert(turn, id)?;
        Ok(turn)
    }

    fn record(&mut self, failure: &FailedAttempt, now: u64) -> Result<(), redb::Error> {
        let id = number(failure.id);
        let (count, first, last, leased, turn, error) = match self.get(id)? {
            Some(row) => row,
            None => (0, now, now, 0, self.turn(id)?, None),
        };
        let latest = failure.error.as_ref().map(|text| text.as_str().to_owned());
        let row = (
            count.saturating_add(1),
            first,
            last.max(now),
            leased,
            turn,
            latest.or(error),
        );
        self.entries.insert(id, row)?;
        Ok(())
    }

    fn remove(&mut self, id: u128) -> Result<(), redb::Error> {
        let turn = self.entries.remove(id)?.map(|row| row.value().4);
        if let Some(turn) = turn {
            self.turns.remove(turn)?;
        }
        Ok(())
    }

    /// The ids of entries that have the threshold and are not leased, by their turn.
    fn exceeded(&self, threshold: u32, limit: usize, now: u64) -> Result<Vec<u128>, redb::Error> {
        let mut ids = Vec::new();
        for turn in self.turns.iter()? {
            if ids.len() == limit {
                break;
            }
            let id = turn?.1.value();
            if let Some((count, _, _, leased, ..)) = self.get(id)?
                && count >= threshold
                && leased <= now
            {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// Hides an entry until `until`, behind all others.
    fn lease(&mut self, id: u128, until: u64) -> Result<Option<DlqEntry>, redb::Error> {
        let Some(mut row) = self.get(id)? else {
            return Ok(None);
        };
        self.turns.remove(row.4)?;
        row.3 = until;
        row.4 = self.turn(id)?;
        self.entries.insert(id, &row)?;
        Ok(Some(entry(id, &row)))
    }
}

fn entry(id: u128, row: &Row) -> DlqEntry {
    let (count, first, last, _, _, error) = row;
    DlqEntry::new(
        Uuid::from_u128(id).into(),
        *count,
        time(*first),
        time(*last),
    )
    .with_error(error.as_deref().map(ErrorText::new))
}

fn number(id: EventId) -> u128 {
    id.as_uuid().as_u128()
}

/// Microseconds since 1970; an earlier time is 1970.
fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}

/// 1970 if the system cannot represent the time.
fn time(micros: u64) -> SystemTime {
    let since = Duration::from_micros(micros);
    let time = SystemTime::UNIX_EPOCH.checked_add(since);
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The kind says what the caller may do. The source is kept.
fn failed(operation: &'static str, error: redb::Error) -> OutboxError {
    let kind = match &error {
        redb::Error::Corrupted(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::UpgradeRequired(_) => ErrorKind::Corrupt,
        redb::Error::Io(io) if io.kind() == std::io::ErrorKind::InvalidData => ErrorKind::Corrupt,
        _ => ErrorKind::Unavailable,
    };
    OutboxError::new(kind, "redb", operation).with_source(error)
}
