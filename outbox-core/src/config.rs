//! How a relay works: plain data, checked once.

use crate::error::OutboxError;
use crate::retry::RetrySchedule;
use crate::storage::ClaimLimit;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The options of the processors. Made by [`OutboxConfig::builder`]; the default is valid.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OutboxConfig {
    pub(crate) batch_size: usize,
    pub(crate) batch_bytes: usize,
    pub(crate) lease: Duration,
    pub(crate) publish_timeout: Duration,
    pub(crate) poll_interval: Duration,
    pub(crate) retry: RetrySchedule,
    pub(crate) breaker: RetrySchedule,
    pub(crate) shutdown_grace: Duration,
    pub(crate) failure_threshold: u32,
    pub(crate) heap_timeout: Duration,
    pub(crate) dlq_interval: Duration,
    pub(crate) dlq_lease: Duration,
    pub(crate) dlq_page: usize,
    pub(crate) heap_retention: Duration,
}

impl OutboxConfig {
    /// Options to change, beginning with the defaults.
    #[must_use]
    pub fn builder() -> OutboxConfigBuilder {
        OutboxConfigBuilder(Self::default())
    }

    /// The most outcomes kept for a heap that is down; the oldest are dropped beyond it.
    pub(crate) const UNREPORTED: usize = 10_000;
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self {
            batch_size: 100,
            batch_bytes: ClaimLimit::BYTES,
            lease: Duration::from_secs(30),
            publish_timeout: Duration::from_secs(10),
            poll_interval: Duration::from_secs(1),
            retry: RetrySchedule {
                initial: Duration::from_secs(1),
                max: Duration::from_secs(300),
            },
            breaker: RetrySchedule {
                initial: Duration::from_secs(1),
                max: Duration::from_secs(30),
            },
            shutdown_grace: Duration::from_secs(10),
            failure_threshold: 10,
            heap_timeout: Duration::from_secs(5),
            dlq_interval: Duration::from_secs(5),
            dlq_lease: Duration::from_secs(60),
            dlq_page: 100,
            heap_retention: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// Options that [`build`](Self::build) checks.
#[derive(Clone, Debug)]
pub struct OutboxConfigBuilder(OutboxConfig);

impl OutboxConfigBuilder {
    /// Events per claim, 1 to 10,000. Default 100: large enough to share the cost of a
    /// transaction, small enough that a lost worker repeats little.
    #[must_use]
    pub fn batch_size(mut self, events: usize) -> Self {
        self.0.batch_size = events;
        self
    }

    /// The bytes of payloads and headers per claim and per call of the transport, 1 KiB to 1 GiB.
    /// Default 16 MiB. A single event may be larger. The worker needs a few times as much memory,
    /// as the store's driver and the transport have copies.
    #[must_use]
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.0.batch_bytes = bytes;
        self
    }

    /// How long a claim is held, up to a day. Default 30 s. Longer than the publish timeout, so
    /// that no worker publishes what another has taken over.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.0.lease = lease;
        self
    }

    /// How long one publish may take, from 1 ms. Default 10 s.
    #[must_use]
    pub fn publish_timeout(mut self, timeout: Duration) -> Self {
        self.0.publish_timeout = timeout;
        self
    }

    /// How long an idle worker waits at most before it looks again, 1 ms to an hour. Default 1 s:
    /// a safety net, as stores wake the worker earlier.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.0.poll_interval = interval;
        self
    }

    /// The longest delay after the first failed attempt, 1 ms to a day; it doubles with each
    /// further one. Default 1 s.
    #[must_use]
    pub fn retry_initial(mut self, delay: Duration) -> Self {
        self.0.retry.initial = delay;
        self
    }

    /// The longest delay after any attempt, up to a week. Default 5 min.
    #[must_use]
    pub fn retry_max(mut self, delay: Duration) -> Self {
        self.0.retry.max = delay;
        self
    }

    /// The longest pause after the broker is first found unavailable, 1 ms to an hour; it doubles
    /// with each failed probe. Default 1 s.
    #[must_use]
    pub fn breaker_initial(mut self, pause: Duration) -> Self {
        self.0.breaker.initial = pause;
        self
    }

    /// The longest pause between two probes of a broker, up to an hour. Default 30 s.
    #[must_use]
    pub fn breaker_max(mut self, pause: Duration) -> Self {
        self.0.breaker.max = pause;
        self
    }

    /// How long a shutdown waits for a publish under way, up to an hour. Default 10 s.
    #[must_use]
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.0.shutdown_grace = grace;
        self
    }

    /// Failed attempts before an event is quarantined, at least 1. Default 10: with the default
    /// delays some five minutes of patience on average.
    #[must_use]
    pub fn failure_threshold(mut self, attempts: u32) -> Self {
        self.0.failure_threshold = attempts;
        self
    }

    /// How long the worker waits for the heap, 1 ms to an hour. Default 5 s.
    #[must_use]
    pub fn heap_timeout(mut self, timeout: Duration) -> Self {
        self.0.heap_timeout = timeout;
        self
    }

    /// The time between two looks for events to quarantine, 1 ms to a day. Default 5 s: a safety
    /// net, as the worker wakes the dead-letter processor earlier.
    #[must_use]
    pub fn dlq_interval(mut self, interval: Duration) -> Self {
        self.0.dlq_interval = interval;
        self
    }

    /// How long an entry over the threshold is hidden while it is being moved, 1 ms to a day.
    /// Default 60 s.
    #[must_use]
    pub fn dlq_lease(mut self, lease: Duration) -> Self {
        self.0.dlq_lease = lease;
        self
    }

    /// Events moved into the quarantine at once, 1 to 10,000. Default 100.
    #[must_use]
    pub fn dlq_page(mut self, events: usize) -> Self {
        self.0.dlq_page = events;
        self
    }

    /// The age at which a count without a new failure is forgotten, from a minute. Default a
    /// week. Keep it above the longest retry delay.
    #[must_use]
    pub fn heap_retention(mut self, age: Duration) -> Self {
        self.0.heap_retention = age;
        self
    }

    /// Checks all options.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) names the first option that is out of
    /// range, its value and what is allowed.
    pub fn build(self) -> Result<OutboxConfig, OutboxError> {
        const MS: Duration = Duration::from_millis(1);
        const HOUR: Duration = Duration::from_secs(3600);
        const DAY: Duration = Duration::from_secs(24 * 3600);
        const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

        let config = self.0;
        count("batch size", config.batch_size)?;
        if !(1024..=1024 * 1024 * 1024).contains(&config.batch_bytes) {
            let allowed = "1024 to 1073741824 (1 KiB to 1 GiB)";
            return Err(refused("batch bytes", config.batch_bytes, allowed));
        }
        count("dlq page", config.dlq_page)?;
        if config.failure_threshold == 0 {
            return Err(refused("failure threshold", 0, "at least 1"));
        }
        duration("publish timeout", config.publish_timeout, MS..=DAY)?;
        duration("lease", config.lease, MS..=DAY)?;
        duration("poll interval", config.poll_interval, MS..=HOUR)?;
        duration("retry initial", config.retry.initial, MS..=DAY)?;
        let retry_max = config.retry.initial..=7 * DAY;
        duration("retry max", config.retry.max, retry_max)?;
        duration("breaker initial", config.breaker.initial, MS..=HOUR)?;
        let breaker_max = config.breaker.initial..=HOUR;
        duration("breaker max", config.breaker.max, breaker_max)?;
        duration(
            "shutdown grace",
            config.shutdown_grace,
            Duration::ZERO..=HOUR,
        )?;
        duration("heap timeout", config.heap_timeout, MS..=HOUR)?;
        duration("dlq interval", config.dlq_interval, MS..=DAY)?;
        duration("dlq lease", config.dlq_lease, MS..=DAY)?;
        let retention = Duration::from_secs(60)..=YEAR;
        duration("heap retention", config.heap_retention, retention)?;
        if config.lease <= config.publish_timeout {
            let allowed = format!(
                "longer than the publish timeout ({:?})",
                config.publish_timeout
            );
            return Err(refused("lease", format!("{:?}", config.lease), allowed));
        }
        Ok(config)
    }
}

