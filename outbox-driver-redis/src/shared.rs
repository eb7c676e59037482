//! The connection that all calls share. It is opened when a call needs it.

use crate::connection::Connection;
use crate::error::{BACKEND, redis_error};
use crate::server::Server;
use outbox_core::{ErrorKind, OutboxError};
use redis::{FromRedisValue, RedisResult, ScriptInvocation, Value};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// A connection that was idle for this time is checked with a `PING` before it is used: servers
/// and load balancers close idle connections, most of them after a minute or more.
const IDLE: Duration = Duration::from_secs(30);

pub(crate) struct SharedConnection {
    state: Mutex<State>,
    /// The number of the latest connection that no further call may use.
    discarded: AtomicU64,
}

struct State {
    server: Server,
    connection: Option<Connection>,
    /// Counts connections, so that a failed call discards only the connection that it used.
    number: u64,
    last_used: Instant,
}

impl SharedConnection {
    pub(crate) fn new(server: Server) -> Self {
        let state = State {
            server,
            connection: None,
            number: 0,
            last_used: Instant::now(),
        };
        Self {
            state: Mutex::new(state),
            discarded: AtomicU64::new(0),
        }
    }

    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        operation: &'static str,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, OutboxError> {
        let connected = self.connection().await;
        let (mut connection, mut guard) = connected.map_err(redis_error(operation))?;
        let reply: RedisResult<Value> = call.invoke_async(&mut connection).await;
        let reply = reply.map_err(|error| connection.error(operation, error));
        let error = reply.as_ref().err().map(OutboxError::kind);
        guard.is_good = matches!(error, None | Some(ErrorKind::Corrupt));
        T::from_redis_value(reply?).map_err(|unreadable| {
            let error = OutboxError::new(ErrorKind::Corrupt, BACKEND, operation);
            error.with_source(unreadable)
        })
    }

    async fn connection(&self) -> RedisResult<(Connection, Guard<'_>)> {
        let mut state = self.state.lock().await;
        let is_idle = state.last_used.elapsed() >= IDLE;
        state.last_used = Instant::now();
        if let Some(connection) = &state.connection
            && state.number > self.discarded.load(SeqCst)
        {
            let (mut connection, guard) = (connection.clone(), self.guard(state.number));
            if !is_idle || connection.is_alive().await {
                return Ok((connection, guard));
            }
        }
        state.connection = None;
        // Boxed, because the future is large and most calls do not need it.
        let connection = Box::pin(Connection::open(&mut state.server)).await?;
        state.number += 1;
        let connection = state.connection.insert(connection).clone();
        Ok((connection, self.guard(state.number)))
    }

    /// Makes the next call open a new connection, because this one leads to a server that cannot be used.
    pub(crate) async fn discard(&self) {
        self.state.lock().await.connection = None;
    }

    fn guard(&self, number: u64) -> Guard<'_> {
        Guard {
            shared: self,
            number,
            is_good: false,
        }
    }
}

/// Held while a call uses a connection. The connection is discarded unless the call ends well: after an
/// error that is not about the data, after a timeout, and when the caller is cancelled before the reply,
/// because the fault may be in this connection. It may be silent, have an old login, or lead to a server
/// that has become a replica.
struct Guard<'s> {
    shared: &'s SharedConnection,
    number: u64,
    is_good: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if !self.is_good {
            self.shared.discarded.fetch_max(self.number, SeqCst);
        }
    }
}
