//! Whether a destination takes anything.

use outbox_core::{ErrorText, PublishError};
use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Since when a destination has taken nothing, although it was asked to.
#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When the first publish that did not succeed started.
    since: Option<Instant>,
    error: Option<String>,
    /// It has taken an event since the last look.
    has_taken: bool,
}

impl Progress {
    pub(super) fn begin(&self) {
        self.state().since.get_or_insert_with(Instant::now);
    }

    pub(super) fn end(&self, answers: &[Result<(), PublishError>]) {
        let mut state = self.state();
        if answers.iter().any(Result::is_ok) {
            *state = State::default();
            state.has_taken = true;
        }
        let error = answers.iter().find_map(|answer| answer.as_ref().err());
        if let Some(error) = error {
            // A file names itself in its cause.
            let cause: &dyn Error = error.source().unwrap_or(error);
            state.error = Some(ErrorText::from_error(cause).to_string());
        }
    }

    /// What the destination says, if it has taken nothing for so long.
    pub(crate) fn is_stuck(&self, limit: Duration) -> Option<String> {
        let state = self.state();
        let is_over = state.since.is_some_and(|since| since.elapsed() >= limit);
        let silent = || "it does not answer".to_owned();
        is_over.then(|| state.error.clone().unwrap_or_else(silent))
    }

    /// Whether it has taken an event since the last call.
    pub(crate) fn has_taken(&self) -> bool {
        std::mem::take(&mut self.state().has_taken)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
