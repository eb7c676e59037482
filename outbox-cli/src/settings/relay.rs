//! How `outbox relay` works: one definition for flag, environment and file.
#![allow(
    clippy::doc_markdown,
    reason = "these comments are the help texts of the command"
)]

use super::period::Period;
use clap::Args;
use clap::builder::BoolishValueParser;
use outbox_core::{OutboxConfig, OutboxConfigBuilder, OutboxError};
use serde::Deserialize;
use std::time::Duration;

/// Each field is the flag `--batch-size`, the variable OUTBOX_BATCH_SIZE and the key `batch-size`.
/// None: the default of [`OutboxConfig`].
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RelaySettings {
    /// Where events go: stdout:// or file:PATH (also a FIFO, a device or a Unix socket), a JSON object a
    /// line, or a broker: nats://USER@HOST, amqp://USER@HOST/VHOST, redis://USER@HOST or
    /// postgres://USER@HOST/DATABASE [default: stdout://]
    #[arg(long, env = "OUTBOX_TO", hide_env_values = true)]
    pub(crate) to: Option<String>,
    /// Let later events of a key wait until its dead letter is replayed or purged
    /// [default: false]
    #[arg(long, env = "OUTBOX_BLOCK_KEYS", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub(crate) block_keys: Option<bool>,
    /// With --drain: fail when the store or the destination has failed for this time
    /// [default: 1min]
    #[arg(long, env = "OUTBOX_DRAIN_TIMEOUT", value_name = "TIME")]
    pub(crate) drain_timeout: Option<Period>,
    /// Events per claim [default: 100]
    #[arg(long, env = "OUTBOX_BATCH_SIZE", value_name = "EVENTS")]
    batch_size: Option<usize>,
    /// Bytes of payloads and headers per claim and per write to the destination; a single event may
    /// have more [default: 16777216]
    #[arg(long, env = "OUTBOX_BATCH_BYTES", value_name = "BYTES")]
    batch_bytes: Option<usize>,
    /// Claims that are published at the same time; 1 to 64 [default: 12]
    #[arg(long, env = "OUTBOX_CONCURRENCY", value_name = "CLAIMS")]
    concurrency: Option<usize>,
    /// How long a claim is held; longer than the publish timeout [default: 30s]
    #[arg(long, env = "OUTBOX_LEASE", value_name = "TIME")]
    lease: Option<Period>,
    /// How long one publish may take [default: 10s]
    #[arg(long, env = "OUTBOX_PUBLISH_TIMEOUT", value_name = "TIME")]
    publish_timeout: Option<Period>,
    /// Failed attempts before an event is quarantined [default: 10]
    #[arg(long, env = "OUTBOX_FAILURE_THRESHOLD", value_name = "ATTEMPTS")]
    failure_threshold: Option<u32>,
    /// The longest delay after the first failed attempt; it doubles with each further one
    /// [default: 1s]
    #[arg(long, env = "OUTBOX_RETRY_INITIAL", value_name = "TIME")]
    retry_initial: Option<Period>,
    /// The longest delay after any failed attempt [default: 5min]
    #[arg(long, env = "OUTBOX_RETRY_MAX", value_name = "TIME")]
    retry_max: Option<Period>,
    /// The longest pause after the destination is first found unavailable [default: 1s]
    #[arg(long, env = "OUTBOX_BREAKER_INITIAL", value_name = "TIME")]
    breaker_initial: Option<Period>,
    /// The longest pause between two probes of a destination [default: 30s]
    #[arg(long, env = "OUTBOX_BREAKER_MAX", value_name = "TIME")]
    breaker_max: Option<Period>,
    /// The longest pause after a failed call of the store [default: 30s]
    #[arg(long, env = "OUTBOX_STORE_RETRY_MAX", value_name = "TIME")]
    store_retry_max: Option<Period>,
    /// How long an idle relay waits at most before it looks again [default: 1s]
    #[arg(long, env = "OUTBOX_POLL_INTERVAL", value_name = "TIME")]
    poll_interval: Option<Period>,
    /// How long a shutdown waits for a publish under way [default: 10s]
    #[arg(long, env = "OUTBOX_SHUTDOWN_GRACE", value_name = "TIME")]
    shutdown_grace: Option<Period>,
    /// How long the relay waits for the heap [default: 5s]
    #[arg(long, env = "OUTBOX_HEAP_TIMEOUT", value_name = "TIME")]
    heap_timeout: Option<Period>,
    /// The longest pause after a failed call of the heap [default: 30s]
    #[arg(long, env = "OUTBOX_HEAP_RETRY_MAX", value_name = "TIME")]
    heap_retry_max: Option<Period>,
    /// The age at which a count without a new failure is forgotten [default: 7days]
    #[arg(long, env = "OUTBOX_HEAP_RETENTION", value_name = "TIME")]
    heap_retention: Option<Period>,
    /// How often the relay checks the heap for events to quarantine [default: 5s]
    #[arg(long, env = "OUTBOX_HEAP_INTERVAL", value_name = "TIME")]
    heap_interval: Option<Period>,
    /// How long the heap hides an entry from other relays while its event is quarantined
    /// [default: 1min]
    #[arg(long, env = "OUTBOX_HEAP_LEASE", value_name = "TIME")]
    heap_lease: Option<Period>,
    /// Entries of the heap that are quarantined at once [default: 100]
    #[arg(long, env = "OUTBOX_HEAP_PAGE", value_name = "ENTRIES")]
    heap_page: Option<usize>,
}

