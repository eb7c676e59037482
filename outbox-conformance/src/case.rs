//! The case that runs on a thread: for messages, for progress, and for the count of cases.

use std::cell::RefCell;
use std::fmt::Arguments;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// Names a file to which each case that passed adds a line.
const LOG: &str = "OUTBOX_CONFORMANCE_LOG";

thread_local! {
    static CURRENT: RefCell<Option<Arc<Case>>> = const { RefCell::new(None) };
}

/// One case of a suite, on one fixture.
#[doc(hidden)]
#[derive(Debug)]
pub struct Case {
    pub(crate) name: &'static str,
    /// The ids of the clauses that it checks, such as `H1, H4`.
    pub(crate) clauses: String,
    suite: Option<Suite>,
    progress: Mutex<String>,
}

/// A suite on one fixture, as a macro of this crate was called for it.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    pub package: &'static str,
    pub module: &'static str,
    pub fixture: &'static str,
    pub groups: &'static [&'static str],
    pub cases: &'static [(&'static str, &'static str)],
}

impl Suite {
    /// The number of its cases.
    fn expected(&self) -> usize {
        let is_run = |(group, _): &&(&str, &str)| self.groups.contains(group);
        self.cases.iter().filter(is_run).count()
    }
}

impl Case {
    /// A case of no suite.
    #[must_use]
    pub fn named(name: &'static str, clauses: &str) -> Arc<Self> {
        Self::new(name, clauses, None)
    }

    /// A case of a suite.
    #[must_use]
    pub fn of(suite: Suite, name: &'static str, clauses: &str) -> Arc<Self> {
        Self::new(name, clauses, Some(suite))
    }

    fn new(name: &'static str, clauses: &str, suite: Option<Suite>) -> Arc<Self> {
        Arc::new(Self {
            name,
            clauses: clauses.to_owned(),
            suite,
            progress: Mutex::default(),
        })
    }

    /// Makes it the case of this thread.
    pub fn enter(self: Arc<Self>) {
        CURRENT.set(Some(self));
    }

    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// How far it is; empty if it does not say.
    pub(crate) fn progress(&self) -> String {
        let progress = self.progress.lock();
        progress.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds its line to the log, if the environment names one: package, suite, fixture, number of
    /// cases of the fixture, name.
    pub(crate) fn log(&self) {
        let (Some(path), Some(suite)) = (std::env::var_os(LOG), self.suite) else {
            return;
        };
        let Suite {
            package,
            module,
            fixture,
            ..
        } = suite;
        let (expected, name) = (suite.expected(), self.name);
        let line = format!("{package} {module} {fixture} {expected} {name}\n");
        // One write, as other processes add their lines too.
        let file = OpenOptions::new().create(true).append(true).open(path);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        written.unwrap_or_else(|error| panic!("{LOG}: {error}"));
    }
}

/// Notes how far the case is, in words.
macro_rules! progress {
    ($($how_far:tt)+) => { $crate::case::note(format_args!($($how_far)+)) };
}

pub(crate) use progress;

/// Notes how far the case is, for the line that a long case prints.
pub(crate) fn note(how_far: Arguments<'_>) {
    if let Some(case) = Case::current() {
        let mut progress = case.progress.lock().unwrap_or_else(PoisonError::into_inner);
        *progress = how_far.to_string();
    }
}
