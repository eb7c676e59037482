//! The connection that all calls share. It is opened when a call needs it.

use crate::connection::Connection;
use crate::error::{BACKEND, redis_error};
use crate::server::Server;
use outbox_core::{ErrorKind, OutboxError};
use redis::aio::ConnectionLike;
use redis::{FromRedisValue, Pipeline, RedisResult, ScriptInvocation, Value};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// A connection that was idle for this time is checked with a `PING` before it is used: servers
/// and load balancers close idle connections, most of them after a minute or more.
const IDLE: Duration = Duration::from_secs(30);

/// A connection that many calls use at once. It is opened when a call needs it, and replaced after a
/// call that did not end well. An adapter whose keys' names are its own has a [`Driver`](crate::Driver)
/// instead.
///
/// # Cancel safety
///
/// A call whose future is dropped makes the next call open a new connection. Calls that are in flight at
/// the same time keep the old one.
pub struct SharedConnection {
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
    /// Opens nothing.
    #[must_use]
    pub fn new(server: Server) -> Self {
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
        let (mut connection, guard) = self.connection_for(operation).await?;
        let reply: RedisResult<Value> = call.invoke_async(&mut connection).await;
        let reply = guard.end(operation, &connection, reply)?;
        T::from_redis_value(reply).map_err(|unreadable| {
            let error = OutboxError::new(ErrorKind::Corrupt, BACKEND, operation);
            error.with_source(unreadable)
        })
    }

    /// Sends the commands of a pipeline in one write, and returns what `read` makes of the replies. `read`
    /// gets one value for each command: an error of a single command is a
    /// [`ServerError`](Value::ServerError) there. In a cluster all keys must be in one slot, whose node
    /// gets all commands.
    ///
    /// The method has no timeout: the caller limits the time of its whole call.
    ///
    /// # Errors
    ///
    /// Those of [`redis_error`], of the connection and of `read`. After each of them but
    /// [`Corrupt`](ErrorKind::Corrupt), the next call opens a new connection.
    pub async fn pipeline<T>(
        &self,
        operation: &'static str,
        pipeline: &Pipeline,
        read: impl FnOnce(Vec<Value>) -> RedisResult<T>,
    ) -> Result<T, OutboxError> {
        let count = pipeline.len();
        let (mut connection, guard) = self.connection_for(operation).await?;
        let replies = connection.req_packed_commands(pipeline, 0, count).await;
        guard.end(operation, &connection, replies.and_then(read))
    }

    async fn connection_for(
        &self,
        operation: &'static str,
    ) -> Result<(Connection, Guard<'_>), OutboxError> {
        self.connection().await.map_err(redis_error(operation))
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

impl fmt::Debug for SharedConnection {
    /// Without the server, whose URL may have a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedConnection").finish_non_exhaustive()
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

impl Guard<'_> {
    /// The result of a call.
    fn end<T>(
        mut self,
        operation: &'static str,
        connection: &Connection,
        result: RedisResult<T>,
    ) -> Result<T, OutboxError> {
        let result = result.map_err(|error| connection.error(operation, error));
        let error = result.as_ref().err().map(OutboxError::kind);
        self.is_good = matches!(error, None | Some(ErrorKind::Corrupt));
        result
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if !self.is_good {
            self.shared.discarded.fetch_max(self.number, SeqCst);
        }
    }
}