impl RelaySettings {
    /// Those that `outbox check` has.
    pub(crate) fn of_destination(to: Option<String>, publish_timeout: Option<Period>) -> Self {
        Self {
            to,
            publish_timeout,
            ..Self::default()
        }
    }

    /// How long one publish may take.
    pub(crate) fn publish_timeout(&self) -> Duration {
        let default = || OutboxConfig::default().publish_timeout();
        self.publish_timeout.map_or_else(default, Into::into)
    }

    /// Where events go.
    pub(crate) fn to(&self) -> &str {
        self.to.as_deref().unwrap_or("stdout://")
    }

    /// These settings, and those of `other` where these set nothing.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            to: self.to.or(other.to),
            block_keys: self.block_keys.or(other.block_keys),
            drain_timeout: self.drain_timeout.or(other.drain_timeout),
            batch_size: self.batch_size.or(other.batch_size),
            batch_bytes: self.batch_bytes.or(other.batch_bytes),
            concurrency: self.concurrency.or(other.concurrency),
            lease: self.lease.or(other.lease),
            publish_timeout: self.publish_timeout.or(other.publish_timeout),
            failure_threshold: self.failure_threshold.or(other.failure_threshold),
            retry_initial: self.retry_initial.or(other.retry_initial),
            retry_max: self.retry_max.or(other.retry_max),
            breaker_initial: self.breaker_initial.or(other.breaker_initial),
            breaker_max: self.breaker_max.or(other.breaker_max),
            store_retry_max: self.store_retry_max.or(other.store_retry_max),
            poll_interval: self.poll_interval.or(other.poll_interval),
            shutdown_grace: self.shutdown_grace.or(other.shutdown_grace),
            heap_timeout: self.heap_timeout.or(other.heap_timeout),
            heap_retry_max: self.heap_retry_max.or(other.heap_retry_max),
            heap_retention: self.heap_retention.or(other.heap_retention),
            heap_interval: self.heap_interval.or(other.heap_interval),
            heap_lease: self.heap_lease.or(other.heap_lease),
            heap_page: self.heap_page.or(other.heap_page),
        }
    }

    /// The options of the relay.
    pub(super) fn config(&self) -> Result<OutboxConfig, OutboxError> {
        use OutboxConfigBuilder as Builder;
        Draft(OutboxConfig::builder())
            .set(self.batch_size, Builder::batch_size)
            .set(self.batch_bytes, Builder::batch_bytes)
            .set(self.concurrency, Builder::concurrency)
            .set(self.lease, Builder::lease)
            .set(self.publish_timeout, Builder::publish_timeout)
            .set(self.failure_threshold, Builder::failure_threshold)
            .set(self.retry_initial, Builder::retry_initial)
            .set(self.retry_max, Builder::retry_max)
            .set(self.breaker_initial, Builder::breaker_initial)
            .set(self.breaker_max, Builder::breaker_max)
            .set(self.store_retry_max, Builder::store_retry_max)
            .set(self.poll_interval, Builder::poll_interval)
            .set(self.shutdown_grace, Builder::shutdown_grace)
            .set(self.heap_timeout, Builder::heap_timeout)
            .set(self.heap_retry_max, Builder::heap_retry_max)
            .set(self.heap_retention, Builder::heap_retention)
            .set(self.heap_interval, Builder::heap_interval)
            .set(self.heap_lease, Builder::heap_lease)
            .set(self.heap_page, Builder::heap_page)
            .0
            .build()
    }
}

/// Options of which some are set.
struct Draft(OutboxConfigBuilder);

impl Draft {
    fn set<V: Into<T>, T>(
        self,
        value: Option<V>,
        set: fn(OutboxConfigBuilder, T) -> OutboxConfigBuilder,
    ) -> Self {
        match value {
            Some(value) => Self(set(self.0, value.into())),
            None => self,
        }
    }
}
