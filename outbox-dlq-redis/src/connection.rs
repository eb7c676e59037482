//! The connection of a heap, which is made when it is needed.

use crate::error::{BACKEND, redis_error};
use crate::server::{Kind, RedisOptions, Server};
use outbox_core::{ErrorKind, OutboxError};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Cmd, FromRedisValue, Pipeline, RedisFuture, RedisResult,
    ScriptInvocation, Value,
};
use std::fmt;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// A server, and the connection to it that all calls share.
pub(crate) struct Link {
    options: RedisOptions,
    state: Mutex<State>,
}

struct State {
    server: Server,
    connection: Option<Connection>,
    /// Which connection this is, so that a call lets go of no other than its own.
    turn: u64,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Link {
    pub(crate) fn new(server: Server, options: RedisOptions) -> Self {
        let state = Mutex::new(State {
            server,
            connection: None,
            turn: 0,
        });
        Self { options, state }
    }

    /// Runs a script, which is loaded if the server does not know it.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        operation: &'static str,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, OutboxError> {
        let mut turn = None;
        let answer = async {
            let (mut connection, its) = self.connection().await?;
            turn = Some(its);
            call.invoke_async(&mut connection).await
        };
        let limit = self.options.call_timeout;
        let result = match timeout(limit, answer).await {
            Ok(answer) => answer.map_err(redis_error(operation)),
            Err(elapsed) => {
                let error = OutboxError::new(ErrorKind::Unavailable, BACKEND, operation);
                Err(error.with_source(format!("no answer within {limit:?}: {elapsed}")))
            }
        };
        if let (Err(error), Some(turn)) = (&result, turn)
            && error.kind() != ErrorKind::Corrupt
        {
            self.let_go(turn).await;
        }
        result
    }

    async fn connection(&self) -> RedisResult<(Connection, u64)> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok((connection.clone(), state.turn));
        }
        let connection = connect(&mut state.server).await?;
        state.turn += 1;
        Ok((state.connection.insert(connection).clone(), state.turn))
    }

    /// Lets the next call connect anew: after any error but one of the data, the fault may lie in
    /// this connection. It may be silent, or lead to what is a replica now, or have an old login.
    async fn let_go(&self, turn: u64) {
        let mut state = self.state.lock().await;
        if state.turn == turn {
            state.connection = None;
        }
    }
}

/// Waits as long as it takes: the caller has a limit for all of its call.
async fn connect(server: &mut Server) -> RedisResult<Connection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    match &mut server.0 {
        Kind::Single(client) => client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map(Connection::Single),
        #[cfg(feature = "sentinel")]
        Kind::Sentinel(client) => client
            .get_async_connection_with_config(&config)
            .await
            .map(Connection::Single),
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
