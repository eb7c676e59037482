//! Counts the warnings that a backend reports through `tracing`.

use crate::log::Log;
use tracing::instrument::WithSubscriber;
use tracing::{Dispatch, Level};

/// The result of `call`, and how many warnings and errors it reported.
///
/// Warnings of other tasks are not counted.
pub async fn warnings<T>(call: impl Future<Output = T>) -> (T, usize) {
    let log = Log::default();
    // With a single subscriber, `tracing` lets the thread that reaches a warning first decide for
    // all threads whether the warning is enabled, and that thread may be of another case. With two
    // it asks the subscribers.
    let second = Dispatch::new(Log::default());
    let result = call.with_subscriber(log.clone()).await;
    drop(second);
    let lines = log.lines();
    let warned = lines.iter().filter(|line| line.level <= Level::WARN);
    (result, warned.count())
}
