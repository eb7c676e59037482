//! Whether a store makes progress.

use super::store::{Limits, Sample, State, StoreHealth};
use humantime::format_duration;
use outbox_core::{Pause, PublishErrorKind};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A sample may be as old as so many intervals.
const SAMPLES: u32 = 3;

/// The polls of an idle relay grow to five times the poll interval.
const POLLS: u32 = 6;

/// Why a store makes no progress.
#[derive(Debug)]
pub(super) struct Finding {
    store: Arc<str>,
    /// None: it is about the store.
    destination: Option<Arc<str>>,
    /// One of few words: `not_open`, `unavailable`, `no_sample`, `old_sample`, `no_pass`, `behind`, or the kind of
    /// the latest error of a destination.
    status: &'static str,
    reason: String,
}

impl Finding {
    fn of(health: &StoreHealth, status: &'static str, reason: String) -> Self {
        Self {
            store: Arc::clone(&health.name),
            destination: None,
            status,
            reason,
        }
    }

    pub(super) fn value(&self) -> Value {
        json!({
            "store": &*self.store,
            "destination": self.destination.as_deref(),
            "status": self.status,
            "reason": self.reason,
        })
    }
}

/// Why a store is not ready: it is not open, not migrated, or cannot be reached.
pub(super) fn unready(health: &StoreHealth) -> Option<Finding> {
    let state = health.state();
    if let Some(finding) = unreachable(health, &state) {
        return Some(finding);
    }
    let is_known = matches!(state.store, Some(Ok(())));
    (!is_known).then(|| Finding::of(health, "not_open", "the store is being opened".to_owned()))
}

fn unreachable(health: &StoreHealth, state: &State) -> Option<Finding> {
    if let Some(failure) = &state.failure {
        return Some(Finding::of(health, "not_open", failure.clone()));
    }
    if let Some(Err(error)) = &state.store {
        return Some(Finding::of(health, "unavailable", error.clone()));
    }
    None
}

/// Why a store makes no progress. Empty: it does.
pub(super) fn findings(health: &StoreHealth) -> Vec<Finding> {
    let state = health.state();
    if let Some(finding) = unreachable(health, &state) {
        return vec![finding];
    }
    let pauses = state.pauses.iter().flat_map(outbox_core::Pauses::list);
    let pauses: Vec<Pause> = pauses.collect();
    let paused = pauses.iter().filter_map(|pause| too_long(health, pause));
    let mut found: Vec<Finding> = paused.collect();
    found.extend(stale(health, &state));
    let pauses_whole = pauses.iter().any(|pause| pause.destination.is_none());
    if !pauses_whole {
        found.extend(without_pass(health, &state));
    }
    found.extend(behind(health, &state));
    found
}

/// A destination that a person must repair, or that has paused for too long. The text of its error is in
/// the log only: it may have parts of an event.
fn too_long(health: &StoreHealth, pause: &Pause) -> Option<Finding> {
    let needs_person = pause.kind == PublishErrorKind::Misconfigured;
    if !needs_person && pause.since <= health.limits.max_age {
        return None;
    }
    let what = if needs_person {
        ", and a person must repair it"
    } else {
        ""
    };
    let since = shown(pause.since);
    let reason = format!("gets no events since {since}{what}; the log has the error");
    Some(Finding {
        destination: Some(pause.destination.clone().unwrap_or_else(|| "*".into())),
        ..Finding::of(health, pause.kind.name(), reason)
    })
}

/// A sample that says nothing of now.
fn stale(health: &StoreHealth, state: &State) -> Option<Finding> {
    let limits = health.limits;
    let Some(sample) = &state.sample else {
        let since = state.since.elapsed();
        let reason = format!("no backlog since the start {} ago", shown(since));
        return (since > limits.sample * SAMPLES).then(|| Finding::of(health, "no_sample", reason));
    };
    let (age, most) = (sample.at.elapsed(), most_age(limits, sample));
    let reason = format!(
        "the backlog was sampled {} ago, but must be at most {} old",
        shown(age),
        shown(most)
    );
    (age > most).then(|| Finding::of(health, "old_sample", reason))
}

/// A backlog that takes long to count is sampled less often.
fn most_age(limits: Limits, sample: &Sample) -> Duration {
    (limits.sample * SAMPLES).max(sample.next * 2)
}

/// A relay that hangs.
fn without_pass(health: &StoreHealth, state: &State) -> Option<Finding> {
    let since = state.last_pass.unwrap_or(state.since).elapsed();
    let most = health.limits.max_age + health.limits.poll * POLLS;
    let reason = format!("no claim has ended since {}", shown(since));
    (since > most).then(|| Finding::of(health, "no_pass", reason))
}

/// Events that are due for too long.
fn behind(health: &StoreHealth, state: &State) -> Option<Finding> {
    let (due, most) = (
        state.sample.as_ref()?.backlog.oldest_due?,
        health.limits.max_age,
    );
    let reason = format!(
        "the oldest due event has been due for {}, but must be for at most {} (health-max-age)",
        shown(due),
        shown(most)
    );
    (due > most).then(|| Finding::of(health, "behind", reason))
}

/// What is known of a store.
pub(super) fn facts(health: &StoreHealth) -> Value {
    let state = health.state();
    let ago = |at: Option<Instant>| at.map(|at| at.elapsed().as_secs_f64());
    let backlog = state.sample.as_ref().map(|sample| &sample.backlog);
    let pauses = state.pauses.iter().flat_map(outbox_core::Pauses::list);
    let pauses = pauses.map(|pause| {
        json!({
            "destination": pause.destination.as_deref().unwrap_or("*"),
            "status": pause.kind.name(),
            "seconds": pause.since.as_secs_f64(),
        })
    });
    json!({
        "store": &*health.name,
        "pending": backlog.map(|backlog| backlog.pending),
        "oldest_due_seconds": backlog.and_then(|backlog| backlog.oldest_due).map(|due| due.as_secs_f64()),
        "dead_letters": backlog.map(|backlog| backlog.dead_letters),
        "sampled_seconds_ago": ago(state.sample.as_ref().map(|sample| sample.at)),
        "last_pass_seconds_ago": ago(state.last_pass),
        "last_published_seconds_ago": ago(state.last_published),
        "pauses": pauses.collect::<Vec<_>>(),
    })
}

/// In whole seconds.
fn shown(time: Duration) -> String {
    format_duration(Duration::from_secs(time.as_secs())).to_string()
}
