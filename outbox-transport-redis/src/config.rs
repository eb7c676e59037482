//! Which server and streams to use, and how calls are made.

use outbox_core::wire::{Template, WireForm};
use outbox_core::{OutboxError, check_call_timeout};
use outbox_driver_redis::{Server, redis};
use std::fmt;
use std::time::Duration;

pub(crate) const BACKEND: &str = "redis";
const OPEN: &str = "open";
const STREAM: &str = "outbox";

/// The server, the streams, and how calls are made. Made with [`from_url`](Self::from_url) or
/// [`new`](Self::new) and the setters, in any order.
#[must_use]
pub struct RedisTransportConfig {
    pub(crate) server: Server,
    pub(crate) form: WireForm,
    pub(crate) call_timeout: Duration,
    pub(crate) is_created: bool,
    pub(crate) trim: Option<Trim>,
    pub(crate) wait: Option<Wait>,
    pub(crate) largest: Option<usize>,
    stream: Option<Template>,
}

/// Which entries Redis removes when it adds one, whether or not a consumer has read them.
///
/// Redis removes whole nodes of a stream, which have 100 entries by default. So it keeps more entries
/// than this says, never fewer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Trim {
    /// The oldest ones of a stream with more than this number of entries: `MAXLEN ~`.
    Length(u64),
    /// Those older than this, by the clock of this program: `MINID ~`.
    Age(Duration),
}

/// How many replicas must have an event, and how long a call waits for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) replicas: u32,
    pub(crate) timeout: Duration,
}

impl RedisTransportConfig {
    /// The stream `outbox` on the server of a URL: `redis://user:password@host:6379/0`, or another one
    /// that [`Server::from_url`] reads: a socket, TLS, sentinels, a cluster.
    ///
    /// ```
    /// # use outbox_transport_redis::RedisTransportConfig;
    /// # use std::time::Duration;
    /// let config = RedisTransportConfig::from_url("redis://broker.example/")?
    ///     .stream("shop:{type}".parse()?)
    ///     .call_timeout(Duration::from_secs(5));
    /// # Ok::<(), outbox_core::OutboxError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Server::from_url`]. The error shows no part of the URL but the scheme.
    pub fn from_url(url: &str) -> Result<Self, OutboxError> {
        Server::from_url(url).map(Self::new)
    }

    /// The stream `outbox` on a server, such as a [`Client`](redis::Client) with its own certificates.
    pub fn new(server: impl Into<Server>) -> Self {
        Self {
            server: server.into(),
            form: WireForm::default(),
            call_timeout: Duration::from_secs(10),
            is_created: true,
            trim: None,
            wait: None,
            largest: None,
            stream: None,
        }
    }

    /// The stream of an event, which is the whole name of a key. Default: `outbox`, one stream for all
    /// events, so that consumers read the events of a key in order, also those of different types.
    ///
    /// In a cluster the name decides the slot, so the events of one stream are on one node.
    pub fn stream(mut self, stream: Template) -> Self {
        self.stream = Some(stream);
        self
    }

    /// The form of the entries. Default: raw.
    pub fn form(mut self, form: WireForm) -> Self {
        self.form = form;
        self
    }

    /// How long a call waits for the connection and for the replies, up to a day. It should be shorter
    /// than the worker's publish timeout. Default: 10 seconds.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Whether the first event of a stream creates it. With `false` the events of a stream that does not
    /// exist are [`Misconfigured`](outbox_core::PublishErrorKind::Misconfigured) and wait, so a wrong
    /// name, or a stream that was deleted together with its consumer groups, is found. Default: `true`,
    /// as Redis does it.
    pub fn create(mut self, create: bool) -> Self {
        self.is_created = create;
        self
    }

    /// Removes old entries. Default: Redis removes none, so consumers or an operator must (`XTRIM`,
    /// `XDEL`).
    ///
    /// **Redis removes entries that no consumer has read, and nothing reports it.** So the limit must
    /// hold what arrives during the longest absence of a consumer.
    pub fn trim(mut self, trim: Trim) -> Self {
        self.trim = Some(trim);
        self
    }

