//! `outbox status`.

use crate::cli::StatusOptions;
use crate::failure::Failure;
use crate::terminal::print;
use crate::wiring;
use serde_json::json;
use std::time::{Duration, SystemTime};

pub(crate) async fn run(options: &StatusOptions) -> Result<(), Failure> {
    let urls = options.urls.urls()?;
    let store = wiring::open_store(&urls.store, false).await?;
    let heap = wiring::open_heap(&urls.heap).await?;
    let backlog = store.storage.backlog().await?;
    let heap = heap.size().await?.unwrap_or_default();
    let age = backlog
        .oldest_pending
        .map(|oldest| since(oldest, SystemTime::now()));
    if options.json {
        let status = json!({
            "pending": backlog.pending,
            "pending_is_capped": backlog.pending_is_capped,
            "oldest_pending_seconds": age.map(|age| age.as_secs_f64()),
            "in_flight": backlog.in_flight,
            "waiting_keys": backlog.waiting,
            "heap_entries": heap.entries,
            "dead_letters": backlog.dead_letters,
        });
        return print(status);
    }
    let more = if backlog.pending_is_capped {
        "more than "
    } else {
        ""
    };
    print(format_args!("pending       {more}{}", backlog.pending))?;
    if let Some(age) = age {
        let age = humantime::format_duration(age);
        print(format_args!("oldest        {age} ago"))?;
    }
    print(format_args!("in flight     {}", backlog.in_flight))?;
    print(format_args!("waiting keys  {}", backlog.waiting))?;
    print(format_args!("heap entries  {}", heap.entries))?;
    print(format_args!("dead letters  {}", backlog.dead_letters))
}

/// The time between, in whole milliseconds; zero if the clocks disagree.
pub(crate) fn since(earlier: SystemTime, later: SystemTime) -> Duration {
    let passed = later.duration_since(earlier).unwrap_or_default();
    Duration::from_millis(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
}
