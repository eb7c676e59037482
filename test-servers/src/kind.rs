//! The kinds of servers that tests need.

use crate::Error;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long a server in the environment may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A kind of server.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// PostgreSQL. The URL is that of a superuser.
    Postgres,
    /// A single Redis.
    Redis,
    /// A Redis Cluster. The URL is that of one node.
    RedisCluster,
    /// NATS with JetStream.
    Nats,
    /// RabbitMQ with its management API, whose URL is [`management`](crate::management).
    RabbitMq,
    /// PgBouncer in transaction mode, which
    /// [`Server::start_pgbouncer`](crate::Server::start_pgbouncer) starts.
    PgBouncer,
}

impl Kind {
    /// The kinds whose [`variable`](Self::variable) names a server for all tests.
    pub const ALL: [Self; 5] = [
        Self::Postgres,
        Self::Redis,
        Self::RedisCluster,
        Self::Nats,
        Self::RabbitMq,
    ];

    /// Whether the program of this crate starts the server when a test first asks for it, and not
    /// before all tests: RabbitMQ takes seconds.
    #[must_use]
    pub fn is_on_demand(self) -> bool {
        self == Self::RabbitMq
    }

    /// The name of the server.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Redis => "Redis",
            Self::RedisCluster => "Redis Cluster",
            Self::Nats => "NATS",
            Self::RabbitMq => "RabbitMQ",
            Self::PgBouncer => "PgBouncer",
        }
    }

    /// The environment variable that names a server for the tests. For PgBouncer, the variable with the
    /// folder of its program.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Self::Postgres => "OUTBOX_TEST_POSTGRES_URL",
            Self::Redis => "OUTBOX_TEST_REDIS_URL",
            Self::RedisCluster => "OUTBOX_TEST_REDIS_CLUSTER_URL",
            Self::Nats => "OUTBOX_TEST_NATS_URL",
            Self::RabbitMq => "OUTBOX_TEST_RABBITMQ_URL",
            Self::PgBouncer => "PATH",
        }
    }

    /// The programs of an installed server, which are in one folder.
    pub(crate) fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Postgres => &["initdb", "pg_isready", "postgres"],
            Self::Redis | Self::RedisCluster => &["redis-server"],
            Self::Nats => &["nats-server"],
            // `/usr/sbin/rabbitmq-server` of Debian runs as the user of the machine's own server, and
            // is in a folder without `rabbitmq-env`.
            Self::RabbitMq => &["rabbitmq-env", "rabbitmq-server", "rabbitmqctl"],
            Self::PgBouncer => &["pgbouncer"],
        }
    }

    /// The names of its packages in Debian and in Homebrew.
    #[must_use]
    pub fn packages(self) -> (&'static str, &'static str) {
        match self {
            Self::Postgres => ("postgresql", "postgresql@17"),
            Self::Redis | Self::RedisCluster => ("redis-server", "redis"),
            Self::Nats => ("nats-server", "nats-server"),
            Self::RabbitMq => ("rabbitmq-server", "rabbitmq"),
            Self::PgBouncer => ("pgbouncer", "pgbouncer"),
        }
    }

    /// The URL of a server of this kind on this machine.
    #[must_use]
    pub fn local(self, port: u16) -> String {
        match self {
            Self::Postgres | Self::PgBouncer => {
                format!("postgres://postgres@127.0.0.1:{port}/postgres")
            }
            Self::Redis | Self::RedisCluster => format!("redis://127.0.0.1:{port}/"),
            Self::Nats => format!("nats://127.0.0.1:{port}"),
            Self::RabbitMq => format!("amqp://guest:guest@127.0.0.1:{port}/%2f"),
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::Postgres | Self::PgBouncer => "postgres://postgres@127.0.0.1:5432/test",
            Self::Redis | Self::RedisCluster => "redis://127.0.0.1:6379/",
            Self::Nats => "nats://127.0.0.1:4222",
            Self::RabbitMq => "amqp://guest:guest@127.0.0.1:5672/%2f",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Postgres => 5432,
            Self::PgBouncer => 6432,
            Self::Redis | Self::RedisCluster => 6379,
            Self::Nats => 4222,
            Self::RabbitMq => 5672,
        }
    }

    /// Checks that a server accepts connections at `url`. The message has no password.
    pub(crate) fn check(self, url: &str) -> Result<(), Error> {
        let variable = self.variable();
        let address = self.address(url).ok_or(Error::NoUrl {
            variable,
            example: self.example(),
        })?;
        answers(&address).map_err(|source| Error::Silent {
            variable,
            address,
            source,
        })
    }

    /// Host and port of a URL.
    pub(crate) fn address(self, url: &str) -> Option<String> {
        let (_, rest) = url.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let host = authority
            .rsplit('@')
            .next()
            .filter(|host| !host.is_empty())?;
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Some(if has_port {
            host.to_owned()
        } else {
            format!("{host}:{}", self.port())
        })
    }
}

fn answers(address: &str) -> std::io::Result<()> {
    let mut last = None;
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::ErrorKind::NotFound.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_without_the_password() {
        let address = |url| Kind::Postgres.address(url);
        let secret = "postgres://me:p@ss:9@db.example:6000/shop?x=1";
        assert_eq!(address(secret).as_deref(), Some("db.example:6000"));
        let plain = address("postgres://db.example/shop");
        assert_eq!(plain.as_deref(), Some("db.example:5432"));
        assert_eq!(address("db.example"), None);
        assert_eq!(address("postgres:///shop"), None);
    }
}
