//! What a relay says of itself in its reports.

use crate::object::ErrorText;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::{Duration, Instant};

/// When the parts of a relay worked last, and their last error. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vitals(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    passed: Option<Instant>,
    failed: Option<(ErrorText, Instant)>,
}

impl Vitals {
    /// A claim or a settlement has worked.
    pub(crate) fn passed(&self) {
        self.lock().passed = Some(Instant::now());
    }

    pub(crate) fn failed(&self, dependency: &str, error: &dyn Display) {
        let text = ErrorText::new(&format!("{dependency}: {error}"));
        self.lock().failed = Some((text, Instant::now()));
    }

    pub(crate) fn last_pass(&self) -> Option<Duration> {
        self.lock().passed.map(|at| at.elapsed())
    }

    pub(crate) fn last_error(&self) -> Option<(ErrorText, Duration)> {
        let failed = self.lock().failed.clone();
        failed.map(|(error, at)| (error, at.elapsed()))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
