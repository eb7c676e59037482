//! The connection of a heap, which is made when it is needed.

use crate::error::{BACKEND, is_temporary, redis_error};
use crate::login;
use crate::server::{Kind, Server};
use outbox_core::{ErrorKind, OutboxError};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Cmd, FromRedisValue, Pipeline, RedisError, RedisFuture, RedisResult,
    ScriptInvocation, Value,
};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// A connection that was idle for this time is checked with a `PING` before it is used: servers
/// and balancers close idle ones, mostly after a minute or more.
const IDLE: Duration = Duration::from_secs(30);

/// What a server is asked.
pub(crate) enum Call<'s> {
    /// Loaded if the server does not know it.
    Script(ScriptInvocation<'s>),
    Command(Cmd),
}

/// A server, and the connection to it that all calls share.
pub(crate) struct Link {
    call_timeout: Duration,
    state: Mutex<State>,
    /// The turn of the latest connection that no call may begin with any more.
    gone: AtomicU64,
}

struct State {
    server: Server,
    connection: Option<Connection>,
    /// Which connection this is, so that a call lets go of no other than its own.
    turn: u64,
    used: Instant,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("call_timeout", &self.call_timeout)
            .finish_non_exhaustive()
    }
}

impl Link {
    pub(crate) fn new(server: Server, call_timeout: Duration) -> Self {
        let state = Mutex::new(State {
            server,
            connection: None,
            turn: 0,
            used: Instant::now(),
        });
        Self {
            call_timeout,
            state,
            gone: AtomicU64::new(0),
        }
    }

    /// Waits for `work` no longer than a call may take.
    pub(crate) async fn within<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, OutboxError>>,
    ) -> Result<T, OutboxError> {
        let limit = self.call_timeout;
        match timeout(limit, work).await {
            Ok(result) => result,
            Err(elapsed) => {
                let error = OutboxError::new(ErrorKind::Unavailable, BACKEND, operation);
                Err(error.with_source(format!("no answer within {limit:?}: {elapsed}")))
            }
        }
    }

    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        operation: &'static str,
        call: &Call<'_>,
    ) -> Result<T, OutboxError> {
        let connected = self.connection().await;
        let (mut connection, mut hold) = connected.map_err(redis_error(operation))?;
        let answer: RedisResult<Value> = match call {
            Call::Script(script) => script.invoke_async(&mut connection).await,
            Call::Command(command) => command.query_async(&mut connection).await,
        };
        let answer = answer.map_err(|error| connection.error(operation, error));
        let error = answer.as_ref().err().map(OutboxError::kind);
        hold.good = matches!(error, None | Some(ErrorKind::Corrupt));
        T::from_redis_value(answer?).map_err(|unreadable| {
            let error = OutboxError::new(ErrorKind::Corrupt, BACKEND, operation);
            error.with_source(unreadable)
        })
    }

    async fn connection(&self) -> RedisResult<(Connection, Hold<'_>)> {
        let mut state = self.state.lock().await;
        let idle = state.used.elapsed() >= IDLE;
        state.used = Instant::now();
        if let Some(connection) = &state.connection
            && state.turn > self.gone.load(SeqCst)
        {
            let (mut connection, hold) = (connection.clone(), self.hold(state.turn));
            if !idle || connection.is_alive().await {
                return Ok((connection, hold));
            }
        }
        state.connection = None;
        // Boxed, as it is large and most calls do not need it.
        let connection = Box::pin(connect(&mut state.server)).await?;
        state.turn += 1;
        let connection = state.connection.insert(connection).clone();
        Ok((connection, self.hold(state.turn)))
    }

    /// Makes the next call connect again, as this connection leads to a server that cannot be used.
    pub(crate) async fn disconnect(&self) {
        self.state.lock().await.connection = None;
    }

    fn hold(&self, turn: u64) -> Hold<'_> {
        let good = false;
        Hold {
            link: self,
            turn,
            good,
        }
    }
}

/// A call under way on a connection. Unless it proves good the next call connects anew: after an
/// error that is not one of the data, after a wait that was too long, and when the caller went away
/// before an answer, as the fault may lie in this connection. It may be silent, or lead to what is a
/// replica now, or have an old login.
struct Hold<'l> {
    link: &'l Link,
    turn: u64,
    good: bool,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        if !self.good {
            self.link.gone.fetch_max(self.turn, SeqCst);
        }
    }
}

/// Waits as long as it takes: the caller has a limit for all of its call.
async fn connect(server: &mut Server) -> RedisResult<Connection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    match &mut server.0 {
        Kind::Single(client) => {
            let connected = client
                .get_multiplexed_async_connection_with_config(&config)
                .await;
            match connected {
                Ok(connection) => Ok(Connection::Single(connection)),
                Err(error) => Err(login::cause(client, &config, error).await),
            }
        }
        #[cfg(feature = "sentinel")]
        Kind::Sentinel(client) => client
            .get_async_connection_with_config(&config)
            .await
            .map(Connection::Single)
            .map_err(login::unknown_cause),
        #[cfg(feature = "cluster")]
        Kind::Cluster(client) => client.get_async_connection().await.map(Connection::Cluster),
    }
}

/// A connection that many calls use at once.
#[derive(Clone)]
enum Connection {
    Single(MultiplexedConnection),
    #[cfg(feature = "cluster")]
    Cluster(redis::cluster_async::ClusterConnection),
}

impl Connection {
    /// Whether a server that can be used is still behind it. The client of a cluster checks that
    /// itself.
    async fn is_alive(&mut self) -> bool {
        match self {
            Self::Single(connection) => {
                let answer: RedisResult<Value> = redis::cmd("PING").query_async(connection).await;
                answer.err().is_none_or(|error| !is_temporary(&error))
            }
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => true,
        }
    }

    /// What an error means here. A single server that names another one is a node of a cluster.
    fn error(&self, operation: &'static str, error: RedisError) -> OutboxError {
        let is_single = matches!(self, Self::Single(_));
        if is_single && error.redirect_node().is_some() {
            let problem = format!(
                "the server is a node of a cluster ({error}): use the cluster's URL, redis+cluster://host:port"
            );
            return OutboxError::invalid(BACKEND, operation, problem);
        }
        redis_error(operation)(error)
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(cmd),
            #[cfg(feature = "cluster")]
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            #[cfg(feature = "cluster")]
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) => connection.get_db(),
            #[cfg(feature = "cluster")]
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
