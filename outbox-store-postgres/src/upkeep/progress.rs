//! Where the next clean-up and the next repair of this handle continue.

use crate::sql::LANES;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often keys are checked whose events may have been changed by hand.
const REPAIR: Duration = Duration::from_secs(8);

/// How far a lane is cleaned up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cleaned {
    /// The last row that was checked, by its `seq`.
    pub(crate) seq: i64,
    /// The oldest transaction that was open for the lane when this pass started, and the `seq` from
    /// which its rows may come.
    open: i64,
    begin: i64,
}

impl Cleaned {
    /// Starts the next pass, after a pass that has checked the last row. It starts where transactions
    /// were open before, because they may have committed since. While the oldest open transaction is
    /// the same, no pass starts: the server cannot reclaim yet what the last one deleted.
    pub(crate) fn start_pass(&mut self, open: i64, begin: i64) {
        if open > self.open {
            self.seq = self.begin;
            (self.open, self.begin) = (open, begin);
        }
    }
}

/// Shared by the clones of a handle.
#[derive(Debug)]
pub(crate) struct Progress(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    cleaned: [Cleaned; LANES],
    /// When keys were checked last, and the hash from which the next check starts.
    repaired: Option<Instant>,
    repair_from: i64,
}

impl Default for Progress {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            cleaned: [Cleaned::default(); LANES],
            repaired: None,
            repair_from: i64::MIN,
        }))
    }
}

impl Progress {
    pub(crate) fn cleaned(&self) -> [Cleaned; LANES] {
        self.lock().cleaned
    }

    pub(crate) fn set_cleaned(&self, cleaned: &[Cleaned; LANES]) {
        self.lock().cleaned = *cleaned;
    }

    /// Forgets how far the lanes are cleaned up: the log is not that of before.
    pub(crate) fn forget_cleaned(&self) {
        self.lock().cleaned = [Cleaned::default(); LANES];
    }

    /// The hash of a key from which to check keys, if it is time.
    pub(crate) fn next_repair(&self) -> Option<i64> {
        let mut inner = self.lock();
        if inner.repaired.is_some_and(|at| at.elapsed() < REPAIR) {
            return None;
        }
        inner.repaired = Some(Instant::now());
        Some(std::mem::replace(&mut inner.repair_from, i64::MIN))
    }

    /// Lets the next repair continue after the hash.
    pub(crate) fn repaired_to(&self, hash: i64) {
        self.lock().repair_from = hash.saturating_add(1);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
