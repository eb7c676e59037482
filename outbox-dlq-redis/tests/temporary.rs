//! Errors of a server that pass by themselves are `Unavailable`, for each command that they answer.

use outbox_core::{DlqHeap, ErrorKind, EventId, OutboxError};
use outbox_dlq_redis::redis::{Client, Connection, cmd};
use outbox_dlq_redis::{RedisConfig, RedisDlqHeap, Server};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use test_servers::{Server as Started, search_path};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// Texts of Redis 7.0, Envoy and twemproxy.
const TEMPORARY: &[&str] = &[
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "LOADING Redis is loading the dataset in memory",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "CLUSTERDOWN The cluster is down",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "ERR max number of clients reached",
    "ERR max number of clients + cluster connections reached",
    "NOREPLICAS Not enough good replicas to write.",
    "MISCONF Redis is configured to save RDB snapshots, but it's unable to persist to disk.",
    "READONLY You can't write against a read only replica.",
    "no upstream host",
    "ERR Connection refused",
];

/// Errors that an operator must repair, and the command that they answer.
const PERMANENT: &[(&str, &str)] = &[
    (
        "AUTH",
        "WRONGPASS invalid username-password pair or user is disabled.",
    ),
    ("AUTH", "ERR invalid password"),
    (
        "AUTH",
        "ERR AUTH <password> called without any password configured",
    ),
    ("SELECT", "ERR DB index is out of range"),
    (
        "SELECT",
        "NOPERM User me has no permissions to run the 'select' command",
    ),
    ("EVALSHA", "NOAUTH Authentication required."),
    ("EVALSHA", "ERR unknown command 'EVALSHA'"),
];

/// A server that answers one command with an error, and the others as a master does.
struct Scripted {
    port: u16,
}

impl Scripted {
    async fn start(refused: &'static str, error: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, refused, error));
            }
        });
        Self { port }
    }

    async fn open(&self, scheme: &str, parameters: &str) -> Result<RedisDlqHeap, OutboxError> {
        let url = format!("{scheme}://me:secret@127.0.0.1:{}/{parameters}", self.port);
        RedisDlqHeap::open(
            RedisConfig::new(Server::from_url(&url).expect("a URL")).namespace("shop"),
        )
        .await
    }
}

async fn answer(stream: TcpStream, refused: &str, error: &str) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let words = command(&mut stream).await?;
        let name = words.first().map(|name| name.to_uppercase())?;
        let answer = match &*name {
            name if name == refused => format!("-{error}\r\n"),
            "HELLO" => "%1\r\n+proto\r\n:3\r\n".to_owned(),
            // Makes the client send `SCRIPT LOAD`.
            "EVALSHA" if refused == "SCRIPT" => "-NOSCRIPT No matching script.\r\n".to_owned(),
            "EVALSHA" => "$11\r\nrole:master\r\n".to_owned(),
            _ => "+OK\r\n".to_owned(),
        };
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

/// The words of the next command.
async fn command(stream: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let mut words = Vec::new();
    for _ in 0..length(stream).await? {
        let mut word = vec![0; length(stream).await? + 2];
        stream.read_exact(&mut word).await.ok()?;
        words.push(String::from_utf8_lossy(&word).trim_end().to_owned());
    }
    Some(words)
}

/// The number of a line such as `*3` or `$5`.
async fn length(stream: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.get(1..)?.trim_end().parse().ok()
}

async fn assert_refused(
    scheme: &str,
    parameters: &str,
    refused: &'static str,
    error: &'static str,
    kind: ErrorKind,
) {
    let server = Scripted::start(refused, error).await;
    let opened = server.open(scheme, parameters).await;
    let failure = opened.expect_err("the server refuses a command");
    let report = failure.to_string();
    assert_eq!(
        failure.kind(),
        kind,
        "{refused} {parameters}: {error}: {report}"
    );
    assert!(!report.contains("secret"), "{report}");
}

#[tokio::test]
async fn a_temporary_error_is_unavailable_for_each_command() {
    for error in TEMPORARY {
        for command in ["AUTH", "SELECT", "EVALSHA", "SCRIPT"] {
            assert_refused("redis", "3", command, error, ErrorKind::Unavailable).await;
        }
        for command in ["HELLO", "SELECT"] {
            let resp3 = "3?protocol=resp3";
            assert_refused("redis", resp3, command, error, ErrorKind::Unavailable).await;
        }
    }
}

#[tokio::test]
async fn a_permanent_error_is_invalid_and_keeps_the_text_of_the_server() {
    for (command, error) in PERMANENT {
        assert_refused("redis", "3", command, error, ErrorKind::Invalid).await;
        let server = Scripted::start(command, error).await;
        let report = server
            .open("redis", "3")
            .await
            .expect_err("refused")
            .to_string();
        let words = error.split_once(' ').expect("words").1;
        assert!(report.contains(words), "{report}");
    }
}

#[tokio::test]
async fn a_temporary_error_is_unavailable_when_a_cluster_is_connected() {
    for error in TEMPORARY {
        for command in ["AUTH", "CLUSTER"] {
            assert_refused("redis+cluster", "", command, error, ErrorKind::Unavailable).await;
        }
    }
}

/// A server that only this test uses, so that it may break it.
struct Real {
    started: Started,
    admin: Connection,
}

impl Real {
    fn start(settings: &[&str]) -> Self {
        let started = Started::start_redis(&search_path(), None, settings).expect("started");
        let client = Client::open(started.url()).expect("a URL");
        let admin = client.get_connection().expect("connected");
        Self { started, admin }
    }

    fn send(&mut self, words: &[&str]) {
        let sent = cmd(words[0]).arg(&words[1..]).exec(&mut self.admin);
        sent.unwrap_or_else(|error| panic!("{words:?}: {error}"));
    }

