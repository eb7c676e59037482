//! Which brokers and topics to use, and how calls are made.

use crate::record::{is_topic, topic_rule};
use crate::url;
use outbox_core::wire::{Template, WireForm};
use outbox_core::{OutboxError, check_call_timeout};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

pub(crate) const BACKEND: &str = "kafka";
const OPEN: &str = "open";

const BROKERS: &str = "bootstrap.servers";
const BATCH: &str = "batch.num.messages";
const LARGEST: &str = "message.max.bytes";

pub(crate) const PROTOCOL: &str = "security.protocol";

/// Whether librdkafka is built with OpenSSL.
const HAS_TLS: bool = cfg!(any(
    feature = "tls-openssl",
    feature = "tls-openssl-vendored"
));

/// The largest event by default, as librdkafka has it: just below the default of brokers.
const LARGEST_EVENT: u32 = 1_000_000;
/// What librdkafka allows.
const LARGEST_EVENTS: std::ops::RangeInclusive<u32> = 1_000..=1_000_000_000;

/// A new producer asks for its id half a second after its start. A call that ends before then ends the producer
/// too, so with a shorter timeout nothing would ever be published.
const SHORTEST_CALL_TIMEOUT: Duration = Duration::from_secs(1);

/// The properties that the transport sets. Its guarantees rest on them.
const OURS: [(&str, &str); 10] = [
    ("acks", "all"),
    ("allow.auto.create.topics", "false"),
    ("enable.gapless.guarantee", "true"),
    ("enable.idempotence", "true"),
    // With more, a broker that does not know the producer yet takes a second batch after it has refused the
    // first, and librdkafka then reports both as delivered. See docs/decisions/0037.
    ("max.in.flight.requests.per.connection", "1"),
    // A single message that times out would let later ones of its key pass. The call timeout ends all.
    ("message.timeout.ms", "0"),
    ("partitioner", "murmur2_random"),
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
    ("topic.metadata.propagation.max.ms", "1000"),
];

/// Other names of these properties, those that have a setter, and those that would weaken a guarantee.
const OTHERS: [&str; 14] = [
    BROKERS,
    "delivery.report.only.error",
    "delivery.timeout.ms",
    "max.in.flight",
    LARGEST,
    "message.send.max.retries",
    "metadata.broker.list",
    "partitioner_cb",
    "queuing.strategy",
    "request.required.acks",
    "request.timeout.ms",
    "retries",
    "test.mock.num.brokers",
    "transactional.id",
];

/// The brokers and the topics, and how calls are made. Made with [`from_url`](Self::from_url) or
/// [`new`](Self::new) and the setters, in any order.
#[derive(Clone)]
#[must_use]
pub struct KafkaConfig {
    brokers: String,
    pub(crate) topic: Template,
    pub(crate) form: WireForm,
    pub(crate) call_timeout: Duration,
    pub(crate) largest_event: u32,
    properties: BTreeMap<String, String>,
}

impl KafkaConfig {
    /// Reads a URL: `kafka://user:password@host:9092,host:9092/topic`, or `kafkas://…` for TLS (feature
    /// `tls-openssl` or `tls-openssl-vendored`).
    ///
    /// The path is the template of the [topic](Self::topic). User, password and topic are
    /// percent-decoded. With a user, the login is SASL with the mechanism `PLAIN`, unless the parameter
    /// `sasl.mechanism` names another one. Other parameters are `client.id`, `compression.type`,
    /// `linger.ms`, `ssl.ca.location`, `ssl.certificate.location`, `ssl.key.location` and
    /// `ssl.key.password`, with the meaning that librdkafka gives them.
    ///
    /// ```
    /// # use outbox_transport_kafka::KafkaConfig;
    /// let config = KafkaConfig::from_url("kafka://broker-1:9092,broker-2:9092/orders?linger.ms=1")?;
    /// assert!(KafkaConfig::from_url("http://broker-1:9092").is_err());
    /// # Ok::<(), outbox_core::OutboxError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) for another scheme, for `kafkas` without TLS, and for a
    /// URL that cannot be read. The message has no user and no password.
    pub fn from_url(url: &str) -> Result<Self, OutboxError> {
        let config = url::parse(url)?;
        config.validate()?;
        Ok(config)
    }