    /// Sends `WAIT` behind the events of a stream: they are accepted only when this number of replicas
    /// has them. If fewer have them within the timeout, they are
    /// [`Unavailable`](outbox_core::PublishErrorKind::Unavailable), and as the master has them, they
    /// arrive again. The timeout is counted in milliseconds and must be shorter than the call timeout.
    /// Default: the master alone accepts an event.
    ///
    /// While it waits, the other calls of this transport wait too.
    pub fn wait(mut self, replicas: u32, timeout: Duration) -> Self {
        self.wait = Some(Wait { replicas, timeout });
        self
    }

    /// The largest event, in bytes of all names and values of its entry. Larger ones are
    /// [`Permanent`](outbox_core::PublishErrorKind::Permanent). Default: what the server says with
    /// `CONFIG GET`, or if the user may not ask, what it allows by default (512 MiB for a value).
    ///
    /// For a service that allows less than a Redis does.
    pub fn largest_event(mut self, bytes: usize) -> Self {
        self.largest = Some(bytes);
        self
    }

    /// Checks all that can be checked without a server, and returns the template of the stream.
    pub(crate) fn validate(&self) -> Result<Template, OutboxError> {
        let default = || STREAM.parse();
        let stream = self.stream.clone().map_or_else(default, Ok)?;
        check_call_timeout(BACKEND, self.call_timeout)?;
        match self.problem() {
            Some(problem) => Err(OutboxError::invalid(BACKEND, OPEN, problem)),
            None => Ok(stream),
        }
    }

    fn problem(&self) -> Option<String> {
        let timeout = self.call_timeout;
        if let Some(Wait { replicas: 0, .. }) = self.wait {
            return Some("number of replicas is 0, but must be at least 1".to_owned());
        }
        if let Some(Wait { timeout: wait, .. }) = self.wait
            && (wait.as_millis() == 0 || wait >= timeout)
        {
            return Some(format!(
                "timeout of the wait is {wait:?}, but must be at least 1ms and less than the call timeout ({timeout:?})"
            ));
        }
        match (self.trim, self.largest) {
            (Some(Trim::Length(0)), _) => {
                Some("trim length is 0, but must be at least 1".to_owned())
            }
            (Some(Trim::Age(age)), _) if age.is_zero() => {
                Some("trim age is 0ns, but must be at least 1ns".to_owned())
            }
            (_, Some(0)) => Some("largest event is 0, but must be at least 1 byte".to_owned()),
            _ => None,
        }
    }
}

impl From<Server> for RedisTransportConfig {
    fn from(server: Server) -> Self {
        Self::new(server)
    }
}

impl From<redis::Client> for RedisTransportConfig {
    fn from(client: redis::Client) -> Self {
        Self::new(client)
    }
}

impl fmt::Debug for RedisTransportConfig {
    /// Without the server, whose URL may have a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTransportConfig")
            .field("stream", &self.stream)
            .field("form", &self.form)
            .field("call_timeout", &self.call_timeout)
            .field("create", &self.is_created)
            .field("trim", &self.trim)
            .field("wait", &self.wait)
            .field("largest_event", &self.largest)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

    fn refused(set: impl FnOnce(RedisTransportConfig) -> RedisTransportConfig) -> String {
        let config = RedisTransportConfig::from_url("redis://me:secret@127.0.0.1/").unwrap();
        let config = set(config);
        assert!(!format!("{config:?}").contains("secret"), "{config:?}");
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn a_value_that_is_not_allowed_is_refused_and_named() {
        let second = Duration::from_secs(1);
        for (error, expected) in [
            (
                refused(|c| c.call_timeout(Duration::ZERO)),
                "call timeout is 0ns",
            ),
            (
                refused(|c| c.call_timeout(LONGEST_TIMEOUT + second)),
                "call timeout is 86401s",
            ),
            (refused(|c| c.wait(0, second)), "number of replicas is 0"),
            (
                refused(|c| c.wait(1, Duration::from_micros(999))),
                "wait is 999µs",
            ),
            (
                refused(|c| c.wait(1, second).call_timeout(second)),
                "call timeout (1s)",
            ),
            (refused(|c| c.trim(Trim::Length(0))), "trim length is 0"),
            (
                refused(|c| c.trim(Trim::Age(Duration::ZERO))),
                "trim age is 0ns",
            ),
            (refused(|c| c.largest_event(0)), "largest event is 0"),
        ] {
            assert!(error.contains(expected), "{error}");
            assert!(error.contains("but must be"), "{error}");
        }
    }
}
