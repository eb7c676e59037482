//! Which servers and subjects to use, and how calls are made.

use crate::servers::{Login, parse_servers, take_login};
use crate::subject::unusable;
use crate::{BACKEND, OPEN};
use async_nats::rustls::crypto::CryptoProvider;
use async_nats::{ConnectOptions, ServerAddr};
use outbox_core::wire::{Template, WireForm};
use outbox_core::{OutboxError, check_call_timeout};
use std::fmt;
use std::time::Duration;

const SUBJECT: &str = "outbox.{type}";

/// The servers, the subjects, and how calls are made. Made with [`from_url`](Self::from_url) or
/// [`new`](Self::new) and the setters, in any order.
#[must_use]
pub struct NatsConfig {
    pub(crate) options: ConnectOptions,
    pub(crate) servers: Vec<ServerAddr>,
    pub(crate) form: WireForm,
    pub(crate) call_timeout: Duration,
    subject: Option<Template>,
}

impl NatsConfig {
    /// The servers of a URL: `nats://broker.example:4222`, or `tls://…` for TLS.
    ///
    /// The port 4222 may be left out. Several servers of a cluster are separated by commas. A login is
    /// `user:password@` or `token@` before a host, with percent-encoded special characters; it is that of
    /// all servers.
    ///
    /// ```
    /// # use outbox_transport_nats::NatsConfig;
    /// let config = NatsConfig::from_url("nats://me:secret@a.example,b.example:4223")?;
    /// # Ok::<(), outbox_core::OutboxError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if the URL has another form. Of the URL, the error
    /// shows only the scheme.
    pub fn from_url(url: &str) -> Result<Self, OutboxError> {
        let servers = parse_servers(url)?;
        Ok(Self::new(ConnectOptions::new(), servers))
    }

    /// Servers with options of the driver, such as certificates, a credentials file, an nkey or a
    /// prefix for inboxes.
    ///
    /// If a server has a login, it replaces that of the options. The transport reconnects by itself, so
    /// it replaces the callbacks, the number of reconnections and the interval of pings.
    ///
    /// ```
    /// # use outbox_transport_nats::{NatsConfig, async_nats::ConnectOptions};
    /// let options = ConnectOptions::new()
    ///     .name("shop")
    ///     .add_root_certificates("authority.pem".into());
    /// let config = NatsConfig::new(options, ["tls://broker.example".parse()?]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(options: ConnectOptions, servers: impl IntoIterator<Item = ServerAddr>) -> Self {
        let (mut options, mut login) = (options, None);
        let servers = servers.into_iter().map(|server| {
            let (server, found) = take_login(server);
            login = login.take().or(found);
            server
        });
        let servers: Vec<ServerAddr> = servers.collect();
        options = match login {
            Some(Login::User(user, password)) => options.user_and_password(user, password),
            Some(Login::Token(token)) => options.token(token),
            None => options,
        };
        if servers.iter().any(ServerAddr::tls_required) {
            options = options.require_tls(true);
        }
        Self {
            options,
            servers,
            form: WireForm::default(),
            call_timeout: Duration::from_secs(10),
            subject: None,
        }
    }

    /// The options and the servers for the driver, with the login: for a consumer that connects to the
    /// same URL.
    ///
    /// ```no_run
    /// # use outbox_transport_nats::NatsConfig;
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let (options, servers) = NatsConfig::from_url("nats://me:secret@broker.example")?.into_driver();
    /// let client = options.connect(servers).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn into_driver(self) -> (ConnectOptions, Vec<ServerAddr>) {
        (self.options, self.servers)
    }

    /// The subject of an event. Default: `outbox.{type}`.
    ///
    /// ```
    /// # use outbox_transport_nats::NatsConfig;
    /// let config = NatsConfig::from_url("nats://broker.example")?.subject("shop.{type}.{key}".parse()?);
    /// # Ok::<(), outbox_core::OutboxError>(())
    /// ```
    pub fn subject(mut self, subject: Template) -> Self {
        self.subject = Some(subject);
        self
    }

    /// The form of the messages. Default: raw.
    pub fn form(mut self, form: WireForm) -> Self {
        self.form = form;
        self
    }

    /// How long a call waits for the connection and for the acknowledgments, up to a day. It should be
    /// shorter than the worker's publish timeout. Default: 10 seconds.
    ///
    /// A server that sends nothing for three quarters of this time, or for 30 seconds, is taken to be
    /// away.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Checks all that can be checked without a server, and returns the template of the subject.
    pub(crate) fn validate(&self) -> Result<Template, OutboxError> {
        let default = || SUBJECT.parse();
        let subject = self.subject.clone().map_or_else(default, Ok)?;
        if let Some(problem) = subject.constant().and_then(unusable) {
            return Err(invalid(problem));
        }
        check_call_timeout(BACKEND, self.call_timeout)?;
        if self.servers.is_empty() {
            return Err(invalid("list of servers is empty, but must have one"));
        }
        for scheme in self.servers.iter().map(ServerAddr::scheme) {
            if !["nats", "tls"].contains(&scheme) {
                let problem = format!("scheme is {scheme:?}, but must be nats or tls");
                return Err(invalid(problem));
            }
        }
        let needs_tls = self.servers.iter().any(ServerAddr::tls_required);
        if needs_tls && !has_tls() {
            return Err(invalid(NO_TLS));
        }
        Ok(subject)
    }
}