fn count(what: &'static str, value: usize) -> Result<(), OutboxError> {
    if (1..=10_000).contains(&value) {
        return Ok(());
    }
    Err(refused(what, value, "1 to 10000"))
}

fn duration(
    what: &'static str,
    value: Duration,
    allowed: RangeInclusive<Duration>,
) -> Result<(), OutboxError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    let range = format!("{:?} to {:?}", allowed.start(), allowed.end());
    Err(refused(what, format!("{value:?}"), range))
}

fn refused(
    what: &'static str,
    value: impl std::fmt::Display,
    allowed: impl std::fmt::Display,
) -> OutboxError {
    let problem = format!("{what} is {value}, but must be {allowed}");
    OutboxError::invalid("config", "build", problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_may_wait_a_week_and_no_longer() {
        let week = Duration::from_secs(7 * 24 * 3600);
        let build = |delay| OutboxConfig::builder().retry_max(delay).build();
        assert!(build(week).is_ok());
        assert!(build(week + Duration::from_millis(1)).is_err());
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(
            OutboxConfig::builder().build().unwrap(),
            OutboxConfig::default()
        );
    }

    #[test]
    fn a_lease_that_is_not_longer_than_the_publish_timeout_is_refused() {
        let second = Duration::from_secs(1);
        let build = |lease, timeout| {
            OutboxConfig::builder()
                .lease(lease)
                .publish_timeout(timeout)
                .build()
        };
        assert!(build(2 * second, second).is_ok());
        let report = build(second, second).unwrap_err().to_string();
        assert!(
            report.contains("lease is 1s, but must be longer"),
            "{report}"
        );
        assert!(report.contains("publish timeout (1s)"), "{report}");
    }

    #[test]
    fn each_option_out_of_range_is_named() {
        let builder = OutboxConfig::builder;
        let day = Duration::from_secs(24 * 3600);
        for (builder, name) in [
            (builder().batch_size(0), "batch size is 0, but"),
            (builder().batch_size(10_001), "batch size is 10001, but"),
            (builder().batch_bytes(1023), "batch bytes is 1023, but"),
            (builder().batch_bytes((1 << 30) + 1), "batch bytes"),
            (builder().dlq_page(0), "dlq page"),
            (builder().failure_threshold(0), "failure threshold"),
            (builder().publish_timeout(Duration::ZERO), "publish timeout"),
            (builder().lease(2 * day), "lease"),
            (builder().poll_interval(Duration::ZERO), "poll interval"),
            (builder().retry_initial(Duration::ZERO), "retry initial"),
            (builder().retry_max(Duration::ZERO), "retry max"),
            (builder().breaker_initial(Duration::ZERO), "breaker initial"),
            (builder().breaker_max(Duration::ZERO), "breaker max"),
            (builder().shutdown_grace(day), "shutdown grace"),
            (builder().heap_timeout(Duration::ZERO), "heap timeout"),
            (builder().dlq_interval(Duration::ZERO), "dlq interval"),
            (builder().dlq_lease(Duration::ZERO), "dlq lease"),
            (builder().heap_retention(Duration::ZERO), "heap retention"),
        ] {
            let report = builder.build().unwrap_err().to_string();
            assert!(report.contains(name), "{report}");
        }
    }
}