    /// A heap in database 3. `user` may be empty.
    async fn heap(&self, user: &str) -> RedisDlqHeap {
        let address = self
            .started
            .url()
            .trim_start_matches("redis://")
            .trim_end_matches('/');
        let url = format!("redis://{user}{address}/3");
        RedisDlqHeap::open(
            RedisConfig::new(Server::from_url(&url).expect("a URL"))
                .namespace("shop")
                .lazy(),
        )
        .await
        .expect("a name")
    }
}

async fn assert_unavailable(heap: &RedisDlqHeap, words: &str) {
    for error in [heap.check().await.err(), heap.size().await.err()] {
        let error = error.expect("the server cannot answer");
        let report = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{report}");
        assert!(report.contains(words), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_runs_a_long_script_is_unavailable_until_it_ends() {
    let mut redis = Real::start(&["--busy-reply-threshold", "1"]);
    let heap = redis.heap("").await;
    let mut other = Client::open(redis.started.url())
        .and_then(|client| client.get_connection())
        .expect("connected");
    // Ends by itself, so that a failed test ends too.
    let long = "local begun = redis.call('TIME')[1]
                while redis.call('TIME')[1] - begun < 20 do end";
    let long = std::thread::spawn(move || cmd("EVAL").arg(long).arg(0).exec(&mut other));
    while cmd("DBSIZE").exec(&mut redis.admin).is_ok() {}
    assert_unavailable(&heap, "busy running a script").await;
    redis.send(&["SCRIPT", "KILL"]);
    long.join().expect("no panic").expect_err("killed");
    heap.check().await.expect("usable");
}

#[tokio::test]
async fn a_server_with_too_many_clients_is_unavailable_until_some_leave() {
    let mut redis = Real::start(&[]);
    redis.send(&["ACL", "SETUSER", "me", "on", ">secret", "~*", "&*", "+@all"]);
    for heap in [redis.heap("").await, redis.heap("me:secret@").await] {
        redis.send(&["CONFIG", "SET", "maxclients", "1"]);
        for error in [heap.check().await.err(), heap.size().await.err()] {
            let error = error.expect("too many clients");
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        }
        redis.send(&["CONFIG", "SET", "maxclients", "100"]);
        heap.check().await.expect("usable");
    }
}

#[tokio::test]
async fn a_server_that_loads_its_data_is_unavailable() {
    let mut redis = Real::start(&["--enable-debug-command", "yes", "--key-load-delay", "1000"]);
    redis.send(&["ACL", "SETUSER", "me", "on", ">secret", "~*", "&*", "+@all"]);
    redis.send(&["DEBUG", "POPULATE", "100000"]);
    redis.send(&[
        "CONFIG",
        "SET",
        "loading-process-events-interval-bytes",
        "1024",
    ]);
    let heaps = [redis.heap("").await, redis.heap("me:secret@").await];
    let mut other = Client::open(redis.started.url())
        .and_then(|client| client.get_connection())
        .expect("connected");
    let loading = std::thread::spawn(move || cmd("DEBUG").arg("RELOAD").exec(&mut other));
    while cmd("DBSIZE").exec(&mut redis.admin).is_ok() {}
    for heap in heaps {
        assert_unavailable(&heap, "loading the dataset").await;
    }
    redis.send(&["CONFIG", "SET", "key-load-delay", "0"]);
    drop(redis);
    // The server ended while it loaded its data.
    let _ = loading.join().expect("no panic");
}

/// A name that can be pointed to another server: a port that forwards new connections.
struct Name {
    port: u16,
    target: Arc<AtomicU16>,
}

impl Name {
    async fn of(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("an address").port();
        let target = Arc::new(AtomicU16::new(target));
        let points_to = Arc::clone(&target);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let address = ("127.0.0.1", points_to.load(SeqCst));
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(address).await?;
                    copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        Self { port, target }
    }

    fn points_to(&self, port: u16) {
        self.target.store(port, SeqCst);
    }
}

fn port(started: &Started) -> u16 {
    let port = started.url().trim_end_matches('/').rsplit(':').next();
    port.and_then(|port| port.parse().ok()).expect("a port")
}

/// A connection to a replica is discarded, so the first call after the change reaches the master.
#[tokio::test]
async fn a_name_that_led_to_a_replica_is_used_again_when_it_leads_to_a_master() {
    let master = Real::start(&[]);
    let mut replica = Real::start(&[]);
    let master_port = port(&master.started);
    replica.send(&["REPLICAOF", "127.0.0.1", &master_port.to_string()]);
    let name = Name::of(port(&replica.started)).await;
    let server = Server::from_url(&format!("redis://127.0.0.1:{}/", name.port)).expect("a URL");
    let heap = RedisDlqHeap::open(RedisConfig::new(server).namespace("shop").lazy())
        .await
        .expect("a name");
    let id = EventId::new();
    for _ in 0..2 {
        let error = heap.record_failure(id).await.expect_err("a replica");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    name.points_to(master_port);
    heap.record_failure(id)
        .await
        .expect("recorded by the master");

    // From the master to the replica and back, with calls in between.
    name.points_to(port(&replica.started));
    let mut admin = master.admin;
    cmd("CLIENT")
        .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
        .exec(&mut admin)
        .expect("killed");
    for _ in 0..3 {
        heap.record_failure(id)
            .await
            .expect_err("cut, and then a replica");
    }
    name.points_to(master_port);
    heap.record_failure(id)
        .await
        .expect("recorded by the master");
    let drained = heap.drain_exceeded(1).await.expect("drained");
    assert_eq!(drained[0].failure_count, 2);
}