/// What to do about a connection that needs TLS in a program without it.
pub(crate) const NO_TLS: &str =
    "scheme is \"tls\", but must be nats without the feature tls-rustls-ring-native-roots";

/// Whether a connection can use TLS. A program may have installed its own provider.
pub(crate) fn has_tls() -> bool {
    cfg!(feature = "tls-rustls-ring-native-roots") || CryptoProvider::get_default().is_some()
}

pub(crate) fn invalid(problem: impl Into<String>) -> OutboxError {
    OutboxError::invalid(BACKEND, OPEN, problem)
}

impl fmt::Debug for NatsConfig {
    /// Without the options, which may have a login.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<&str> = self.servers.iter().map(ServerAddr::as_url_str).collect();
        f.debug_struct("NatsConfig")
            .field("servers", &servers)
            .field("subject", &self.subject)
            .field("form", &self.form)
            .field("call_timeout", &self.call_timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

    fn config() -> NatsConfig {
        NatsConfig::from_url("nats://me:hunter2@broker.example").unwrap()
    }

    fn refused(config: &NatsConfig) -> String {
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_used_is_refused_and_named() {
        for timeout in [Duration::ZERO, LONGEST_TIMEOUT + Duration::from_nanos(1)] {
            let text = refused(&config().call_timeout(timeout));
            assert!(
                text.contains(&format!("call timeout is {timeout:?}, but must be")),
                "{text}"
            );
        }
        let text = refused(&config().subject("orders..new".parse().unwrap()));
        assert!(
            text.contains("subject is \"orders..new\", but must have no empty part"),
            "{text}"
        );
        let text = refused(&NatsConfig::new(ConnectOptions::new(), []));
        assert!(text.contains("list of servers is empty"), "{text}");
        let server = "wss://broker.example".parse().unwrap();
        let text = refused(&NatsConfig::new(ConnectOptions::new(), [server]));
        assert!(
            text.contains("scheme is \"wss\", but must be nats or tls"),
            "{text}"
        );
    }

    #[test]
    fn the_default_subject_has_the_type_and_a_longest_timeout_is_accepted() {
        let config = config().call_timeout(LONGEST_TIMEOUT);
        assert_eq!(config.validate().unwrap().to_string(), SUBJECT);
        let shown = format!("{config:?}");
        assert!(
            shown.contains("broker.example") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
