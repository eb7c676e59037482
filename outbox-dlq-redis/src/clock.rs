//! The heap's clock, for tests.

use crate::micros;
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
