//! A connection to a server, to the master that sentinels name, or to a cluster.

use crate::error::{BACKEND, is_temporary, redis_error};
use crate::login;
use crate::server::{Kind, Server};
use outbox_core::OutboxError;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value};

/// A connection that many calls use at once.
#[derive(Clone)]
pub(crate) enum Connection {
    Single(MultiplexedConnection),
    #[cfg(feature = "cluster")]
    Cluster(redis::cluster_async::ClusterConnection),
}

impl Connection {
    /// Has no timeout: the caller limits the time of its whole call.
    pub(crate) async fn open(server: &mut Server) -> RedisResult<Self> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        match &mut server.0 {
            Kind::Single(client) => {
                let connected = client
                    .get_multiplexed_async_connection_with_config(&config)
                    .await;
                match connected {
                    Ok(connection) => Ok(Self::Single(connection)),
                    Err(error) => Err(login::cause(client, &config, error).await),
                }
            }
            #[cfg(feature = "sentinel")]
            Kind::Sentinel(client) => client
                .get_async_connection_with_config(&config)
                .await
                .map(Self::Single)
                .map_err(login::unknown_cause),
            #[cfg(feature = "cluster")]
            Kind::Cluster(client) => client.get_async_connection().await.map(Self::Cluster),
        }
    }

    /// Whether it still leads to a server that can be used. The client of a cluster checks that itself.
    pub(crate) async fn is_alive(&mut self) -> bool {
        match self {
            Self::Single(connection) => {
                let reply: RedisResult<Value> = redis::cmd("PING").query_async(connection).await;
                reply.err().is_none_or(|error| !is_temporary(&error))
            }
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => true,
        }
    }

    /// Classifies an error of this connection. A single server that redirects to another one is a node of
    /// a cluster.
    pub(crate) fn error(&self, operation: &'static str, error: RedisError) -> OutboxError {
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
