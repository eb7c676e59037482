//! The master of a heap's slot is killed, and its replica takes over.

use outbox_core::{DlqHeap, ErrorKind, EventId};
use outbox_dlq_redis::redis::{Client, FromRedisValue, cmd};
use outbox_dlq_redis::{RedisConfig, RedisDlqHeap, Server};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};
use test_servers::{Kind, Server as Started, search_path};

const PATIENCE: Duration = Duration::from_secs(60);
const COUNTS: &str = "outbox-dlq:{shop}:counts";

/// Polls until there is an answer, and fails after [`PATIENCE`].
fn until<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "timed out: {what}");
    }
}

/// Sends a command to the server on a port.
fn ask<T: FromRedisValue>(port: u16, command: &[&str]) -> T {
    let client = Client::open(format!("redis://127.0.0.1:{port}/")).expect("a URL");
    let mut connection = client.get_connection().expect("connected");
    let (name, rest) = command.split_first().expect("a command");
    let answer = cmd(name).arg(rest).query(&mut connection);
    answer.unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// A number in the reply of `INFO`.
fn field(info: &str, name: &str) -> u64 {
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|number| number.parse().ok()).expect(name)
}

/// A node in the reply of `CLUSTER NODES`.
struct Node {
    id: String,
    port: u16,
    is_master: bool,
    slots: Option<(u16, u16)>,
}

fn nodes(port: u16) -> Vec<Node> {
    let reply: String = ask(port, &["CLUSTER", "NODES"]);
    let node = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let address = fields[1].split('@').next().expect("an address");
        let (_, port) = address.rsplit_once(':').expect("a port");
        let slots = fields.get(8).and_then(|slots| slots.split_once('-'));
        Node {
            id: fields[0].to_owned(),
            port: port.parse().expect("a port"),
            is_master: fields[2].contains("master") && !fields[2].contains("fail"),
            slots: slots.and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?))),
        }
    };
    reply.lines().map(node).collect()
}

/// Three masters. The one that holds the heap has a replica.
struct Cluster {
    ports: Vec<u16>,
    master: Node,
    replica: u16,
    _started: [Started; 2],
}

impl Cluster {
    fn start() -> Self {
        let masters = Started::start(Kind::RedisCluster, &search_path()).expect("started");
        let any = port(&masters);
        let slot: u16 = ask(any, &["CLUSTER", "KEYSLOT", COUNTS]);
        let nodes = nodes(any);
        let ports: Vec<u16> = nodes.iter().map(|node| node.port).collect();
        let holds =
            |node: &Node| matches!(node.slots, Some((from, to)) if (from..=to).contains(&slot));
        let master = nodes.into_iter().find(holds).expect("a master of the slot");
        let started = start_node();
        let replica = port(&started);
        ask::<()>(replica, &["CLUSTER", "MEET", "127.0.0.1", &any.to_string()]);
        until("a cluster that the replica knows", || {
            let known = self::nodes(replica);
            known
                .iter()
                .any(|node| node.id == master.id && node.is_master)
                .then_some(())
        });
        ask::<()>(replica, &["CLUSTER", "REPLICATE", &master.id]);
        until("a replica in step", || {
            let info: String = ask(replica, &["INFO", "replication"]);
            info.contains("master_link_status:up").then_some(())
        });
        for port in ports.iter().chain([&replica]) {
            let settings = [
                "cluster-node-timeout",
                "1000",
                "cluster-replica-validity-factor",
                "0",
            ];
            for setting in settings.chunks(2) {
                ask::<()>(*port, &["CONFIG", "SET", setting[0], setting[1]]);
            }
        }
        until("masters that know the replica", || {
            let knows = |port: &u16| self::nodes(*port).iter().any(|node| node.port == replica);
            ports.iter().all(knows).then_some(())
        });
        Self {
            ports,
            master,
            replica,
            _started: [masters, started],
        }
    }

    /// Stops the replication: the replica cannot log in again.
    fn cut_replication(&self) {
        let master = self.master.port;
        ask::<()>(master, &["CONFIG", "SET", "requirepass", "hush"]);
        let client = Client::open(format!("redis://:hush@127.0.0.1:{master}/")).expect("a URL");
        let mut connection = client.get_connection().expect("connected");
        let mut kill = cmd("CLIENT");
        kill.arg(&["KILL", "TYPE", "replica"]);
        let killed: u32 = kill.query(&mut connection).expect("killed");
        assert_eq!(killed, 1);
    }

    /// Sends SIGKILL.
    fn kill_master(&self, process: u64) {
        let status = Command::new("kill")
            .args(["-KILL", &process.to_string()])
            .status();
        assert!(status.expect("kill").success());
        until("a dead master", || {
            std::net::TcpStream::connect(("127.0.0.1", self.master.port))
                .is_err()
                .then_some(())
        });
    }
}

fn port(server: &Started) -> u16 {
    let port = server.url().trim_end_matches('/').rsplit(':').next();
    port.and_then(|port| port.parse().ok()).expect("a port")
}

/// A node that is in no cluster yet. Nodes also use the port that is 10,000 higher.
fn start_node() -> Started {
    let port = until("a free port", || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").ok()?;
        let port = listener.local_addr().ok()?.port();
        (port < 55_000).then_some(port)
    });
    let settings = ["--cluster-enabled", "yes"];
    Started::start_redis(&search_path(), Some(port), &settings).expect("started")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_over_with_its_entries_and_the_handle_works_again() {
    let cluster = Cluster::start();
    let hosts: Vec<String> = cluster
        .ports
        .iter()
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();
    let server = Server::from_url(&format!("redis+cluster://{}", hosts.join(","))).expect("a URL");
    let config = RedisConfig::new(server)
        .namespace("shop")
        .call_timeout(Duration::from_secs(1));
    let heap = RedisDlqHeap::open(config).await.expect("opened");
    let [kept, forgotten, late] = [(); 3].map(|()| EventId::new());
    for id in [kept, kept, kept, forgotten] {
        heap.record_failure(id).await.expect("recorded");
    }
    let master: String = ask(cluster.master.port, &["INFO", "replication"]);
    let written = field(&master, "master_repl_offset");
    until("a replica in step", || {
        let replica: String = ask(cluster.replica, &["INFO", "replication"]);
        (field(&replica, "slave_repl_offset") >= written).then_some(())
    });
    let info: String = ask(cluster.master.port, &["INFO", "server"]);
    let process = field(&info, "process_id");

    cluster.cut_replication();
    heap.forget(&[forgotten]).await.expect("forgotten");
    heap.record_failure(late).await.expect("recorded");
    cluster.kill_master(process);
    let error = heap.size().await.expect_err("no master");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let start = Instant::now();
    let size = loop {
        match heap.size().await {
            Ok(size) => break size.expect("a size"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
        }
        assert!(start.elapsed() < PATIENCE, "no replica took over");
    };
    assert_eq!(size.entries, 2, "the entries of the replica");
    heap.record_failure(late).await.expect("recorded");
    let drained = heap.drain_exceeded(1).await.expect("drained");
    let counts: BTreeMap<EventId, u32> = drained
        .iter()
        .map(|entry| (entry.id, entry.failure_count))
        .collect();
    let expected = BTreeMap::from([(kept, 3), (forgotten, 1), (late, 1)]);
    assert_eq!(
        counts, expected,
        "the late failure counts from one, and the forgotten entry is back"
    );
}
