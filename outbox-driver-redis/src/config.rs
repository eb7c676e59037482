//! Which server and namespace to use, and how calls are made.

use crate::error::{BACKEND, OPEN};
use crate::server::Server;
use outbox_core::OutboxError;
use redis::Client;
use std::fmt;
use std::time::Duration;

const LONGEST_NAMESPACE: usize = 255;

/// The server, the namespace of the keys, and how calls are made. Made from a [`Server`] or a
/// [`Client`] by [`From`], or with [`new`](Self::new) and the setters, in any order.
#[must_use]
pub struct RedisConfig {
    pub(crate) server: Server,
    pub(crate) namespace: String,
    pub(crate) call_timeout: Duration,
    pub(crate) is_lazy: bool,
}

impl RedisConfig {
    /// The namespace `outbox` on a server.
    ///
    /// ```
    /// # use outbox_driver_redis::{RedisConfig, Server};
    /// # use std::time::Duration;
    /// let server = Server::from_url("redis://cache.example/0")?;
    /// let config = RedisConfig::new(server)
    ///     .namespace("orders")
    ///     .call_timeout(Duration::from_secs(2));
    /// # Ok::<(), outbox_core::OutboxError>(())
    /// ```
    pub fn new(server: impl Into<Server>) -> Self {
        Self {
            server: server.into(),
            namespace: "outbox".to_owned(),
            call_timeout: Duration::from_secs(10),
            is_lazy: false,
        }
    }

    /// The namespace of the keys: 1 to 255 bytes without `{` and `}`. Programs with the same namespace
    /// share their data, so two applications need two namespaces. Default: `outbox`.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// How long a script may take, including the time for a new connection. A call that needs several
    /// scripts may take this time for each. Default: 10 seconds.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Opens without a request to the server, for a program that must start while Redis is away. The
    /// first call then checks the server. Default: opening checks the server.
    pub fn lazy(mut self) -> Self {
        self.is_lazy = true;
        self
    }

    /// Checks the namespace, as opening does. Sends nothing to the server.
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if the namespace is not 1 to 255 bytes without `{` and
    /// `}`.
    pub fn validate(&self) -> Result<(), OutboxError> {
        let name = &self.namespace;
        if (1..=LONGEST_NAMESPACE).contains(&name.len()) && !name.contains(['{', '}']) {
            return Ok(());
        }
        let allowed = format!("1 to {LONGEST_NAMESPACE} bytes without {{ and }}");
        let problem = format!("namespace is {name:?}, but must be {allowed}");
        Err(OutboxError::invalid(BACKEND, OPEN, problem))
    }
}

impl From<Server> for RedisConfig {
    fn from(server: Server) -> Self {
        Self::new(server)
    }
}

impl From<Client> for RedisConfig {
    fn from(client: Client) -> Self {
        Self::new(client)
    }
}

impl fmt::Debug for RedisConfig {
    /// Without the server, whose URL may have a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("namespace", &self.namespace)
            .field("call_timeout", &self.call_timeout)
            .field("is_lazy", &self.is_lazy)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outbox_core::ErrorKind;

    fn validate(namespace: &str) -> Result<(), OutboxError> {
        let server = Server::from_url("redis://127.0.0.1/").unwrap();
        RedisConfig::new(server).namespace(namespace).validate()
    }

    #[test]
    fn a_namespace_that_would_share_or_split_a_slot_is_refused_and_named() {
        for namespace in ["", "}", "a{b", "a}:counts{", &"n".repeat(256)] {
            let error = validate(namespace).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(namespace), "{error}");
        }
        validate(&"n".repeat(255)).unwrap();
    }
}
