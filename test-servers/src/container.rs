//! A server in a container, if Docker runs.

use std::path::Path;
use test_servers::Kind;
use testcontainers_modules::postgres::Postgres;
use testcontainers_modules::redis::{REDIS_PORT, Redis};
use testcontainers_modules::testcontainers::core::error::Result;
use testcontainers_modules::testcontainers::runners::SyncRunner;
use testcontainers_modules::testcontainers::{
    Container as Running, Image, ImageExt as _, TestcontainersError,
};

/// The default tags of the modules are older than the adapters allow.
const POSTGRES_TAG: &str = "17-alpine";
const REDIS_TAG: &str = "7-alpine";

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
    _running: Box<dyn std::any::Any>,
}

impl Container {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

/// `None` if Docker does not run, and for a cluster: its nodes announce addresses that can be reached
/// only from inside the container.
pub(crate) fn start(kind: Kind) -> Option<std::result::Result<Container, String>> {
    let runs =
        std::env::var_os("DOCKER_HOST").is_some() || Path::new("/var/run/docker.sock").exists();
    if !runs || kind == Kind::RedisCluster {
        return None;
    }
    let started = match kind {
        Kind::Postgres => Postgres::default()
            .with_host_auth()
            .with_tag(POSTGRES_TAG)
            .with_cmd(SETTINGS)
            .start()
            .and_then(|running| container(running, 5432, kind)),
        _ => Redis::default()
            .with_tag(REDIS_TAG)
            .start()
            .and_then(|running| container(running, REDIS_PORT, kind)),
    };
    let text = |error: TestcontainersError| format!("cannot start a container: {error}");
    Some(started.map_err(text))
}

fn container<I: Image + 'static>(running: Running<I>, port: u16, kind: Kind) -> Result<Container> {
    let port = running.get_host_port_ipv4(port)?;
    Ok(Container {
        url: kind.local(port),
        _running: Box::new(running),
    })
}
