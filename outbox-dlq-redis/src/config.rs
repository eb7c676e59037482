//! Where a heap is, and how its calls are made.

use crate::keys::Keys;
use crate::server::Server;
use outbox_core::OutboxError;
use redis::Client;
use std::fmt;
use std::time::Duration;

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
    pub fn new(server: impl Into<Server>) -> Self {
        Self {
            server: server.into(),
            namespace: "outbox".to_owned(),
            call_timeout: Duration::from_secs(10),
            is_lazy: false,
        }
    }

    /// The name of the heap: 1 to 255 bytes without `{` and `}`. Programs share a heap by its name, and
    /// two applications need two names. Default: `outbox`.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// How long a script may take, including the time for a new connection. A call that needs several
    /// pages may take this time for each. Default: 10 seconds.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Opens the heap without asking the server, for a program that must start while Redis is away. The
    /// first call then does what opening would have done. Default: opening asks the server.
    pub fn lazy(mut self) -> Self {
        self.is_lazy = true;
        self
    }

    /// Checks the namespace, as opening does, and asks no server.
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if the namespace is not 1 to 255 bytes without `{` and
    /// `}`.
    pub fn validate(&self) -> Result<(), OutboxError> {
        Keys::new(&self.namespace).map(drop)
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
    /// Without the server, whose URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("namespace", &self.namespace)
            .field("call_timeout", &self.call_timeout)
            .field("is_lazy", &self.is_lazy)
            .finish_non_exhaustive()
    }
}
