//! Where a heap is, and how long its calls wait.

use crate::error::redis_error;
use outbox_core::OutboxError;
use redis::{Client, RedisResult};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often the client of a cluster tries again by itself, each time after 1.3 seconds: few enough that
/// the cause is reported before a call has waited too long.
#[cfg(feature = "cluster")]
const CLUSTER_RETRIES: u32 = 3;

/// A server to connect to, and to connect to again: made from a client of [`redis`], or from a URL.
pub struct Server(pub(crate) Kind);

pub(crate) enum Kind {
    Single(Box<Client>),
    #[cfg(feature = "sentinel")]
    Sentinel(Box<redis::sentinel::SentinelClient>),
    #[cfg(feature = "cluster")]
    Cluster(Box<redis::cluster::ClusterClient>),
}

impl Server {
    /// Reads a URL:
    ///
    /// - `redis://user:password@host:6379/0` for a server, `redis+unix:///path` for its socket;
    /// - `redis+sentinel://user:password@host:26379,host:26379/name/0` for the master that sentinels
    ///   know by that name (feature `sentinel`); user, password and database are the master's;
    /// - `redis+cluster://user:password@host:6379,host:6379` for a cluster that has these nodes
    ///   among others (feature `cluster`).
    ///
    /// With `rediss` in the place of `redis` the connections are encrypted.
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) for anything else, and for what is not compiled
    /// in. The URL is not in the message, as it may hold a password.
    pub fn from_url(url: &str) -> Result<Self, OutboxError> {
        Self::parse(url).map_err(redis_error("open"))
    }

    fn parse(url: &str) -> RedisResult<Self> {
        match url.split_once("://") {
            #[cfg(feature = "sentinel")]
            Some((scheme @ ("redis+sentinel" | "rediss+sentinel"), rest)) => {
                sentinel(scheme.starts_with("rediss"), rest)
            }
            #[cfg(feature = "cluster")]
            Some((scheme @ ("redis+cluster" | "rediss+cluster"), rest)) => {
                let scheme = scheme.trim_end_matches("+cluster");
                let (login, hosts) = split_login(rest.trim_end_matches('/'));
                if hosts.contains('/') {
                    let why = "a cluster has no databases, as in redis+cluster://host:6379";
                    return Err((redis::ErrorKind::InvalidClientConfig, why).into());
                }
                let nodes = hosts
                    .split(',')
                    .map(|host| format!("{scheme}://{login}{host}"));
                let builder = redis::cluster::ClusterClient::builder(nodes);
                builder.retries(CLUSTER_RETRIES).build().map(Self::from)
            }
            _ => Client::open(url).map(Self::from),
        }
    }
}

/// A login with its `@`, if there is one, and the rest.
#[cfg(any(feature = "cluster", feature = "sentinel"))]
fn split_login(rest: &str) -> (&str, &str) {
    rest.split_at(rest.rfind('@').map_or(0, |at| at + 1))
}

#[cfg(feature = "sentinel")]
fn sentinel(encrypted: bool, rest: &str) -> RedisResult<Server> {
    use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
    use redis::{IntoConnectionInfo, TlsMode};

    let (login, place) = split_login(rest);
    let mut parts = place.splitn(3, '/');
    let hosts = parts.next().unwrap_or_default();
    let name = parts.next().unwrap_or_default().to_owned();
    if name.is_empty() {
        let why = "no name of a master, as in redis+sentinel://host/name";
        return Err((redis::ErrorKind::InvalidClientConfig, why).into());
    }
    let database = parts.next().unwrap_or_default();
    let scheme = if encrypted { "rediss" } else { "redis" };
    // The host does not matter here: the sentinels tell it.
    let master = format!("{scheme}://{login}master/{database}").into_connection_info()?;
    let mut node = SentinelNodeConnectionInfo::default()
        .set_redis_connection_info(master.redis_settings().clone());
    if encrypted {
        node = node.set_tls_mode(TlsMode::Secure);
    }
    let sentinels = hosts.split(',').map(|host| format!("{scheme}://{host}"));
    let master = SentinelServerType::Master;
    SentinelClient::build(sentinels.collect(), name, Some(node), master).map(Server::from)
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Single(_) => "Server(Single)",
            #[cfg(feature = "sentinel")]
            Kind::Sentinel(_) => "Server(Sentinel)",
            #[cfg(feature = "cluster")]
            Kind::Cluster(_) => "Server(Cluster)",
        })
    }
}

impl From<Client> for Server {
    fn from(client: Client) -> Self {
        Self(Kind::Single(Box::new(client)))
    }
}

/// The client must be of the master, as a replica cannot be written to.
#[cfg(feature = "sentinel")]
impl From<redis::sentinel::SentinelClient> for Server {
    fn from(client: redis::sentinel::SentinelClient) -> Self {
        Self(Kind::Sentinel(Box::new(client)))
    }
}

#[cfg(feature = "cluster")]
impl From<redis::cluster::ClusterClient> for Server {
    fn from(client: redis::cluster::ClusterClient) -> Self {
        Self(Kind::Cluster(Box::new(client)))
    }
}

/// How far a heap's clock is ahead of the server's: not at all, until a test moves it. Clones move
/// together.
#[derive(Clone, Debug, Default)]
pub struct ClockShift(Arc<AtomicU64>);

impl ClockShift {
    /// Moves the clock on.
    pub fn advance(&self, time: Duration) {
        self.0.fetch_add(crate::micros(time), Ordering::SeqCst);
    }

    pub(crate) fn micros(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(all(test, any(feature = "cluster", feature = "sentinel")))]
mod tests {
    use super::*;

    #[test]
    fn a_login_ends_with_the_last_at() {
        assert_eq!(split_login("one,two"), ("", "one,two"));
        assert_eq!(split_login("relay:a@b@one,two"), ("relay:a@b@", "one,two"));
    }
}
