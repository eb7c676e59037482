//! One log line when a dependency goes away, and one when it is back.

use crate::vitals::Vitals;
use std::borrow::Cow;
use std::fmt::Display;
use tokio::time::Instant;

/// The failures in a row of one dependency, such as the broker.
#[derive(Debug)]
pub(crate) struct Outage {
    /// The subject of both log lines.
    dependency: Cow<'static, str>,
    failures: u32,
    since: Option<Instant>,
    /// What notes the last error.
    vitals: Option<Vitals>,
}

impl Outage {
    pub(crate) fn of(dependency: impl Into<Cow<'static, str>>) -> Self {
        Self {
            dependency: dependency.into(),
            failures: 0,
            since: None,
            vitals: None,
        }
    }

    /// Notes each failure for the reports of the relay, too.
    pub(crate) fn note_in(&mut self, vitals: &Vitals) {
        self.vitals = Some(vitals.clone());
    }

    /// Counts a failure and returns how many there were in a row. The first one is a warning that
    /// states the `effect`; the others are logged at `debug`, because a long outage has many.
    pub(crate) fn failed(&mut self, error: &dyn Display, effect: &str) -> u32 {
        let dependency = &self.dependency;
        if let Some(vitals) = &self.vitals {
            vitals.failed(dependency, error);
        }
        self.failures = self.failures.saturating_add(1);
        let attempt = self.failures;
        if self.since.is_none() {
            self.since = Some(Instant::now());
            tracing::warn!(%error, "{dependency} failed: {effect}");
        } else {
            tracing::debug!(%error, attempt, "{dependency} failed again");
        }
        attempt
    }

    /// Ends the outage, if there is one.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
        if let Some(since) = self.since.take() {
            let after = since.elapsed();
            tracing::info!(?after, "{} works again", self.dependency);
        }
    }
}
