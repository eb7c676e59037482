//! What is wrong with a backend, for `outbox doctor`.

mod disk;
mod postgres;
mod redis;
mod sqlite;

pub(crate) use disk::{folder, full_disk};
pub(super) use postgres::{examine_heap as postgres_heap, examine_store as postgres_store};
pub(super) use redis::examine as redis_heap;
pub(super) use sqlite::examine as sqlite_file;

use std::time::Duration;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Severity {
    /// Events are not published, or can be lost.
    Error,
    /// It works, but not as it should, or not for long.
    Warning,
    /// Something was not examined.
    Note,
}

impl Severity {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// A problem, and the action against it.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// The name of the check, which stays the same in all versions.
    pub(crate) check: &'static str,
    pub(crate) problem: String,
    pub(crate) action: String,
}

impl Finding {
    pub(crate) fn new(
        severity: Severity,
        check: &'static str,
        problem: impl Into<String>,
        action: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            check,
            problem: problem.into(),
            action: action.into(),
        }
    }

    pub(crate) fn error(
        check: &'static str,
        problem: impl Into<String>,
        action: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Error, check, problem, action)
    }

    pub(crate) fn warning(
        check: &'static str,
        problem: impl Into<String>,
        action: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Warning, check, problem, action)
    }
}

/// Clocks that differ by more are found. Leases and delays are measured by the store's clock alone, but
/// `available_at` and the ages of events compare the clock of a producer with it.
const SKEW: Duration = Duration::from_secs(5);

/// The finding for a clock that differs from this machine's by so many seconds; negative: it is behind.
fn skew(server: &str, seconds: f64) -> Option<Finding> {
    if seconds.abs() <= SKEW.as_secs_f64() {
        return None;
    }
    let direction = if seconds > 0.0 { "ahead of" } else { "behind" };
    let by = seconds.abs();
    Some(Finding::warning(
        "clock",
        format!("the clock of {server} is {by:.0} s {direction} this machine's"),
        "synchronise both clocks (NTP): events that producers delay (available_at) are due by the \
         store's clock, and ages of events are shown too large or too small",
    ))
}

/// Entries of a heap whose events are in the outbox no more.
pub(crate) fn orphans(count: u64) -> Option<Finding> {
    let many = if count > 1000 {
        "more than 1000".to_owned()
    } else {
        count.to_string()
    };
    (count > 0).then(|| {
        Finding::warning(
            "orphans",
            format!("entries of the heap without an event in the outbox: {many}"),
            "they cost only memory, and are removed after heap-retention. Many of them mean that another \
             outbox uses this heap, or that the database was restored without it: give each store a \
             heap of its own",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_by_more_than_five_seconds_are_found_with_their_direction() {
        assert!(skew("PostgreSQL", 5.0).is_none() && skew("PostgreSQL", -5.0).is_none());
        let problem = |seconds| skew("PostgreSQL", seconds).map(|found| found.problem);
        let text = "the clock of PostgreSQL is 12 s ahead of this machine's";
        assert_eq!(problem(12.2).as_deref(), Some(text));
        let text = "the clock of PostgreSQL is 3600 s behind this machine's";
        assert_eq!(problem(-3600.0).as_deref(), Some(text));
    }
}
