//! Calls of scripts, each with a timeout, on a server that was checked.

use crate::config::RedisConfig;
use crate::error::unavailable;
use crate::info;
use crate::keys::Keys;
use crate::shared::SharedConnection;
use outbox_core::OutboxError;
use redis::{FromRedisValue, Script, ScriptInvocation};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::timeout;

const CHECK: &str = "check";

/// The keys of an adapter, and the connection that all its calls share. Clones share the connection.
///
/// # Cancel safety
///
/// A call is one script: if its future is dropped, it was applied whole or not at all. The next call
/// then opens a new connection.
#[derive(Clone)]
pub struct Driver {
    inner: Arc<Inner>,
}

struct Inner {
    keys: Keys,
    call_timeout: Duration,
    connection: SharedConnection,
    server_info: Script,
    /// Set once [`Driver::check`] has succeeded.
    checked: OnceCell<()>,
}

impl Driver {
    pub(crate) fn new(keys: Keys, config: RedisConfig) -> Self {
        let inner = Inner {
            keys,
            call_timeout: config.call_timeout,
            connection: SharedConnection::new(config.server),
            server_info: Script::new(include_str!("lua/server.lua")),
            checked: OnceCell::new(),
        };
        let inner = Arc::new(inner);
        Self { inner }
    }

    /// Checks that the server answers and is not a replica, and warns if it may evict the keys. Sends
    /// nothing if an earlier check succeeded.
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) for a login or a server that cannot be used.
    /// [`Unavailable`](outbox_core::ErrorKind::Unavailable) if the server cannot be reached or is a replica.
    pub async fn check(&self) -> Result<(), OutboxError> {
        self.check_in(CHECK).await
    }

    /// The `maxmemory-policy` of the server, if it may evict the keys: one of `allkeys-*`, together with
    /// a limit to the memory. The keys never expire, so `volatile-*` does not evict them.
    ///
    /// # Errors
    ///
    /// Those of [`check`](Self::check).
    pub async fn eviction_policy(&self) -> Result<Option<String>, OutboxError> {
        self.within(CHECK, self.policy(CHECK)).await
    }

    /// The full name of a key, for messages.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        self.inner.keys.key(name)
    }

    /// A call of a script with all keys and no arguments, for [`run`](Self::run).
    #[must_use]
    pub fn call<'s>(&self, script: &'s Script) -> ScriptInvocation<'s> {
        let mut call = script.prepare_invoke();
        call.key(self.inner.keys.all());
        call
    }

    /// Runs a script, after [`check`](Self::check). Sends its text if the server does not have it.
    ///
    /// # Errors
    ///
    /// Those of [`check`](Self::check). Also [`Unavailable`](outbox_core::ErrorKind::Unavailable) if the
    /// reply does not come within the timeout; the script may have been applied.
    /// [`Corrupt`](outbox_core::ErrorKind::Corrupt) if a key has another type, or if the reply is not a `T`.
    pub async fn run<T: FromRedisValue>(
        &self,
        operation: &'static str,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, OutboxError> {
        let work = async {
            self.checked(operation).await?;
            self.inner.connection.run(operation, call).await
        };
        self.within(operation, work).await
    }

    pub(crate) async fn check_in(&self, operation: &'static str) -> Result<(), OutboxError> {
        self.within(operation, self.checked(operation)).await
    }

    async fn checked(&self, operation: &'static str) -> Result<(), OutboxError> {
        let check = async || {
            if let Some(policy) = self.policy(operation).await? {
                let keys = &self.inner.keys;
                tracing::warn!(
                    policy,
                    %keys,
                    "the server may evict these keys, and their data would be lost: \
                     set maxmemory-policy to noeviction or to one of volatile-*"
                );
            }
            Ok(())
        };
        let checked = self.inner.checked.get_or_try_init(check).await;
        checked.copied()
    }

    async fn policy(&self, operation: &'static str) -> Result<Option<String>, OutboxError> {
        let connection = &self.inner.connection;
        let call = self.call(&self.inner.server_info);
        let reply: String = connection.run(operation, &call).await?;
        if info::is_replica(&reply) {
            connection.discard().await;
            let problem = "the server is a replica, which cannot be written to";
            return Err(unavailable(operation, problem));
        }
        Ok(info::evicting(&reply))
    }

    /// Waits for `work` no longer than a call may take.
    async fn within<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, OutboxError>>,
    ) -> Result<T, OutboxError> {
        let limit = self.inner.call_timeout;
        let elapsed =
            |elapsed| unavailable(operation, format!("no answer within {limit:?}: {elapsed}"));
        timeout(limit, work).await.map_err(elapsed)?
    }
}

impl fmt::Debug for Driver {
    /// Without the server, whose URL may have a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("keys", &format_args!("{}", self.inner.keys))
            .field("call_timeout", &self.inner.call_timeout)
            .finish_non_exhaustive()
    }
}
