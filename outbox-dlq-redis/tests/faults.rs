//! Outages, logins, privileges, keys of other programs, and the calls after them.

use outbox_conformance::warnings;
use outbox_core::{DlqHeap, ErrorKind, EventId, FailedAttempt, OutboxError};
use outbox_dlq_redis::redis::{Client, Commands, Connection, cmd};
use outbox_dlq_redis::{RedisConfig, RedisDlqHeap, Server};
use std::net::TcpListener;
use std::time::Duration;
use test_servers::{Kind, Server as Started, search_path};

const LEASE: Duration = Duration::from_secs(60);
const KEYS: [&str; 5] = ["counts", "turns", "first", "details", "aside"];

/// A Redis that only this test uses, so that it may stop it.
struct Redis {
    port: u16,
    started: Option<Started>,
}

impl Redis {
    fn start(settings: &[&str]) -> Self {
        let started = Started::start_redis(&search_path(), None, settings).expect("started");
        let port = started.url().trim_end_matches('/').rsplit(':').next();
        let port = port.and_then(|port| port.parse().ok()).expect("a port");
        Self {
            port,
            started: Some(started),
        }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    fn stop(&mut self) {
        self.started = None;
    }

    fn start_again(&mut self, settings: &[&str]) {
        let started = Started::start_redis(&search_path(), Some(self.port), settings);
        self.started = Some(started.expect("started"));
    }

    fn connect(&self) -> Connection {
        let client = Client::open(self.url()).expect("a URL");
        client.get_connection().expect("connected")
    }

    fn send(&self, command: &[&str]) {
        let (name, rest) = command.split_first().expect("a command");
        let sent = cmd(name).arg(rest).exec(&mut self.connect());
        sent.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    }

    async fn open(&self) -> RedisDlqHeap {
        open(&self.url())
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }
}

async fn open(url: &str) -> Result<RedisDlqHeap, OutboxError> {
    RedisDlqHeap::open(RedisConfig::new(Server::from_url(url)?).namespace("shop")).await
}

#[track_caller]
fn refused<T>(result: Result<T, OutboxError>, kind: ErrorKind) -> String {
    let error = result.err().expect("refused");
    assert_eq!(error.kind(), kind, "{error}");
    error.to_string()
}

fn kind<T>(result: Result<T, OutboxError>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

/// Each method, and the kind of its error; none if it succeeds.
async fn every_method(heap: &RedisDlqHeap) -> [Option<ErrorKind>; 8] {
    let id = EventId::new();
    [
        kind(heap.record_failure(id).await),
        kind(heap.record_failures(&[FailedAttempt::new(id)]).await),
        kind(heap.lease_exceeded(2, 1, LEASE).await),
        kind(heap.size().await),
        kind(heap.prune(LEASE, 10).await),
        kind(heap.record_success(id).await),
        kind(heap.forget(&[id]).await),
        kind(heap.drain_exceeded(1).await),
    ]
}

const ALL_WELL: [Option<ErrorKind>; 8] = [None; 8];
const ALL_UNAVAILABLE: [Option<ErrorKind>; 8] = [Some(ErrorKind::Unavailable); 8];
const ALL_INVALID: [Option<ErrorKind>; 8] = [Some(ErrorKind::Invalid); 8];
const ALL_CORRUPT: [Option<ErrorKind>; 8] = [Some(ErrorKind::Corrupt); 8];

#[tokio::test]
async fn a_server_that_is_gone_is_unavailable_and_the_handle_works_again_when_it_is_back() {
    let mut redis = Redis::start(&[]);
    let (heap, id) = (redis.open().await, EventId::new());
    heap.record_failure(id).await.expect("recorded");
    redis.stop();
    assert_eq!(every_method(&heap).await, ALL_UNAVAILABLE);
    refused(open(&redis.url()).await, ErrorKind::Unavailable);
    redis.start_again(&[]);
    assert_eq!(every_method(&heap).await, ALL_WELL);
    heap.record_failure(id).await.expect("recorded");
    let count = heap.drain_exceeded(1).await.expect("drained")[0].failure_count;
    assert_eq!(count, 1, "a server that keeps nothing starts again");
}

#[tokio::test]
async fn a_connection_that_is_killed_costs_one_call_and_no_count() {
    let redis = Redis::start(&[]);
    let (heap, id) = (redis.open().await, EventId::new());
    for _ in 0..5 {
        heap.record_failure(id).await.expect("recorded");
        redis.send(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        refused(heap.size().await, ErrorKind::Unavailable);
    }
    let drained = heap.drain_exceeded(1).await.expect("drained");
    assert_eq!(drained[0].failure_count, 5);
}

#[tokio::test]
async fn a_script_cache_that_is_flushed_is_filled_again() {
    let redis = Redis::start(&[]);
    let heap = redis.open().await;
    for _ in 0..3 {
        redis.send(&["SCRIPT", "FLUSH"]);
        assert_eq!(every_method(&heap).await, ALL_WELL);
    }
}

#[tokio::test]
async fn a_replica_is_unavailable_until_it_is_a_master() {
    let master = Redis::start(&[]);
    let redis = Redis::start(&[]);
    let heap = redis.open().await;
    redis.send(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]);
    let text = refused(
        heap.record_failure(EventId::new()).await,
        ErrorKind::Unavailable,
    );
    assert!(text.to_lowercase().contains("readonly"), "{text}");
    let text = refused(heap.forget(&[EventId::new()]).await, ErrorKind::Unavailable);
    assert!(text.to_lowercase().contains("readonly"), "{text}");
    let text = refused(open(&redis.url()).await, ErrorKind::Unavailable);
    assert!(text.contains("is a replica"), "{text}");
    redis.send(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(every_method(&heap).await, ALL_WELL);
}

#[tokio::test]
async fn a_wrong_password_is_invalid_and_not_shown() {
    let redis = Redis::start(&[]);
    let heap = redis.open().await;
    redis.send(&["CONFIG", "SET", "requirepass", "secret"]);
    for url in [
        format!("redis://:guess@127.0.0.1:{}/", redis.port),
        redis.url(),
    ] {
        let text = refused(open(&url).await, ErrorKind::Invalid);
        assert!(!text.contains("guess"), "{text}");
    }
    // A connection that has logged in stays usable; a new one is refused.
    let mut admin = Client::open(format!("redis://:secret@127.0.0.1:{}/", redis.port))
        .and_then(|client| client.get_connection())
        .expect("connected");
    cmd("CLIENT")
        .arg(&["KILL", "TYPE", "normal"])
        .exec(&mut admin)
        .expect("killed");
    refused(heap.size().await, ErrorKind::Unavailable);
    assert_eq!(every_method(&heap).await, ALL_INVALID);
    cmd("CONFIG")
        .arg(&["SET", "requirepass", ""])
        .exec(&mut admin)
        .expect("set");
    assert_eq!(every_method(&heap).await, ALL_WELL);
}

#[tokio::test]
async fn a_key_of_another_type_is_named_and_nothing_is_changed() {
    let redis = Redis::start(&[]);
    let heap = redis.open().await;
    for name in KEYS {
        let (one, two) = (EventId::new(), EventId::new());
        heap.record_failure(one).await.expect("recorded");
        let key = format!("outbox-dlq:{{shop}}:{name}");
        let mut connection = redis.connect();
        let aside = format!("{key}.aside");
        let _: Result<(), _> = connection.rename(&key, &aside);
        connection
            .set::<_, _, ()>(&key, "an application's")
            .expect("set");
        assert_eq!(every_method(&heap).await, ALL_CORRUPT, "{name}");
        let batch = [FailedAttempt::new(one), FailedAttempt::new(two)];
        for batch in [&batch[..1], &batch] {
            let text = refused(heap.record_failures(batch).await, ErrorKind::Corrupt);
            assert!(text.contains(&key), "{text}");
        }
        let text = refused(heap.forget(&[one]).await, ErrorKind::Corrupt);
        assert!(text.contains(&key), "{text}");
        let kept: String = connection.get(&key).expect("got");
        assert_eq!(kept, "an application's");
        connection.del::<_, ()>(&key).expect("deleted");
        let _: Result<(), _> = connection.rename(&aside, &key);
        let drained = heap.drain_exceeded(1).await.expect("drained");
        let counts: Vec<_> = drained
            .iter()
            .map(|entry| (entry.id, entry.failure_count))
            .collect();
        assert_eq!(counts, [(one, 1)], "{name}");
        heap.prune(Duration::ZERO, 10).await.expect("pruned");
        for left in KEYS {
            let left = format!("outbox-dlq:{{shop}}:{left}");
            let exists: bool = connection.exists(&left).expect("asked");
            assert!(!exists, "{left} is not empty after {name}");
        }
    }
}

#[tokio::test]
async fn a_full_memory_refuses_failures_and_lets_entries_leave() {
    // Less than a page, and more.
    for count in [3, 250] {
        let redis = Redis::start(&[]);
        let heap = redis.open().await;
        let new = |_| FailedAttempt::new(EventId::new());
        let failures: Vec<_> = (0..count).map(new).collect();
        heap.record_failures(&failures).await.expect("recorded");
        redis.send(&["CONFIG", "SET", "maxmemory", "1"]);
        for batch in [1, 2] {
            let full = heap.record_failures(&failures[..batch]).await;
            let text = refused(full, ErrorKind::Unavailable);
            assert!(text.contains("OOM"), "{text}");
        }
        // As a `DlqProcessor` leases and forgets them.
        let leased = heap.lease_exceeded(1, count - 1, LEASE).await;
        let leased: Vec<EventId> = leased
            .expect("leased")
            .iter()
            .map(|entry| entry.id)
            .collect();
        assert_eq!(leased.len(), count - 1);
        heap.forget(&leased[1..]).await.expect("forgotten");
        assert_eq!(heap.drain_exceeded(1).await.expect("drained").len(), 1);
        assert_eq!(heap.prune(Duration::ZERO, 10).await.expect("pruned"), 0);
        heap.forget(&leased[..1]).await.expect("forgotten");
        redis.send(&["CONFIG", "SET", "maxmemory", "0"]);
        assert_eq!(every_method(&heap).await, ALL_WELL);
    }
}

#[tokio::test]
async fn a_server_that_is_silent_is_unavailable_within_the_timeout() {
    let redis = Redis::start(&[]);
    let config = |url: &str| {
        let server = Server::from_url(url).expect("a URL");
        RedisConfig::new(server)
            .namespace("shop")
            .call_timeout(Duration::from_millis(300))
    };
    let heap = RedisDlqHeap::open(config(&redis.url())).await;
    let heap = heap.expect("opened");
    redis.send(&["CLIENT", "PAUSE", "3600000", "WRITE"]);
    let text = refused(heap.size().await, ErrorKind::Unavailable);
    assert!(text.contains("300ms"), "{text}");
    let silent = TcpListener::bind("127.0.0.1:0").expect("bound");
    let silent = format!("redis://{}/", silent.local_addr().expect("an address"));
    let opened = RedisDlqHeap::open(config(&silent)).await;
    refused(opened, ErrorKind::Unavailable);
    redis.send(&["CLIENT", "UNPAUSE"]);
    assert_eq!(every_method(&heap).await, ALL_WELL);
}

/// A list of privileges in the README that starts with this one.
fn documented(first: &str) -> Vec<&'static str> {
    let readme = include_str!("../README.md");
    let list = readme.split('`').find(|part| part.starts_with(first));
    list.expect(first).split(' ').collect()
}

#[tokio::test]
async fn the_documented_privileges_are_enough() {
    let redis = Redis::start(&[]);
    let grant = |rules: &[&str]| redis.send(&[&["ACL", "SETUSER", "relay"], rules].concat());
    grant(&["on", ">secret", "~outbox-dlq:*", "-@all"]);
    grant(&documented("+evalsha"));
    let url = |database| format!("redis://relay:secret@127.0.0.1:{}/{database}", redis.port);
    let heap = open(&url(0))
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(every_method(&heap).await, ALL_WELL);

    let text = refused(open(&url(1)).await, ErrorKind::Invalid);
    assert!(text.contains("select"), "{text}");
    grant(&documented("+select"));
    let in_one = open(&url(1))
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(every_method(&in_one).await, ALL_WELL);

    grant(&["resetkeys", "~shop:*"]);
    assert_eq!(every_method(&heap).await, ALL_INVALID);
}

#[tokio::test]
async fn the_documented_privileges_are_enough_in_a_cluster() {
    let cluster = Started::start(Kind::RedisCluster, &search_path()).expect("started");
    let connect = |url: &str| Client::open(url).and_then(|client| client.get_connection());
    let nodes: String = cmd("CLUSTER")
        .arg("NODES")
        .query(&mut connect(cluster.url()).expect("connected"))
        .expect("an answer");
    let address = |line: &str| {
        line.split([' ', '@'])
            .nth(1)
            .expect("an address")
            .to_owned()
    };
    let addresses: Vec<String> = nodes.lines().map(address).collect();
    let grant = |rules: &[&str]| {
        for address in &addresses {
            let mut set = cmd("ACL");
            set.arg(&["SETUSER", "relay"]).arg(rules);
            let mut node = connect(&format!("redis://{address}/")).expect("connected");
            set.exec(&mut node).expect("granted");
        }
    };
    grant(&["on", ">secret", "~outbox-dlq:*", "-@all"]);
    grant(&documented("+evalsha"));
    let url = format!("redis+cluster://relay:secret@{}", addresses[0]);
    refused(open(&url).await, ErrorKind::Invalid);
    grant(&documented("+cluster"));
    let heap = open(&url).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(every_method(&heap).await, ALL_WELL);
}

#[tokio::test]
async fn a_policy_that_evicts_our_keys_is_reported() {
    let redis = Redis::start(&["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"]);
    let heap = redis.open().await;
    let policy = heap.eviction_policy().await.expect("reported");
    assert_eq!(policy.as_deref(), Some("allkeys-lru"));
    redis.send(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]);
    assert_eq!(heap.eviction_policy().await.expect("reported"), None);
}

#[tokio::test]
async fn a_heap_that_was_opened_without_its_server_warns_of_the_policy_when_it_is_there() {
    let settings = ["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"];
    let mut redis = Redis::start(&settings);
    redis.stop();
    let server = Server::from_url(&redis.url()).expect("a URL");
    let heap = RedisDlqHeap::open(RedisConfig::new(server).namespace("shop").lazy())
        .await
        .expect("a namespace");
    let record = async || warnings(heap.record_failure(EventId::new())).await;
    let (away, none) = record().await;
    refused(away, ErrorKind::Unavailable);
    redis.start_again(&settings);
    let (first, one) = record().await;
    first.expect("recorded");
    let (second, none_again) = record().await;
    second.expect("recorded");
    assert_eq!((none, one, none_again), (0, 1, 0));
}
