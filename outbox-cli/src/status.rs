//! `outbox status`.

use crate::cli::StatusOptions;
use crate::failure::Failure;
use crate::wiring;
use serde_json::json;
use std::time::{Duration, SystemTime};

pub(crate) async fn run(options: &StatusOptions) -> Result<(), Failure> {
    let backend = wiring::open(&options.store.store).await?;
    let backlog = backend.storage.backlog().await?;
    let heap = backend.heap.size().await?.unwrap_or_default();
    let age = backlog
        .oldest_pending
        .map(|oldest| since(oldest, SystemTime::now()));
    if options.json {
        let status = json!({
            "pending": backlog.pending,
            "oldest_pending_seconds": age.map(|age| age.as_secs_f64()),
            "in_flight": backlog.in_flight,
            "waiting_keys": backlog.waiting,
            "heap_entries": heap.entries,
            "dead_letters": backlog.dead_letters,
        });
        println!("{status}");
        return Ok(());
    }
    println!("pending       {}", backlog.pending);
    if let Some(age) = age {
        println!("oldest        {} ago", humantime::format_duration(age));
    }
    println!("in flight     {}", backlog.in_flight);
    println!("waiting keys  {}", backlog.waiting);
    println!("failing       {}", heap.entries);
    println!("dead letters  {}", backlog.dead_letters);
    Ok(())
}

/// The time between, in whole milliseconds; zero if the clocks disagree.
pub(crate) fn since(earlier: SystemTime, later: SystemTime) -> Duration {
    let passed = later.duration_since(earlier).unwrap_or_default();
    Duration::from_millis(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
}
