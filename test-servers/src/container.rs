//! A server in a container, if Docker runs.

use std::path::Path;
use test_servers::{Kind, MANAGEMENT, free_ports};
use testcontainers_modules::nats::{Nats, NatsServerCmd};
use testcontainers_modules::postgres::Postgres;
use testcontainers_modules::rabbitmq::RabbitMq;
use testcontainers_modules::redis::{REDIS_PORT, Redis};
use testcontainers_modules::testcontainers::core::error::Result;
use testcontainers_modules::testcontainers::core::{IntoContainerPort as _, WaitFor};
use testcontainers_modules::testcontainers::runners::SyncRunner;
use testcontainers_modules::testcontainers::{
    Container as Running, Image, ImageExt as _, TestcontainersError,
};

/// The default tags of the modules are older than the adapters allow.
const POSTGRES_TAG: &str = "17-alpine";
const REDIS_TAG: &str = "7-alpine";
const NATS_TAG: &str = "2.12-alpine";
const RABBITMQ_TAG: &str = "3.13-management";

/// What RabbitMQ prints when it has started.
const READY: &str = "Server startup complete";

/// The settings of an installed server that is started for the tests.
const SETTINGS: [&str; 6] = [
    "-c",
    "fsync=off",
    "-c",
    "full_page_writes=off",
    "-c",
    "max_connections=300",
];

/// A running container. It is removed when this value is dropped.
pub(crate) struct Container {
    url: String,
    _running: Box<dyn std::any::Any + Send>,
}

impl Container {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

/// Whether Docker runs, and a container can be such a server. The nodes of a cluster cannot: they
/// announce addresses that can be reached only from inside the container.
pub(crate) fn can_start(kind: Kind) -> bool {
    let runs =
        std::env::var_os("DOCKER_HOST").is_some() || Path::new("/var/run/docker.sock").exists();
    runs && !matches!(kind, Kind::RedisCluster | Kind::PgBouncer)
}

/// `None` if no container [can](can_start) be the server.
pub(crate) fn start(kind: Kind) -> Option<std::result::Result<Container, String>> {
    if !can_start(kind) {
        return None;
    }
    let started = match kind {
        Kind::Postgres => Postgres::default()
            .with_host_auth()
            .with_tag(POSTGRES_TAG)
            .with_cmd(SETTINGS)
            .start()
            .and_then(|running| container(running, 5432, kind)),
        Kind::Nats => Nats::default()
            .with_tag(NATS_TAG)
            .with_cmd(&NatsServerCmd::default().with_jetstream())
            .start()
            .and_then(|running| container(running, 4222, kind)),
        Kind::RabbitMq => rabbitmq(),
        _ => Redis::default()
            .with_tag(REDIS_TAG)
            .start()
            .and_then(|running| container(running, REDIS_PORT, kind)),
    };
    let text = |error: TestcontainersError| format!("cannot start a container: {error}");
    Some(started.map_err(text))
}

/// Its management API has the port that [`test_servers::management`] names.
fn rabbitmq() -> Result<Container> {
    let port = free_ports(&[MANAGEMENT]).map_err(TestcontainersError::other)?;
    let running = RabbitMq::default()
        .with_tag(RABBITMQ_TAG)
        .with_mapped_port(port, 5672.tcp())
        .with_mapped_port(port + MANAGEMENT, 15672.tcp())
        // The module waits for a number of plugins that is different in each version.
        .with_ready_conditions(vec![WaitFor::message_on_stdout(READY)])
        .start()?;
    container(running, 5672, Kind::RabbitMq)
}

fn container<I: Image + 'static>(running: Running<I>, port: u16, kind: Kind) -> Result<Container> {
    let port = running.get_host_port_ipv4(port)?;
    Ok(Container {
        url: kind.local(port),
        _running: Box::new(running),
    })
}
