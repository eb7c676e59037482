//! Measures how many events are appended and drained in a second: `cargo run --release -p outbox-store-sqlite
//! --example throughput`.

use outbox_core::{ClaimLimit, Event, OutboxError, OutboxStorage, Outcome, Settlement};
use outbox_store_sqlite::rusqlite::{Connection, TransactionBehavior};
use outbox_store_sqlite::{SqliteStore, append};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

const EVENTS: usize = 50_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("shop.db");
    let outbox = SqliteStore::migrate(&path).await?;
    for (per_commit, keys) in [(1, 1_000), (100, 1_000), (100, 0)] {
        let events = if per_commit == 1 { EVENTS / 10 } else { EVENTS };
        let start = Instant::now();
        fill(&path, events, per_commit, keys)?;
        report("appended", events, per_commit, keys, start);
        let batch = per_commit.max(10);
        let start = Instant::now();
        drain(&outbox, batch).await?;
        report("drained", events, batch, keys, start);
    }
    Ok(())
}

fn fill(path: &Path, events: usize, per_commit: usize, keys: usize) -> Result<(), Box<dyn Error>> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    for first in (0..events).step_by(per_commit) {
        let batch: Vec<_> = (first..first + per_commit)
            .map(|n| event(n, keys))
            .collect();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        append(&transaction, &batch)?;
        transaction.commit()?;
    }
    Ok(())
}

fn event(number: usize, keys: usize) -> Event {
    let event = Event::new("order.placed", vec![b'x'; 200]);
    match number.checked_rem(keys) {
        Some(key) => event.ordering_key(format!("customer-{key}")),
        None => event,
    }
}

async fn drain(outbox: &SqliteStore, batch: usize) -> Result<(), OutboxError> {
    loop {
        let claim = outbox
            .claim(ClaimLimit::events(batch), Duration::from_secs(30))
            .await?;
        if claim.events.is_empty() {
            return Ok(());
        }
        let published: Vec<_> = claim
            .events
            .iter()
            .map(|claimed| Settlement::new(claimed.event.id, Outcome::Published))
            .collect();
        outbox.settle(claim.token, &published).await?;
    }
}

fn report(what: &str, events: usize, batch: usize, keys: usize, start: Instant) {
    let rate =
        u128::try_from(events).unwrap_or_default() * 1_000_000 / start.elapsed().as_micros().max(1);
    println!("{what} {events} events in batches of {batch}, {keys} keys: {rate} a second");
}
