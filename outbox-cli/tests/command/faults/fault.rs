//! What an operator sees of a fault, and where it is written down.

use super::{Case, PUBLISHED};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::{Duration, Instant};

/// What the five views say while a fault lasts.
pub(super) struct Fault {
    pub(super) name: &'static str,
    /// The status code of `/readyz`.
    pub(super) ready: u16,
    /// The words of `/healthz`. None: 200.
    pub(super) health: &'static [&'static str],
    /// The series that the alerts read and that are not as [`USUAL`].
    pub(super) series: &'static [(&'static str, Now)],
    /// The alerts that fire after 14 minutes, and no others.
    pub(super) alerts: &'static [&'static str],
    /// A part of the first line of `outbox status`, or of its error.
    pub(super) status: &'static str,
    /// What `outbox status` lists as failing now.
    pub(super) failing: &'static [&'static str],
    /// Severity and check of each finding of `outbox doctor`.
    pub(super) doctor: &'static [&'static str],
}

/// The value of a series.
#[derive(Clone, Copy)]
pub(super) enum Now {
    Is(u32),
    /// It grows while the fault lasts.
    Grows,
    /// It keeps its value while the fault lasts.
    Stays,
    /// It grows with each event that is sent to find out whether the fault is over.
    Seldom,
    /// NaN, because the store has no relay.
    Nan,
}

use Now::{Grows, Is, Nan, Seldom, Stays};

pub(super) const UP: &str = "outbox_store_up{store=\"default\"}";
pub(super) const HEAP_UP: &str = "outbox_heap_up{store=\"default\"}";
pub(super) const PASS: &str = "outbox_last_pass_timestamp_seconds{store=\"default\"}";
pub(super) const SAMPLE: &str = "outbox_last_sample_timestamp_seconds{store=\"default\"}";
pub(super) const DUE: &str = "outbox_oldest_due_age_seconds{store=\"default\"}";
pub(super) const DEAD: &str = "outbox_dead_letters{store=\"default\"}";

/// The series that the alerts read, of a relay without a fault and without new events.
pub(super) const USUAL: &[(&str, Now)] = &[
    (UP, Is(1)),
    (HEAP_UP, Is(1)),
    (PASS, Grows),
    (SAMPLE, Grows),
    (DUE, Is(0)),
    (DEAD, Is(0)),
    (PUBLISHED, Stays),
];

impl Fault {
    /// The series that the alerts read.
    pub(super) fn all_series(&self) -> Vec<(&'static str, Now)> {
        let mut all = USUAL.to_vec();
        for (name, now) in self.series {
            match all.iter_mut().find(|(usual, _)| usual == name) {
                Some(usual) => usual.1 = *now,
                None => all.push((name, *now)),
            }
        }
        all
    }

    /// Asserts that all views say of the fault what is written here.
    pub(super) fn is_seen(&self, case: &Case) {
        self.is_seen_while(case, || ());
    }

    /// The same, if `meanwhile` makes the series grow that must.
    pub(super) fn is_seen_while(&self, case: &Case, meanwhile: impl FnOnce()) {
        let expected = (self.health.is_empty(), set(self.health));
        becomes("/healthz", &expected, || {
            let (code, findings) = case.shown.findings("/healthz");
            (code == 200, texts(&findings, "status"))
        });
        let (ready, findings) = case.shown.findings("/readyz");
        assert_eq!(ready, self.ready, "{findings:?}");
        case.shown.is_live();
        let before = self.values(case);
        self.status_says(case);
        self.doctor_says(case);
        meanwhile();
        for ((series, now), before) in self.all_series().into_iter().zip(before) {
            becomes(series, &true, || {
                let value = case.metric(series);
                match now {
                    Is(expected) => value == Some(f64::from(expected)),
                    Grows => value > before.or(Some(0.0)),
                    // A counter appears with its first destination.
                    Stays => value.or(Some(0.0)) == before.or(Some(0.0)),
                    Seldom => value.is_some(),
                    Nan => value.is_some_and(f64::is_nan),
                }
            });
        }
    }

    fn values(&self, case: &Case) -> Vec<Option<f64>> {
        let all = self.all_series();
        all.iter().map(|(series, _)| case.metric(series)).collect()
    }

    fn status_says(&self, case: &Case) {
        let expected = (self.status.to_owned(), set(self.failing));
        becomes("outbox status", &expected, || {
            let (text, failing) = case.status();
            // The ages in the text change.
            let part = text.find(self.status).map(|_| self.status.to_owned());
            (part.unwrap_or(text), failing)
        });
    }

    fn doctor_says(&self, case: &Case) {
        let (code, words, found) = case.examined();
        assert_eq!(words, set(self.doctor), "{found}");
        let has_error = self.doctor.iter().any(|one| one.starts_with("error"));
        assert_eq!(code, Some(if has_error { 3 } else { 0 }));
    }
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn texts(values: &[Value], name: &str) -> BTreeSet<String> {
    let texts = values.iter().map(|value| value[name].as_str().unwrap());
    texts.map(str::to_owned).collect()
}

/// Returns as soon as it has the value, and fails if it never has.
fn becomes<T: PartialEq + Debug>(what: &str, expected: &T, mut now: impl FnMut() -> T) {
    let start = Instant::now();
    loop {
        let value = now();
        if value == *expected {
            return;
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{what} is {value:?}, not {expected:?}"
        );
    }
}
