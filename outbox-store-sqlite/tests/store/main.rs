//! Tests of this store alone. `outbox-conformance` checks the contract.
#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test may panic as the test itself"
)]

mod budgets;
mod columns;
mod edits;
mod files;
mod housekeeping;
mod producer;
mod refusals;
mod worker;
mod writers;

use outbox_conformance::{Folder, ManualClock};
use outbox_core::{
    Claim, ClaimLimit, DeadLetterFilter, DeadLetters, DlqEntry, ErrorText, Event, EventId,
    OutboxStorage, Outcome, Settlement,
};
use outbox_store_sqlite::rusqlite::{Connection, TransactionBehavior};
use outbox_store_sqlite::{SqliteStore, append};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

const LEASE: Duration = Duration::from_secs(30);

struct Place {
    _folder: Folder,
    path: PathBuf,
    clock: ManualClock,
    store: SqliteStore,
}

impl Place {
    async fn new() -> Self {
        let folder = Folder::new();
        let path = folder.path().join("shop.db");
        let clock = ManualClock::new();
        let store = SqliteStore::migrate(&path).await.unwrap();
        let store = store.with_clock(clock.clock());
        Self {
            _folder: folder,
            path,
            clock,
            store,
        }
    }

    fn block_key_on_dead_letter(mut self) -> Self {
        self.store = self.store.block_key_on_dead_letter();
        self
    }

    fn connect(&self) -> Connection {
        let connection = Connection::open(&self.path).unwrap();
        connection.busy_timeout(Duration::from_secs(20)).unwrap();
        connection
    }

    fn append(&self, events: &[Event]) {
        let mut connection = self.connect();
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .unwrap();
        append(&transaction, events).unwrap();
        transaction.commit().unwrap();
    }

    fn execute(&self, sql: &str) {
        self.connect().execute_batch(sql).unwrap();
    }

    fn number(&self, sql: &str) -> i64 {
        self.connect().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    async fn claim(&self, limit: usize) -> Claim {
        self.store
            .claim(ClaimLimit::events(limit), LEASE)
            .await
            .unwrap()
    }

    /// Publishes all that is due, and returns it in its order.
    async fn drain(&self) -> Vec<EventId> {
        let mut drained = Vec::new();
        loop {
            let claim = self.claim(100).await;
            if claim.events.is_empty() {
                return drained;
            }
            self.settle_all(&claim, &Outcome::Published).await;
            drained.extend(ids(&claim));
        }
    }

    async fn replay_all(&self) -> usize {
        let replayed = self.store.replay(&DeadLetterFilter::all(), 1_000).await;
        replayed.unwrap().len()
    }

    async fn settle_all(&self, claim: &Claim, outcome: &Outcome) {
        let settlements = all(claim, outcome);
        self.store.settle(claim.token, &settlements).await.unwrap();
    }
}

fn all(claim: &Claim, outcome: &Outcome) -> Vec<Settlement> {
    claim
        .events
        .iter()
        .map(|claimed| Settlement::new(claimed.event.id, outcome.clone()))
        .collect()
}

fn ids(claim: &Claim) -> Vec<EventId> {
    claim
        .events
        .iter()
        .map(|claimed| claimed.event.id)
        .collect()
}

fn keyed(key: &str) -> Event {
    Event::new("t", "x").ordering_key(key)
}

fn retry(delay: Duration) -> Outcome {
    let error = ErrorText::new("refused");
    Outcome::Retry { delay, error }
}

fn entry(id: EventId) -> DlqEntry {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
    DlqEntry::new(id, 7, now, now + Duration::from_secs(1))
}

/// The store keeps microseconds.
fn truncated(event: Event) -> Event {
    let since = event
        .created_at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let micros = u64::try_from(since.as_micros()).unwrap();
    event.created_at(SystemTime::UNIX_EPOCH + Duration::from_micros(micros))
}
