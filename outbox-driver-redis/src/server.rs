//! Which server to connect to, made from a URL or a client.

use crate::error::{BACKEND, OPEN, redis_error};
use outbox_core::OutboxError;
use redis::{Client, RedisResult};
use std::fmt;

/// How often the client of a cluster retries by itself, with 1.3 seconds between attempts. Few enough
/// that the cause is reported before the call times out.
#[cfg(feature = "cluster")]
const CLUSTER_RETRIES: u32 = 3;

const SCHEMES: [&str; 11] = [
    "redis",
    "rediss",
    "valkey",
    "valkeys",
    "redis+unix",
    "valkey+unix",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
];

/// A server that connections are opened to. Made from a client of [`redis`] by [`From`], or from a URL.
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
    /// With `rediss` instead of `redis` the connections are encrypted (feature
    /// `tls-rustls-ring-webpki` or `tls-rustls-ring-native-roots`). `valkey` is another name for `redis`.
    /// The case of a scheme does not matter.
    ///
    /// ```
    /// # use outbox_driver_redis::Server;
    /// assert!(Server::from_url("redis://cache.example:6379/0").is_ok());
    /// assert!(Server::from_url("http://cache.example").is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) for another scheme, for one whose feature is not
    /// enabled, and for a URL that cannot be read. The message has no part of the URL but the scheme,
    /// because the URL may have a password.
    pub fn from_url(url: &str) -> Result<Self, OutboxError> {
        let (scheme, rest) = url.split_once(':').unwrap_or_default();
        let scheme = scheme.to_ascii_lowercase();
        if !rest.starts_with('/') || !SCHEMES.contains(&&*scheme) {
            return Err(wrong_scheme(url));
        }
        if let Some(feature) = missing_feature(&scheme) {
            return Err(invalid(format!(
                "scheme is {scheme:?}, but the feature {feature} is not enabled"
            )));
        }
        Self::parse(&scheme, rest).map_err(redis_error(OPEN))
    }

    /// Whether it is a cluster, of which each node can fail alone.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        match self.0 {
            Kind::Single(_) => false,
            #[cfg(feature = "sentinel")]
            Kind::Sentinel(_) => false,
            #[cfg(feature = "cluster")]
            Kind::Cluster(_) => true,
        }
    }

    fn parse(scheme: &str, rest: &str) -> RedisResult<Self> {
        match scheme.split_once('+') {
            #[cfg(feature = "sentinel")]
            Some((scheme, "sentinel")) => sentinel(scheme, rest.trim_start_matches('/')),
            #[cfg(feature = "cluster")]
            Some((scheme, "cluster")) => cluster(scheme, rest.trim_matches('/')),
            _ => Client::open(format!("{scheme}:{rest}")).map(Self::from),
        }
    }
}

/// Shows the text before `://` only if it can be a scheme: other text may be a part of a login.
fn wrong_scheme(url: &str) -> OutboxError {
    let is_scheme_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let allowed = SCHEMES.join(", ");
    match url.split_once("://") {
        Some((scheme, _)) if !scheme.is_empty() && scheme.bytes().all(is_scheme_byte) => invalid(
            format!("scheme is {scheme:?}, but must be one of {allowed}"),
        ),
        _ => invalid(format!("URL has no scheme, but must have one of {allowed}")),
    }
}

/// The feature that a scheme needs and that is not enabled.
fn missing_feature(scheme: &str) -> Option<&'static str> {
    let is_encrypted = scheme.starts_with("rediss") || scheme == "valkeys";
    if scheme.ends_with("+sentinel") && cfg!(not(feature = "sentinel")) {
        return Some("sentinel");
    }
    if scheme.ends_with("+cluster") && cfg!(not(feature = "cluster")) {
        return Some("cluster");
    }
    (is_encrypted && !has_tls()).then_some("tls-rustls-ring-native-roots or tls-rustls-ring-webpki")
}

/// Whether the crate `redis` has TLS. The application may have enabled it there, with other roots.
fn has_tls() -> bool {
    Client::open("rediss://host/").is_ok()
}

fn invalid(problem: String) -> OutboxError {
    OutboxError::invalid(BACKEND, OPEN, problem)
}

/// A login with its `@`, if there is one, and the rest.
#[cfg(any(feature = "cluster", feature = "sentinel"))]
fn split_login(rest: &str) -> (&str, &str) {
    rest.split_at(rest.rfind('@').map_or(0, |at| at + 1))
}

#[cfg(feature = "cluster")]
fn cluster(scheme: &str, rest: &str) -> RedisResult<Server> {
    let (login, hosts) = split_login(rest);
    if hosts.contains('/') {
        let why = "a cluster has no databases, as in redis+cluster://host:6379";
        return Err((redis::ErrorKind::InvalidClientConfig, why).into());
    }
    let nodes = hosts
        .split(',')
        .map(|host| format!("{scheme}://{login}{host}"));
    let builder = redis::cluster::ClusterClient::builder(nodes);
    builder.retries(CLUSTER_RETRIES).build().map(Server::from)
}

#[cfg(feature = "sentinel")]
fn sentinel(scheme: &str, rest: &str) -> RedisResult<Server> {
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
    // The host does not matter here: the sentinels know it.
    let master = format!("{scheme}://{login}master/{database}").into_connection_info()?;
    let mut node = SentinelNodeConnectionInfo::default()
        .set_redis_connection_info(master.redis_settings().clone());
    if scheme == "rediss" {
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

/// The client must be of the master, because a replica cannot be written to.
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

#[cfg(all(test, any(feature = "cluster", feature = "sentinel")))]
mod tests {
    use super::*;

    #[test]
    fn a_login_ends_with_the_last_at() {
        assert_eq!(split_login("one,two"), ("", "one,two"));
        assert_eq!(split_login("relay:a@b@one,two"), ("relay:a@b@", "one,two"));
    }
}
