//! When a store is drained.

use crate::failure::Failure;
use crate::wiring::Outlet;
use outbox_core::OutboxStorage;
use std::time::{Duration, Instant};

/// Between two looks whether the outbox is drained.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The same while the destination takes events.
const LONGEST_BUSY_PAUSE: Duration = Duration::from_secs(5);

/// Returns when nothing is pending, or when the store or the destination has made no progress for
/// the time.
pub(super) async fn drained(
    storage: &dyn OutboxStorage,
    outlet: &Outlet,
    timeout: Option<Duration>,
) -> Result<(), Failure> {
    let Some(timeout) = timeout else {
        return std::future::pending().await;
    };
    let mut answered = Instant::now();
    loop {
        let start = Instant::now();
        match storage.backlog().await {
            Ok(backlog) if backlog.pending == 0 => return Ok(()),
            Ok(_) => answered = Instant::now(),
            // It may still have events, and may answer again.
            Err(error) if answered.elapsed() >= timeout => {
                return Err(undrained("the store", timeout, &error.to_string()));
            }
            Err(_) => {}
        }
        if let Some(error) = outlet.progress().is_stuck(timeout) {
            return Err(undrained("the destination", timeout, &error));
        }
        pause(outlet, start.elapsed()).await;
    }
}

/// Pauses between two looks. To count a large backlog takes the store a while, `counted`, and it has other
/// things to do. While the destination takes events, much is left, or new events come.
async fn pause(outlet: &Outlet, counted: Duration) {
    let start = Instant::now();
    let busy = (counted * 50).min(LONGEST_BUSY_PAUSE);
    tokio::time::sleep((counted * 10).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)).await;
    while outlet.progress().has_taken() && start.elapsed() < busy {
        tokio::time::sleep(SHORTEST_PAUSE).await;
    }
}

fn undrained(what: &str, timeout: Duration, error: &str) -> Failure {
    let timeout = humantime::format_duration(timeout);
    Failure::Failed(format!(
        "the outbox is not drained: {what} has failed for {timeout} (--drain-timeout): {error}"
    ))
}
