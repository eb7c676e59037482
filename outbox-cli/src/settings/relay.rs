//! How `outbox relay` works: one definition for flag, environment and file.
#![allow(
    clippy::doc_markdown,
    reason = "these comments are the help texts of the command"
)]

use super::log_format::LogFormat;
use super::period::Period;
use super::secret;
use crate::failure::Failure;
use crate::wiring;
use clap::Args;
use clap::builder::BoolishValueParser;
use outbox_core::{OutboxConfig, OutboxConfigBuilder, OutboxError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::net::SocketAddr;
use std::time::Duration;

/// Each field is the flag `--batch-size`, the variable OUTBOX_BATCH_SIZE and the key `batch-size`.
/// None: the default, which is that of [`OutboxConfig`] where it has the option.
#[derive(Args, Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RelaySettings {
    /// Where events go: stdout:// or file:PATH (also a FIFO, a device or a Unix socket), a JSON object a
    /// line, a broker: nats://USER@HOST, amqp://USER@HOST/VHOST, redis://USER@HOST or
    /// postgres://USER@HOST/DATABASE, or an HTTP endpoint: https://HOST/PATH [default: stdout://]
    #[arg(long, env = "OUTBOX_TO", hide_env_values = true)]
    #[serde(deserialize_with = "secret::url")]
    pub(crate) to: Option<String>,
    /// Where in a broker an event goes: the template of the subject of NATS, the routing key of RabbitMQ or
    /// the stream of Redis, as the parameter of the URL [default: that of the broker]
    #[arg(long, env = "OUTBOX_TEMPLATE", value_name = "TEMPLATE")]
    pub(crate) template: Option<String>,
    /// The form in which a broker or an endpoint gets events, as the parameter of the URL: raw,
    /// cloudevents-binary or cloudevents-structured [default: raw]
    #[arg(long, env = "OUTBOX_FORM", value_name = "FORM")]
    pub(crate) form: Option<String>,
    /// The most connections to PostgreSQL that the process holds, for all its stores, heaps and
    /// destinations together [default: 40]
    #[arg(long, env = "OUTBOX_CONNECTIONS", value_name = "CONNECTIONS")]
    pub(crate) connections: Option<u32>,
    /// Show metrics and health over HTTP at this address, such as 127.0.0.1:9464: /metrics, /livez, /readyz
    /// and /healthz, without authentication [default: none]
    #[arg(long, env = "OUTBOX_LISTEN", value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    // The flag is that of all commands.
    #[arg(skip)]
    pub(crate) log_format: Option<LogFormat>,
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
    pub(crate) publish_timeout: Option<Period>,
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
    /// How long an idle relay waits before it looks again; up to five times as long while nothing comes
    /// [default: 1s]
    #[arg(long, env = "OUTBOX_POLL_INTERVAL", value_name = "TIME")]
    poll_interval: Option<Period>,
    /// How often a relay that listens counts its backlog [default: 15s]
    #[arg(long, env = "OUTBOX_SAMPLE_INTERVAL", value_name = "TIME")]
    sample_interval: Option<Period>,
    /// /healthz fails if an event has been due, or a destination has paused, for longer [default: 5min]
    #[arg(long, env = "OUTBOX_HEALTH_MAX_AGE", value_name = "TIME")]
    pub(crate) health_max_age: Option<Period>,
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
    /// How often the relay checks the heap for events to quarantine [default: 15s]
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

/// The names of the fields, as the file has them.
const KEYS: &[&str] = &[
    "to",
    "template",
    "form",
    "connections",
    "listen",
    "log-format",
    "block-keys",
    "drain-timeout",
    "batch-size",
    "batch-bytes",
    "concurrency",
    "lease",
    "publish-timeout",
    "failure-threshold",
    "retry-initial",
    "retry-max",
    "breaker-initial",
    "breaker-max",
    "store-retry-max",
    "poll-interval",
    "sample-interval",
    "health-max-age",
    "shutdown-grace",
    "heap-timeout",
    "heap-retry-max",
    "heap-retention",
    "heap-interval",
    "heap-lease",
    "heap-page",
];

/// Where events go by default.
const STDOUT: &str = "stdout://";

/// How long `--drain` waits for a store or a destination that makes no progress.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// How long an event may be due, and a destination may pause. It is longer than what a relay repairs by
/// itself: the lease of a lost relay and the longest pause between probes are 30 s each.
const HEALTH_MAX_AGE: Duration = Duration::from_secs(300);

/// Two relays of 40 leave a server with the default `max_connections` of 100 a few connections for
/// applications.
const CONNECTIONS: u32 = 40;

impl RelaySettings {
    /// How long one publish may take.
    pub(crate) fn publish_timeout(&self) -> Duration {
        let default = || OutboxConfig::default().publish_timeout();
        self.publish_timeout.map_or_else(default, Into::into)
    }

    /// Where events go: the URL, with the parameters that are keys of their own.
    pub(crate) fn destination(&self) -> Result<String, Failure> {
        let to = self.to.as_deref().unwrap_or(STDOUT);
        wiring::with_parameters(to, self.template.as_deref(), self.form.as_deref())
    }

    pub(crate) fn connections(&self) -> u32 {
        self.connections.unwrap_or(CONNECTIONS)
    }

    /// How long `--drain` waits for a store or a destination that makes no progress.
    pub(crate) fn drain_timeout(&self) -> Duration {
        self.drain_timeout.map_or(DRAIN_TIMEOUT, Into::into)
    }

    /// How long an event may be due, and a destination may pause, while a store makes progress.
    pub(crate) fn health_max_age(&self) -> Duration {
        self.health_max_age.map_or(HEALTH_MAX_AGE, Into::into)
    }

    /// The names of the keys.
    pub(super) fn keys() -> Vec<&'static str> {
        KEYS.to_vec()
    }

    /// The keys that are set, with their values.
    pub(super) fn values(&self) -> Map<String, Value> {
        let Ok(Value::Object(mut values)) = serde_json::to_value(self) else {
            return Map::new();
        };
        values.retain(|_, value| !value.is_null());
        values
    }

    /// These settings, without one of them.
    pub(super) fn without(&self, key: &str) -> Self {
        let mut values = self.values();
        values.remove(key);
        serde_json::from_value(Value::Object(values)).unwrap_or_default()
    }

    /// All settings with their defaults, except the template, whose default is that of the broker, and the
    /// address, which has none.
    pub(super) fn defaults() -> Self {
        let config = OutboxConfig::default();
        let period = |length: Duration| Some(length.into());
        Self {
            to: Some(STDOUT.to_owned()),
            template: None,
            form: Some("raw".to_owned()),
            connections: Some(CONNECTIONS),
            listen: None,
            log_format: Some(LogFormat::Text),
            block_keys: Some(false),
            drain_timeout: period(DRAIN_TIMEOUT),
            batch_size: Some(config.batch_size()),
            batch_bytes: Some(config.batch_bytes()),
            concurrency: Some(config.concurrency()),
            lease: period(config.lease()),
            publish_timeout: period(config.publish_timeout()),
            failure_threshold: Some(config.failure_threshold()),
            retry_initial: period(config.retry_initial()),
            retry_max: period(config.retry_max()),
            breaker_initial: period(config.breaker_initial()),
            breaker_max: period(config.breaker_max()),
            store_retry_max: period(config.store_retry_max()),
            poll_interval: period(config.poll_interval()),
            sample_interval: period(config.sample_interval()),
            health_max_age: period(HEALTH_MAX_AGE),
            shutdown_grace: period(config.shutdown_grace()),
            heap_timeout: period(config.heap_timeout()),
            heap_retry_max: period(config.heap_retry_max()),
            heap_retention: period(config.heap_retention()),
            heap_interval: period(config.heap_interval()),
            heap_lease: period(config.heap_lease()),
            heap_page: Some(config.heap_page()),
        }
    }

    /// As [`or`](Self::or), for settings of a lower level. A template and a form belong to the destination of
    /// their own level.
    pub(super) fn over(self, mut lower: Self) -> Self {
        if self.to.is_some() {
            lower.template = None;
            lower.form = None;
        }
        self.or(lower)
    }

    /// These settings, and those of `other` where these set nothing.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            to: self.to.or(other.to),
            template: self.template.or(other.template),
            form: self.form.or(other.form),
            connections: self.connections.or(other.connections),
            listen: self.listen.or(other.listen),
            log_format: self.log_format.or(other.log_format),
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
            sample_interval: self.sample_interval.or(other.sample_interval),
            health_max_age: self.health_max_age.or(other.health_max_age),
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
            .set(self.sample_interval, Builder::sample_interval)
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