    /// The topic `outbox` on the cluster of these brokers: `host:port`, several with commas.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            topic: default_topic(),
            form: WireForm::default(),
            call_timeout: Duration::from_secs(10),
            largest_event: LARGEST_EVENT,
            properties: BTreeMap::new(),
        }
    }

    /// The topic of an event. It must exist. Default: `outbox`, one topic for all events, so that
    /// consumers read the events of a key in order, also those of different types.
    pub fn topic(mut self, topic: Template) -> Self {
        self.topic = topic;
        self
    }

    /// The form in which events are sent. Default: raw.
    pub fn form(mut self, form: WireForm) -> Self {
        self.form = form;
        self
    }

    /// How long a call may take, including the time for a connection. 1 second to a day: a new producer
    /// gets its id from the cluster after half a second. Default: 10 seconds.
    ///
    /// It takes the place of `message.timeout.ms`: what has no delivery report at its end is purged.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// The largest event, in bytes of the record: key, payload, headers and about 60 bytes. Larger ones
    /// are [`Permanent`](outbox_core::PublishErrorKind::Permanent) and not sent. It is also the largest
    /// batch, so it must not be above `max.message.bytes` of the topic. 1,000 to 1,000,000,000.
    /// Default: 1,000,000.
    pub fn largest_event(mut self, bytes: u32) -> Self {
        self.largest_event = bytes;
        self
    }

    /// Sets a [property of librdkafka](https://docs.confluent.io/platform/current/clients/librdkafka/html/md_CONFIGURATION.html),
    /// such as `compression.type` or `sasl.mechanism`. Those that the transport sets are refused.
    ///
    /// ```
    /// # use outbox_transport_kafka::{KafkaConfig, KafkaTransport};
    /// let config = KafkaConfig::new("broker-1:9092").property("compression.type", "lz4");
    /// assert!(KafkaTransport::open(config.clone()).is_ok());
    /// let error = KafkaTransport::open(config.property("acks", "1")).unwrap_err();
    /// assert!(error.to_string().contains("property \"acks\" is set"));
    /// ```
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }

    /// Checks what opening checks. Sends nothing to a broker.
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if there are no brokers, the timeout is shorter than
    /// a second or longer than a day, the largest event is out of its range, a constant topic has a name
    /// that Kafka does not allow, or librdkafka or this crate refuses a property.
    pub fn validate(&self) -> Result<(), OutboxError> {
        if let Some(problem) = self.problem() {
            return Err(invalid(problem));
        }
        check_call_timeout(BACKEND, self.call_timeout)?;
        // Without brokers, so that it connects to nothing.
        let mut config = self.client();
        config.remove(BROKERS);
        let opened = BaseProducer::from_config(&config);
        opened.map(drop).map_err(|error| invalid(refusal(error)))
    }

    fn problem(&self) -> Option<String> {
        if self
            .brokers
            .split(',')
            .any(|broker| broker.trim().is_empty())
        {
            let brokers = &self.brokers;
            return Some(format!(
                "brokers are {brokers:?}, but must be such as \"broker-1:9092,broker-2:9092\""
            ));
        }
        if self.call_timeout < SHORTEST_CALL_TIMEOUT {
            let timeout = self.call_timeout;
            return Some(format!(
                "call timeout is {timeout:?}, but must be at least {SHORTEST_CALL_TIMEOUT:?}, because a new producer needs half a second for its id"
            ));
        }
        if !LARGEST_EVENTS.contains(&self.largest_event) {
            let (bytes, least, most) = (
                self.largest_event,
                LARGEST_EVENTS.start(),
                LARGEST_EVENTS.end(),
            );
            return Some(format!(
                "largest event is {bytes} bytes, but must be {least} to {most}"
            ));
        }
        let topic = self.topic.constant().filter(|topic| !is_topic(topic));
        if let Some(topic) = topic {
            return Some(topic_rule(topic));
        }
        let protocol = self
            .properties
            .get(PROTOCOL)
            .map_or("", |protocol| protocol);
        if protocol.to_ascii_lowercase().contains("ssl") && !HAS_TLS {
            let features = "tls-openssl or tls-openssl-vendored";
            return Some(format!(
                "{PROTOCOL} is {protocol:?}, but the feature {features} is not enabled"
            ));
        }
        let is_ours = |name: &&String| {
            OURS.iter().any(|(ours, _)| ours == name) || OTHERS.contains(&name.as_str())
        };
        let name = self.properties.keys().find(is_ours)?;
        Some(format!(
            "property {name:?} is set, but must be left to the transport"
        ))
    }

    /// The configuration of a producer.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        // No calls wait to be gathered: a call brings all its events at once.
        config.set("linger.ms", "0");
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        for (name, value) in OURS {
            config.set(name, value);
        }
        let timeout = self.call_timeout.as_millis().clamp(1, 900_000);
        config.set("request.timeout.ms", timeout.to_string());
        config.set(LARGEST, self.largest_event.to_string());
        config.set(BROKERS, &self.brokers);
        config
    }

    /// The same, with one message in each batch: the broker's answer to a batch is then the
    /// answer to an event.
    pub(crate) fn client_of_single_messages(&self) -> ClientConfig {
        let mut config = self.client();
        config.set(BATCH, "1");
        config
    }
}

