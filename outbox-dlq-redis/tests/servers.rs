//! A master that sentinels name, a cluster, and a certificate.

use outbox_core::{DlqHeap, ErrorKind, EventId};
use outbox_dlq_redis::redis::{Client, cmd};
use outbox_dlq_redis::{RedisConfig, RedisDlqHeap, Server};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;
use test_servers::{Kind, Server as Started, search_path};

/// A sentinel that watches `shop`. Ends with the test.
struct Sentinel {
    process: Child,
    port: u16,
    _folder: TempDir,
}

impl Sentinel {
    fn start(master: u16) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // The port of a listener that is closed again.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let config = folder.path().join("sentinel.conf");
        let text =
            format!("port {port}\nbind 127.0.0.1\nsentinel monitor shop 127.0.0.1 {master} 1\n");
        std::fs::write(&config, text).expect("written");
        let folders = search_path();
        let program = folders.iter().map(|folder| folder.join("redis-server"));
        let program = program.into_iter().find(|program| program.is_file());
        let process = Command::new(program.expect("redis-server"))
            .arg(config)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .spawn()
            .expect("spawned");
        Self {
            process,
            port,
            _folder: folder,
        }
    }

    /// Sends a command as soon as it listens.
    fn send(&self, command: &str) {
        let client = Client::open(format!("redis://127.0.0.1:{}/", self.port)).expect("a URL");
        let mut connection = loop {
            match client.get_connection() {
                Ok(connection) => break connection,
                Err(error) => assert!(error.is_connection_refusal(), "{error}"),
            }
        };
        let mut words = command.split(' ');
        let sent = cmd(words.next().expect("a word"))
            .arg(words.collect::<Vec<_>>())
            .exec(&mut connection);
        sent.expect("sent");
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        // Fails if the sentinel has ended by itself, which is fine.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn redis() -> (Started, u16) {
    let started = Started::start_redis(&search_path(), None, &[]).expect("started");
    let port = started.url().trim_end_matches('/').rsplit(':').next();
    let port = port.and_then(|port| port.parse().ok()).expect("a port");
    (started, port)
}

#[tokio::test]
async fn the_sentinels_name_another_master_when_the_first_is_gone() {
    let (first, first_port) = redis();
    let (_second, second_port) = redis();
    let sentinel = Sentinel::start(first_port);
    sentinel.send("PING");
    // No sentinel listens on the first address.
    let url = format!(
        "redis+sentinel://127.0.0.1:1,127.0.0.1:{}/shop/3",
        sentinel.port
    );
    let heap = RedisDlqHeap::open(
        RedisConfig::new(Server::from_url(&url).expect("a URL")).namespace("shop"),
    )
    .await;
    let (heap, id) = (heap.expect("opened"), EventId::new());
    heap.record_failure(id).await.expect("recorded");
    let third = Client::open(format!("redis://127.0.0.1:{first_port}/3")).expect("a URL");
    let count = cmd("ZSCORE")
        .arg("outbox-dlq:{shop}:counts")
        .arg(id.to_string())
        .query::<Option<u32>>(&mut third.get_connection().expect("connected"));
    assert_eq!(count.expect("asked"), Some(1), "in database 3");

    sentinel.send("SENTINEL REMOVE shop");
    sentinel.send(&format!("SENTINEL MONITOR shop 127.0.0.1 {second_port} 1"));
    drop(first);
    let error = heap
        .record_failure(id)
        .await
        .expect_err("the master is gone");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    heap.record_failure(id)
        .await
        .expect("recorded by the next master");
    let other = format!("redis+sentinel://127.0.0.1:{}/other", sentinel.port);
    let opened = RedisDlqHeap::open(
        RedisConfig::new(Server::from_url(&other).expect("a URL")).namespace("shop"),
    )
    .await;
    assert_eq!(
        opened.expect_err("no such master").kind(),
        ErrorKind::Unavailable
    );
}

#[tokio::test]
async fn a_cluster_that_is_gone_is_unavailable_and_a_client_makes_a_server() {
    let started = Started::start(Kind::RedisCluster, &search_path()).expect("started");
    let client = outbox_dlq_redis::redis::cluster::ClusterClient::builder([started.url()])
        .retries(1)
        .build()
        .expect("a URL");
    let heap = RedisDlqHeap::open(RedisConfig::new(client).namespace("shop"))
        .await
        .expect("opened");
    heap.record_failure(EventId::new()).await.expect("recorded");
    drop(started);
    let error = heap
        .record_failure(EventId::new())
        .await
        .expect_err("it is gone");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[cfg(feature = "tls-rustls-ring-native-roots")]
#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused_with_the_reason() {
    let redis = test_servers::tls::Redis::start().expect("started");
    let server = Server::from_url(redis.url()).expect("a URL");
    let error = RedisDlqHeap::open(RedisConfig::new(server).namespace("shop")).await;
    let error = error.expect_err("the authority is unknown");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let text = error.to_string();
    assert!(text.contains("certificate: UnknownIssuer"), "{text}");
}
