//! The options of the processors: plain data, checked once.

use crate::error::OutboxError;
use crate::retry::RetrySchedule;
use crate::storage::ClaimLimit;
use std::ops::RangeInclusive;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Defines the options once: the field and its default, the setter, and the method that reads it.
macro_rules! options {
    ($($(#[$docs:meta])* $name:ident: $type:ty = $default:expr;)*) => {
        /// The options of [`Relay`](crate::Relay) and the processors. The default is valid.
        ///
        /// Each option has a method that reads it; its limits and its default are on the setter of
        /// the same name of [`OutboxConfigBuilder`].
        ///
        /// ```
        /// # use outbox_core::OutboxConfig;
        /// # use std::time::Duration;
        /// let config = OutboxConfig::builder()
        ///     .failure_threshold(5)
        ///     .retry_max(Duration::from_secs(60))
        ///     .build()?;
        /// assert_eq!(config.failure_threshold(), 5);
        /// assert_eq!(config.batch_size(), 100);
        /// # Ok::<(), outbox_core::OutboxError>(())
        /// ```
        #[derive(Clone, Debug, Eq, PartialEq)]
        pub struct OutboxConfig {
            $($name: $type,)*
        }

        impl OutboxConfig {
            $(
                #[doc = concat!("See [`OutboxConfigBuilder::", stringify!($name), "`].")]
                #[must_use]
                pub fn $name(&self) -> $type {
                    self.$name
                }
            )*
        }

        impl Default for OutboxConfig {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        /// Options that [`build`](Self::build) checks. The setters may be called in any order.
        #[derive(Clone, Debug)]
        pub struct OutboxConfigBuilder(OutboxConfig);

        impl OutboxConfigBuilder {
            $(
                $(#[$docs])*
                #[must_use]
                pub fn $name(mut self, $name: $type) -> Self {
                    self.0.$name = $name;
                    self
                }
            )*
        }
    };
}

options! {
    /// Events per claim, 1 to 10,000. Default 100: large enough to share the cost of a
    /// transaction, small enough that a lost worker repeats little.
    batch_size: usize = 100;

    /// Bytes of payloads and headers per claim and per call of the transport, 1 KiB to 1 GiB.
    /// Default 16 MiB. A single event may be larger. The worker needs a few times this memory,
    /// because the store's driver and the transport hold copies.
    batch_bytes: usize = ClaimLimit::BYTES;

    /// Claims that are published at the same time, 1 to 64. Default 12: few keys and a slow
    /// broker keep so many busy. Each has up to `batch_size` events and `batch_bytes` bytes. With 1,
    /// the worker claims again only after it has settled.
    concurrency: usize = 12;

    /// How long a claim belongs to its worker, up to a day. Default 30 s. It must be longer than the
    /// publish timeout, so that no worker publishes an event that another worker has taken over.
    lease: Duration = 30 * SECOND;

    /// How long one call of the transport may take, 1 ms to a day. Default 10 s.
    publish_timeout: Duration = 10 * SECOND;

    /// How long an idle worker waits before it asks the store again, 1 ms to an hour. Default 1 s. While
    /// nothing comes, it waits up to five times as long. This is a safety net: stores wake the worker earlier.
    poll_interval: Duration = SECOND;

    /// The longest delay after an event's first failed attempt, 1 ms to a day. Default 1 s. It
    /// doubles with each further attempt; the delay is random between zero and this value.
    retry_initial: Duration = SECOND;

    /// The longest delay after any failed attempt, `retry_initial` to a week. Default 5 min.
    retry_max: Duration = 5 * MINUTE;

    /// The longest pause after the broker is first found unavailable, 1 ms to an hour. Default 1 s.
    /// It doubles with each failed probe.
    breaker_initial: Duration = SECOND;

    /// The longest pause between two probes of the broker, `breaker_initial` to an hour. Default
    /// 30 s.
    breaker_max: Duration = 30 * SECOND;

    /// The longest pause after a failed call of the store, 1 ms to an hour. Default 30 s. Pauses
    /// start at 1 s, or at this value if it is shorter, and double with each further failure.
    store_retry_max: Duration = 30 * SECOND;

    /// How often a relay with an [observer](crate::Observer) asks the store for its backlog and the heap for
    /// its size, a tenth more or less, 1 ms to an hour. Default 15 s. If an answer takes long, the relay waits at least twenty
    /// times as long before it asks again.
    sample_interval: Duration = 15 * SECOND;

    /// How long a shutdown waits for a running publish, up to an hour. Default 10 s.
    shutdown_grace: Duration = 10 * SECOND;

    /// Failed attempts before an event is quarantined, at least 1. Default 10: with the default
    /// delays about five minutes on average.
    failure_threshold: u32 = 10;

    /// How long the worker waits for one call of the heap, 1 ms to an hour. Default 5 s.
    heap_timeout: Duration = 5 * SECOND;

    /// The longest pause after a failed call of the heap, 1 ms to an hour. Default 30 s. Pauses
    /// start at 1 s, or at this value if it is shorter, and double with each further failure.
    heap_retry_max: Duration = 30 * SECOND;

    /// How often the `DlqProcessor` checks the heap for events to quarantine, 1 ms to a day.
    /// Default 15 s. This is a safety net: the worker wakes the `DlqProcessor` earlier.
    heap_interval: Duration = 15 * SECOND;

    /// How long the heap hides an entry over the threshold from other processes while its event is
    /// quarantined, 1 ms to a day. Default 60 s.
    heap_lease: Duration = MINUTE;

    /// Entries that are leased and quarantined at once, 1 to 10,000. Default 100.
    heap_page: usize = 100;

    /// The age at which a count without a new failure is forgotten, a minute to 366 days. Default
    /// 7 days. Keep it above the longest retry delay.
    heap_retention: Duration = 7 * DAY;
}

impl OutboxConfig {
    /// A builder that starts with the defaults.
    #[must_use]
    pub fn builder() -> OutboxConfigBuilder {
        OutboxConfigBuilder(Self::default())
    }

    pub(crate) fn retry(&self) -> RetrySchedule {
        RetrySchedule {
            initial: self.retry_initial,
            max: self.retry_max,
        }
    }

    pub(crate) fn breaker(&self) -> RetrySchedule {
        RetrySchedule {
            initial: self.breaker_initial,
            max: self.breaker_max,
        }
    }

    pub(crate) fn store_retry(&self) -> RetrySchedule {
        RetrySchedule {
            initial: SECOND,
            max: self.store_retry_max,
        }
    }

    #[cfg(feature = "dlq")]
    pub(crate) fn heap_retry(&self) -> RetrySchedule {
        RetrySchedule {
            initial: SECOND,
            max: self.heap_retry_max,
        }
    }
}

impl OutboxConfigBuilder {
    /// Checks all options.
    ///
    /// ```
    /// # use outbox_core::{ErrorKind, OutboxConfig};
    /// let error = OutboxConfig::builder().batch_size(0).build().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Invalid);
    /// assert!(error.to_string().ends_with("batch size is 0, but must be 1 to 10000"));
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) names the first option that is out of
    /// range, its value and the range.
    pub fn build(self) -> Result<OutboxConfig, OutboxError> {
        let config = self.0;
        count("batch size", config.batch_size)?;
        if !(1024..=1024 * 1024 * 1024).contains(&config.batch_bytes) {
            let range = "1024 to 1073741824 (1 KiB to 1 GiB)";
            return Err(invalid("batch bytes", config.batch_bytes, range));
        }
        if !(1..=64).contains(&config.concurrency) {
            return Err(invalid("concurrency", config.concurrency, "1 to 64"));
        }
        count("heap page", config.heap_page)?;
        if config.failure_threshold == 0 {
            return Err(invalid("failure threshold", 0, "at least 1"));
        }
        let (retry, breaker) = (config.retry(), config.breaker());
        duration("publish timeout", config.publish_timeout, MS..=DAY)?;
        duration("lease", config.lease, MS..=DAY)?;
        duration("poll interval", config.poll_interval, MS..=HOUR)?;
        duration("retry initial", retry.initial, MS..=DAY)?;
        duration("retry max", retry.max, retry.initial..=7 * DAY)?;
        duration("breaker initial", breaker.initial, MS..=HOUR)?;
        duration("breaker max", breaker.max, breaker.initial..=HOUR)?;
        duration("store retry max", config.store_retry_max, MS..=HOUR)?;
        duration("sample interval", config.sample_interval, MS..=HOUR)?;
        let grace = Duration::ZERO..=HOUR;
        duration("shutdown grace", config.shutdown_grace, grace)?;
        duration("heap timeout", config.heap_timeout, MS..=HOUR)?;
        duration("heap retry max", config.heap_retry_max, MS..=HOUR)?;
        duration("heap interval", config.heap_interval, MS..=DAY)?;
        duration("heap lease", config.heap_lease, MS..=DAY)?;
        let retention = MINUTE..=366 * DAY;
        duration("heap retention", config.heap_retention, retention)?;
        if config.lease <= config.publish_timeout {
            let timeout = length(config.publish_timeout);
            let longer = format!("longer than the publish timeout ({timeout})");
            return Err(invalid("lease", length(config.lease), longer));
        }
        Ok(config)
    }
}

fn count(what: &'static str, value: usize) -> Result<(), OutboxError> {
    if (1..=10_000).contains(&value) {
        return Ok(());
    }
    Err(invalid(what, value, "1 to 10000"))
}

fn duration(
    what: &'static str,
    value: Duration,
    range: RangeInclusive<Duration>,
) -> Result<(), OutboxError> {
    if range.contains(&value) {
        return Ok(());
    }
    let range = format!("{} to {}", length(*range.start()), length(*range.end()));
    Err(invalid(what, length(value), range))
}

/// A duration in its largest whole unit, such as `7d`.
fn length(value: Duration) -> String {
    let seconds = value.as_secs();
    let units = [(24 * 3600, "d"), (3600, "h"), (60, "min"), (1, "s")];
    match units
        .into_iter()
        .find(|(unit, _)| seconds.is_multiple_of(*unit))
    {
        _ if value.is_zero() => "0s".to_owned(),
        Some((unit, name)) if value.subsec_nanos() == 0 => format!("{}{name}", seconds / unit),
        _ => format!("{value:?}"),
    }
}

fn invalid(
    what: &'static str,
    value: impl std::fmt::Display,
    required: impl std::fmt::Display,
) -> OutboxError {
    let problem = format!("{what} is {value}, but must be {required}");
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
        assert_eq!(
            build(second, second).unwrap_err().to_string(),
            "config: build: invalid: lease is 1s, but must be longer than the publish timeout (1s)"
        );
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
            (
                builder().concurrency(65),
                "concurrency is 65, but must be 1 to 64",
            ),
            (
                builder().heap_page(0),
                "heap page is 0, but must be 1 to 10000",
            ),
            (
                builder().failure_threshold(0),
                "failure threshold is 0, but must be at least 1",
            ),
            (builder().publish_timeout(Duration::ZERO), "publish timeout"),
            (builder().lease(2 * day), "lease"),
            (builder().poll_interval(Duration::ZERO), "poll interval"),
            (builder().retry_initial(Duration::ZERO), "retry initial"),
            (builder().retry_max(Duration::ZERO), "retry max"),
            (builder().breaker_initial(Duration::ZERO), "breaker initial"),
            (builder().breaker_max(Duration::ZERO), "breaker max"),
            (builder().shutdown_grace(day), "shutdown grace"),
            (builder().heap_timeout(Duration::ZERO), "heap timeout"),
            (builder().heap_interval(Duration::ZERO), "heap interval"),
            (builder().heap_lease(Duration::ZERO), "heap lease"),
            (builder().store_retry_max(Duration::ZERO), "store retry max"),
            (builder().sample_interval(Duration::ZERO), "sample interval"),
            (
                builder().heap_retry_max(2 * HOUR),
                "heap retry max is 2h, but must be 1ms to 1h",
            ),
            (builder().heap_retention(Duration::ZERO), "heap retention"),
        ] {
            let text = builder.build().unwrap_err().to_string();
            assert!(text.contains(name), "{text}");
        }
    }
}
