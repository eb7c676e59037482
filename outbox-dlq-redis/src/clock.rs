//! The heap's clock, for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// How far a heap's clock is ahead of the server's: zero, until a test moves it. Clones move together.
#[derive(Clone, Debug, Default)]
pub struct ClockShift(Arc<AtomicU64>);

impl ClockShift {
    /// Moves the clock ahead.
    pub fn advance(&self, time: Duration) {
        self.0.fetch_add(micros(time), SeqCst);
    }

    pub(crate) fn micros(&self) -> u64 {
        self.0.load(SeqCst)
    }
}

/// A duration in the unit of the scripts.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
