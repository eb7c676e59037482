//! Whether a subject has no stream, or only no leader of a stream.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How old a connection must be until the answer "no stream" is final: a server that has just started
/// may not know its streams yet.
pub(crate) const SETTLED: Duration = Duration::from_secs(2);

/// How long the messages to a destination have no responders until it is treated as missing, where the
/// server cannot be asked. The election of a leader takes 4 to 9 seconds, and may be repeated.
pub(crate) const ELECTION: Duration = Duration::from_secs(15);

/// How many destinations are remembered.
const REMEMBERED: usize = 1000;

/// The destinations of one connection whose messages have no responders, each with the time of the first.
#[derive(Debug, Default)]
pub(crate) struct Absences(Mutex<HashMap<Box<str>, Instant>>);

impl Absences {
    /// Whether its messages have had no responders for longer than an election takes, so that an operator
    /// must repair it.
    pub(crate) fn is_lasting(&self, destination: &str, now: Instant) -> bool {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if since.len() >= REMEMBERED && !since.contains_key(destination) {
            since.clear();
        }
        let first = *since.entry(destination.into()).or_insert(now);
        now.duration_since(first) >= ELECTION
    }

    pub(crate) fn is_empty(&self) -> bool {
        let since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_empty()
    }

    /// A stream has acknowledged a message to it.
    pub(crate) fn forget(&self, destination: &str) {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.remove(destination);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_missing_once_an_election_would_have_ended() {
        let (absences, start) = (Absences::default(), Instant::now());
        let almost = start + ELECTION.saturating_sub(Duration::from_millis(1));
        assert!(!absences.is_lasting("orders", start));
        assert!(!absences.is_lasting("orders", almost));
        assert!(absences.is_lasting("orders", start + ELECTION));
        assert!(!absences.is_lasting("payments", start + ELECTION));
    }

    #[test]
    fn a_message_that_is_taken_ends_an_absence() {
        let (absences, start) = (Absences::default(), Instant::now());
        assert!(!absences.is_lasting("orders", start));
        absences.forget("orders");
        assert!(!absences.is_lasting("orders", start + ELECTION));
        assert!(absences.is_lasting("orders", start + 2 * ELECTION));
    }

    #[test]
    fn many_destinations_take_bounded_memory() {
        let (absences, start) = (Absences::default(), Instant::now());
        for number in 0..3 * REMEMBERED {
            absences.is_lasting(&number.to_string(), start);
        }
        assert!(absences.0.lock().unwrap().len() <= REMEMBERED);
    }
}
