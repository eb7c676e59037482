//! A backlog in an SQLite file through a transport that does nothing, heap on, in batches of 100.
//!
//! ```console
//! $ cargo run --release -- [EVENTS...]     # default: 1000 100000 1000000
//! ```

#[path = "../../src/load.rs"]
mod load;

use load::{Nothing, event};
use outbox_core::{Event, OutboxConfig, OutboxProcessor};
use outbox_dlq_sqlite::SqliteDlqHeap;
use outbox_store_sqlite::rusqlite::{Connection, TransactionBehavior};
use outbox_store_sqlite::{SqliteStore, append};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let backlogs: Result<Vec<usize>, _> =
        std::env::args().skip(1).map(|text| text.parse()).collect();
    let mut backlogs = backlogs?;
    if backlogs.is_empty() {
        backlogs = vec![1_000, 100_000, 1_000_000];
    }
    for events in backlogs {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("shop.db");
        fill(&path, events).await?;
        measure(&path).await?;
    }
    Ok(())
}

/// Appends without a wait for the disk, as the appends are not measured.
async fn fill(path: &Path, events: usize) -> Result<(), Failure> {
    SqliteStore::migrate(path).await?.close().await?;
    let mut shop = Connection::open(path)?;
    shop.pragma_update(None, "synchronous", "OFF")?;
    for first in (0..events).step_by(1000) {
        let events: Vec<Event> = (first..events.min(first + 1000)).map(event).collect();
        let tx = shop.transaction_with_behavior(TransactionBehavior::Immediate)?;
        append(&tx, &events)?;
        tx.commit()?;
    }
    Ok(())
}

async fn measure(path: &Path) -> Result<(), Failure> {
    let store = SqliteStore::open(path).await?;
    let heap = SqliteDlqHeap::migrate(path).await?;
    let config = OutboxConfig::builder().batch_size(100).build()?;
    let mut processor = OutboxProcessor::new(Arc::new(store), Arc::new(Nothing))
        .config(config)
        .dlq_heap(Arc::new(heap));
    let (start, before) = (Instant::now(), cpu()?);
    let mut published = 0;
    loop {
        let report = processor.process_pending_events().await?;
        if report.claimed == 0 {
            break;
        }
        published += report.published;
    }
    let (time, cpu) = (start.elapsed().as_secs_f64(), cpu()? - before);
    let events = published as f64;
    println!(
        "{published} events, {:.0} a second, {:.1} us of CPU each",
        events / time,
        cpu / events
    );
    Ok(())
}

/// The time that the threads of this process have run, in microseconds.
fn cpu() -> Result<f64, Failure> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let stat = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        let ran = stat.split(' ').next().unwrap_or_default();
        nanoseconds += ran.parse::<u64>()?;
    }
    Ok(nanoseconds as f64 / 1000.0)
}
