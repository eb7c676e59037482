//! Which broker to use, where events go, and how calls are made.

use crate::url;
use lapin::tcp::OwnedTLSConfig;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{ConnectionProperties, types::MAX_SHORT_STRING_LENGTH};
use outbox_core::wire::{Template, WireForm};
use outbox_core::{OutboxError, check_call_timeout};
use std::fmt;
use std::time::Duration;

pub(crate) const BACKEND: &str = "rabbitmq";

/// What happens to an event that the exchange routes to no queue.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Unroutable {
    /// The event is `Misconfigured` and waits until a queue is bound.
    #[default]
    Wait,
    /// The broker drops the event, which counts as published: for publish/subscribe, where a topic may
    /// have no subscriber.
    Drop,
}

/// The broker, the exchange and the routing key, and how calls are made. Made from a URL or from an
/// [`AMQPUri`], with setters in any order.
#[derive(Clone)]
#[must_use]
pub struct RabbitMqConfig {
    pub(crate) uri: AMQPUri,
    pub(crate) properties: ConnectionProperties,
    pub(crate) tls: OwnedTLSConfig,
    /// `None` is the default exchange.
    pub(crate) exchange: Option<Template>,
    pub(crate) routing_key: Template,
    pub(crate) unroutable: Unroutable,
    pub(crate) form: WireForm,
    pub(crate) call_timeout: Duration,
    pub(crate) max_message_size: Option<usize>,
}

impl RabbitMqConfig {
    /// Reads a URL: `amqp://user:password@host:5672/vhost`, or `amqps://…` for TLS (feature
    /// `tls-rustls-ring-webpki` or `tls-rustls-ring-native-roots`).
    ///
    /// User, password and virtual host are percent-decoded. Without a path the virtual host is `/`;
    /// with the path `/` alone it is the one whose name is empty, as the URI specification of RabbitMQ
    /// says. The parameters of the query are `heartbeat` in seconds, `frame_max` in bytes,
    /// `channel_max` and `auth_mechanism`.
    ///
    /// ```
    /// # use outbox_transport_rabbitmq::RabbitMqConfig;
    /// assert!(RabbitMqConfig::from_url("amqp://mq.example/shop?heartbeat=10").is_ok());
    /// assert!(RabbitMqConfig::from_url("http://mq.example").is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) for another scheme, for `amqps` without TLS, and for
    /// a URL that cannot be read. The message has no user and no password.
    pub fn from_url(url: &str) -> Result<Self, OutboxError> {
        let config = Self::new(url::parse(url)?);
        config.validate()?;
        Ok(config)
    }

    /// The broker at `uri`, with the exchange `outbox` and the routing key `{type}`.
    pub fn new(uri: AMQPUri) -> Self {
        Self {
            uri,
            properties: ConnectionProperties::default().with_connection_name("outbox".into()),
            tls: OwnedTLSConfig::default(),
            exchange: Some(template("outbox")),
            routing_key: template("{type}"),
            unroutable: Unroutable::default(),
            form: WireForm::default(),
            call_timeout: Duration::from_secs(10),
            max_message_size: None,
        }
    }

    /// The exchange that takes an event. It must exist. Default: `outbox`.
    pub fn exchange(mut self, exchange: Template) -> Self {
        self.exchange = Some(exchange);
        self
    }

    /// Publishes to the default exchange, whose routing key is the name of a queue.
    ///
    /// ```
    /// # use outbox_transport_rabbitmq::RabbitMqConfig;
    /// let config = RabbitMqConfig::from_url("amqp://mq.example")?
    ///     .default_exchange()
    ///     .routing_key("orders".parse()?);
    /// # Ok::<(), outbox_core::OutboxError>(())
    /// ```
    pub fn default_exchange(mut self) -> Self {
        self.exchange = None;
        self
    }

    /// The routing key of an event. Default: `{type}`, so that queues of a topic exchange are bound to
    /// types such as `order.*`.
    pub fn routing_key(mut self, routing_key: Template) -> Self {
        self.routing_key = routing_key;
        self
    }

