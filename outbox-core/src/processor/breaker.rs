//! The circuit breaker between a worker and its broker.

use crate::retry::RetrySchedule;
use tokio::time::{Duration, Instant};

/// Decides when and how many events a worker may claim.
///
/// While the broker is unavailable, the breaker is open: nothing is claimed during a pause, then one
/// event is claimed as a probe. After a success the batch doubles with each pass. So an event that
/// makes the broker unavailable ends up alone in a probe instead of in every batch.
#[derive(Debug)]
pub(crate) struct CircuitBreaker {
    pauses: RetrySchedule,
    batch_size: usize,
    /// How many events the next pass may claim.
    limit: usize,
    /// Failures in a row.
    failures: u32,
    /// Changes with each failure. A pass that began before says nothing about the pause after it.
    generation: u64,
    open_until: Option<Instant>,
}

impl CircuitBreaker {
    pub(crate) fn new(pauses: RetrySchedule, batch_size: usize) -> Self {
        Self {
            pauses,
            batch_size,
            limit: batch_size,
            failures: 0,
            generation: 0,
            open_until: None,
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the broker failed last, so that the next pass probes it.
    pub(crate) fn is_probing(&self) -> bool {
        self.failures > 0
    }

    /// How many events may be claimed now; zero while the worker must wait.
    pub(crate) fn limit(&self) -> usize {
        if self.pause().is_zero() {
            self.limit
        } else {
            0
        }
    }

    /// How long the worker must wait.
    pub(crate) fn pause(&self) -> Duration {
        self.open_until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(Instant::now())
        })
    }

    /// A claim failed, perhaps because it was too large: the next one asks for half the events.
    /// Successful passes double the number again.
    pub(crate) fn claim_failed(&mut self) {
        self.limit = (self.limit / 2).max(1);
    }

    /// The broker answered for all events.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
        self.open_until = None;
        self.limit = self.limit.saturating_mul(2).min(self.batch_size);
    }

    /// The broker could not be reached: the next pass probes with one event. The pause is the `longest`
    /// at once if a person must repair something.
    pub(crate) fn failed(&mut self, longest: bool) {
        self.failures = self.failures.saturating_add(1);
        self.generation += 1;
        self.limit = 1;
        self.wait(self.pauses.random_pause(self.failures, longest));
    }

    /// The broker asked the worker to wait.
    pub(crate) fn throttled(&mut self, after: Duration) {
        self.wait(after);
    }

    fn wait(&mut self, pause: Duration) {
        self.open_until = Some(pause_end(pause));
    }
}

/// When a pause that starts now ends: a broker may ask for a day at most.
pub(super) fn pause_end(pause: Duration) -> Instant {
    Instant::now() + pause.min(Duration::from_secs(24 * 3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSES: RetrySchedule = RetrySchedule {
        initial: Duration::from_secs(1),
        max: Duration::from_secs(30),
    };

    #[tokio::test(start_paused = true)]
    async fn a_failure_pauses_then_probes_with_one_then_grows() {
        let mut breaker = CircuitBreaker::new(PAUSES, 10);
        assert_eq!(breaker.limit(), 10);
        breaker.failed(false);
        assert_eq!(breaker.limit(), 0);
        assert!(breaker.pause() >= Duration::from_millis(500));
        tokio::time::advance(Duration::from_secs(1)).await;
        let grown: Vec<usize> = (0..5)
            .map(|_| {
                let limit = breaker.limit();
                breaker.succeeded();
                limit
            })
            .collect();
        assert_eq!(grown, [1, 2, 4, 8, 10]);
    }

    #[tokio::test(start_paused = true)]
    async fn each_failed_claim_halves_the_next_one_down_to_a_single_event() {
        let mut breaker = CircuitBreaker::new(PAUSES, 10);
        let limits = [(); 5].map(|()| {
            breaker.claim_failed();
            breaker.limit()
        });
        assert_eq!(limits, [5, 2, 1, 1, 1]);
        breaker.succeeded();
        assert_eq!(breaker.limit(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn failed_probes_wait_longer_up_to_the_maximum() {
        let pauses = [(); 100].map(|()| {
            let mut breaker = CircuitBreaker::new(PAUSES, 10);
            for _ in 0..10 {
                breaker.failed(false);
            }
            breaker.pause()
        });
        let (shortest, longest) = (pauses.iter().min(), pauses.iter().max());
        let (shortest, longest) = (*shortest.unwrap(), *longest.unwrap());
        assert!(shortest >= Duration::from_secs(15), "{shortest:?}");
        assert!(longest <= Duration::from_secs(30), "{longest:?}");
        assert!(
            longest > shortest + Duration::from_secs(1),
            "pauses are random"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttle_waits_as_long_as_it_asks_up_to_a_day_and_keeps_the_batch() {
        let mut breaker = CircuitBreaker::new(PAUSES, 10);
        breaker.throttled(Duration::from_secs(7));
        assert_eq!(breaker.pause(), Duration::from_secs(7));
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(breaker.limit(), 10);
        breaker.throttled(Duration::MAX);
        assert_eq!(breaker.pause(), Duration::from_secs(24 * 3600));
    }
}