/// The words of librdkafka, without the value of a property.
fn refusal(error: KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, words, name, value) if !value.is_empty() => {
            let words = words.replace(&value, "…");
            format!("property {name:?} cannot be set: {words}")
        }
        error => error.to_string(),
    }
}

impl From<String> for KafkaConfig {
    fn from(brokers: String) -> Self {
        Self::new(brokers)
    }
}

impl fmt::Debug for KafkaConfig {
    /// Without the values of properties, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic.to_string())
            .field("form", &self.form)
            .field("call_timeout", &self.call_timeout)
            .field("largest_event", &self.largest_event)
            .field("properties", &self.properties.keys())
            .finish()
    }
}

pub(crate) fn invalid(problem: impl Into<String>) -> OutboxError {
    OutboxError::invalid(BACKEND, OPEN, problem)
}

#[expect(clippy::expect_used, reason = "the default is a valid template")]
fn default_topic() -> Template {
    "outbox".parse().expect("a valid template")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(config: &KafkaConfig) -> String {
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn a_value_that_is_not_allowed_is_refused_and_named() {
        let config = || KafkaConfig::new("b-1:9092");
        config()
            .property("compression.type", "lz4")
            .validate()
            .unwrap();
        for (config, words) in [
            (
                config().call_timeout(Duration::ZERO),
                "call timeout is 0ns, but must be",
            ),
            (
                config().call_timeout(Duration::from_millis(999)),
                "call timeout is 999ms, but must be at least 1s",
            ),
            (
                config().largest_event(999),
                "largest event is 999 bytes, but must be 1000 to",
            ),
            (
                config().topic("a b".parse().unwrap()),
                "topic is \"a b\", but must be 1 to 249",
            ),
            (
                KafkaConfig::new("b-1,"),
                "brokers are \"b-1,\", but must be such as",
            ),
            (
                config().property("no.such", "secret"),
                "\"no.such\" cannot be set",
            ),
            (
                config().property("batch.size", "secret"),
                "\"batch.size\" cannot be set",
            ),
            (
                config()
                    .property(PROTOCOL, "sasl_plaintext")
                    .property("sasl.mechanism", "NONE"),
                "NONE",
            ),
            (
                config().property("queue.buffering.max.messages", "-7"),
                "cannot be set",
            ),
        ] {
            let error = refused(&config);
            assert!(
                error.contains(words) && !error.contains("secret"),
                "{error}"
            );
        }
    }

    #[test]
    fn each_property_that_the_guarantees_rest_on_is_refused() {
        let ours = OURS.iter().map(|(name, _)| *name);
        for name in ours.chain(OTHERS) {
            let error = refused(&KafkaConfig::new("b-1").property(name, "1"));
            let words = format!("property {name:?} is set, but must be left to the transport");
            assert!(error.contains(&words), "{error}");
        }
    }

    #[test]
    fn tls_that_is_not_compiled_in_is_refused() {
        let error = KafkaConfig::new("b-1").property(PROTOCOL, "SSL").validate();
        let error = error.map_err(|error| error.to_string());
        assert_eq!(error.is_ok(), HAS_TLS, "{error:?}");
        if let Err(error) = error {
            assert!(
                error.contains("tls-openssl-vendored is not enabled"),
                "{error}"
            );
        }
    }
}