    /// What happens to an event that is routed to no queue. Default: [`Unroutable::Wait`].
    pub fn unroutable(mut self, unroutable: Unroutable) -> Self {
        self.unroutable = unroutable;
        self
    }

    /// The form in which events are sent. Default: raw.
    pub fn form(mut self, form: WireForm) -> Self {
        self.form = form;
        self
    }

    /// How long a call may take, including the time for a new connection. More than 0, at most a day.
    /// Default: 10 seconds.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// The `max_message_size` of the broker in bytes, so that a larger event is refused before anything is
    /// sent. Default: the broker refuses it, and some of its neighbours may arrive twice.
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = Some(bytes);
        self
    }

    /// What the connection presents to the broker, such as its name or another login than user and
    /// password. Auto-recovery must be off. Default: the connection name `outbox`.
    pub fn connection_properties(mut self, properties: ConnectionProperties) -> Self {
        self.properties = properties;
        self
    }

    /// Certificates of `amqps` other than the roots of the feature, and the certificate of this client.
    pub fn tls_config(mut self, tls: OwnedTLSConfig) -> Self {
        self.tls = tls;
        self
    }

    /// Checks what opening checks. Sends nothing to the broker.
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if the timeout is 0 or longer than a day, the virtual
    /// host or a constant exchange or routing key is longer than 255 bytes, auto-recovery is on, or TLS
    /// is wanted and not compiled in.
    pub fn validate(&self) -> Result<(), OutboxError> {
        check_call_timeout(BACKEND, self.call_timeout)?;
        if self.uri.scheme == AMQPScheme::AMQPS && !has_tls() {
            let features = "tls-rustls-ring-native-roots or tls-rustls-ring-webpki";
            let problem = format!("scheme is \"amqps\", but the feature {features} is not enabled");
            return Err(invalid(problem));
        }
        // The type has no getter. Lapin would reconnect at the same time as this crate.
        if format!("{:?}", self.properties).contains("auto_recover: true") {
            return Err(invalid("auto-recovery is on, but must be off"));
        }
        self.check_lengths()
    }

    fn check_lengths(&self) -> Result<(), OutboxError> {
        let exchange = self.exchange.as_ref().and_then(Template::constant);
        for (what, name) in [
            ("virtual host", Some(&*self.uri.vhost)),
            ("exchange", exchange),
            ("routing key", self.routing_key.constant()),
        ] {
            let length = name.map_or(0, str::len);
            if length > MAX_SHORT_STRING_LENGTH {
                return Err(invalid(format!(
                    "{what} is {length} bytes long, but must be at most {MAX_SHORT_STRING_LENGTH}"
                )));
            }
        }
        Ok(())
    }
}

impl From<AMQPUri> for RabbitMqConfig {
    fn from(uri: AMQPUri) -> Self {
        Self::new(uri)
    }
}

impl fmt::Debug for RabbitMqConfig {
    /// Without the login.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitMqConfig")
            .field("host", &self.uri.authority.host)
            .field("port", &self.uri.authority.port)
            .field("vhost", &self.uri.vhost)
            .field("exchange", &self.exchange.as_ref().map(Template::to_string))
            .field("routing_key", &self.routing_key.to_string())
            .field("unroutable", &self.unroutable)
            .field("form", &self.form)
            .field("call_timeout", &self.call_timeout)
            .finish_non_exhaustive()
    }
}

pub(crate) fn invalid(problem: impl Into<String>) -> OutboxError {
    OutboxError::invalid(BACKEND, "open", problem)
}

/// Lapin would send a login for `amqps` in plain text if it has no TLS.
fn has_tls() -> bool {
    cfg!(any(
        feature = "tls-rustls-ring-native-roots",
        feature = "tls-rustls-ring-webpki"
    ))
}

#[expect(clippy::expect_used, reason = "the defaults are valid templates")]
fn template(text: &str) -> Template {
    text.parse().expect("a valid template")
}
