//! Delays between attempts.

use std::time::Duration;

/// Exponential backoff with full jitter: the delay after attempt n is random between zero and
/// `initial` · 2ⁿ⁻¹, capped at `max`.
///
/// Full jitter spreads the retries of many events that failed together; the name and the
/// comparison with other kinds of jitter are from Marc Brooker's work at AWS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RetrySchedule {
    pub(crate) initial: Duration,
    pub(crate) max: Duration,
}

impl RetrySchedule {
    /// The longest delay after the given attempt, which counts from 1.
    pub(crate) fn ceiling(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        self.initial.saturating_mul(1 << doublings).min(self.max)
    }

    /// The delay after the given attempt, for a `jitter` from 0 up to 1.
    pub(crate) fn delay(&self, attempt: u32, jitter: f64) -> Duration {
        self.ceiling(attempt).mul_f64(jitter.clamp(0.0, 1.0))
    }

    /// The pause after the given number of failures in a row, or the longest one. Half of it is random, so
    /// that many workers do not probe at the same time.
    pub(crate) fn random_pause(&self, failures: u32, longest: bool) -> Duration {
        let ceiling = if longest {
            self.max
        } else {
            self.ceiling(failures)
        };
        ceiling.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// The delay after the given attempt, with a random jitter.
    pub(crate) fn random_delay(&self, attempt: u32) -> Duration {
        self.delay(attempt, fastrand::f64())
    }
}

/// The interval, a tenth more or less. So the calls of many relays that start together drift apart.
pub(crate) fn spread(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + fastrand::f64() / 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: RetrySchedule = RetrySchedule {
        initial: Duration::from_secs(1),
        max: Duration::from_secs(300),
    };

    #[test]
    fn the_ceiling_doubles_up_to_the_maximum() {
        let ceilings: Vec<u64> = (1..=11).map(|n| SCHEDULE.ceiling(n).as_secs()).collect();
        assert_eq!(ceilings, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(SCHEDULE.ceiling(0).as_secs(), 1);
        assert_eq!(SCHEDULE.ceiling(u32::MAX).as_secs(), 300);
    }

    #[test]
    fn jitter_covers_everything_below_the_ceiling() {
        assert_eq!(SCHEDULE.delay(3, 0.0), Duration::ZERO);
        assert_eq!(SCHEDULE.delay(3, 0.5), Duration::from_secs(2));
        let random: Vec<_> = (0..100).map(|_| SCHEDULE.random_delay(3)).collect();
        assert!(random.iter().all(|delay| *delay <= SCHEDULE.ceiling(3)));
        assert!(random.iter().any(|delay| *delay != random[0]));
    }
}
