//! Silent and closed connections, and cancelled callers.

use outbox_conformance::{TcpWire, Wire, at_each_point};
use outbox_core::{DlqHeap, ErrorKind, EventId};
use outbox_dlq_redis::redis::{Client, Connection, cmd};
use outbox_dlq_redis::{RedisConfig, RedisDlqHeap, Server};
use std::future::ready;
use std::time::Duration;
use test_servers::{Kind, Server as Started, search_path};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::yield_now;
use tokio::time::{Instant, advance, pause, resume, timeout};

fn redis() -> Started {
    Started::start(Kind::Redis, &search_path()).expect("started")
}

/// A proxy in front of a server, and a heap that uses it.
async fn wired(redis: &Started) -> (TcpWire, RedisDlqHeap) {
    let address = redis.url().trim_start_matches("redis://");
    let wire = TcpWire::to(address.trim_end_matches('/')).expect("a wire");
    let url = format!("redis://127.0.0.1:{}/", wire.port());
    let server = Server::from_url(&url).expect("a URL");
    let heap = RedisDlqHeap::open(RedisConfig::new(server).namespace("shop"))
        .await
        .expect("opened");
    (wire, heap)
}

#[tokio::test]
async fn a_cancelled_call_discards_its_silent_connection() {
    let redis = redis();
    let (wire, heap) = wired(&redis).await;
    let id = EventId::new();
    wire.go_silent();
    let moment = Duration::from_millis(100);
    let dropped = timeout(moment, heap.record_failure(id)).await;
    dropped.expect_err("no reply comes");
    // The old connection stays silent, but a new one works.
    assert!(!wire.repair());
    heap.record_failure(id).await.expect("recorded");
    let drained = heap.drain_exceeded(1).await.expect("drained");
    assert_eq!(drained[0].failure_count, 1);
}

#[tokio::test]
async fn a_cancelled_call_does_not_disturb_another_one() {
    let redis = redis();
    let (wire, heap) = wired(&redis).await;
    wire.delay(Duration::from_millis(50));
    let other = heap.clone();
    let other = tokio::spawn(async move { other.record_failure(EventId::new()).await });
    yield_now().await;
    tokio::select! {
        biased;
        size = heap.size() => panic!("answered at once: {size:?}"),
        () = ready(()) => {}
    }
    other.await.expect("no panic").expect("recorded");
}

/// The check that `open` makes, on one handle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_check_is_done_again_by_the_next_call() {
    let redis = redis();
    at_each_point("check", async |point| {
        let server = Server::from_url(redis.url()).expect("a URL");
        let heap = RedisDlqHeap::open(RedisConfig::new(server).namespace("shop").lazy())
            .await
            .expect("a name");
        let ended = point.reach(heap.check()).await.map(Result::unwrap);
        let id = EventId::new();
        heap.record_failure(id).await.expect("recorded");
        let drained = heap.drain_exceeded(1).await.expect("drained");
        let counts = drained.iter().map(|entry| (entry.id, entry.failure_count));
        assert_eq!(counts.collect::<Vec<_>>(), [(id, 1)]);
        ended.is_some()
    })
    .await;
}

/// The paused clock advances only when all tasks wait, so a call that times out waits exactly as long as
/// its limit.
#[tokio::test(start_paused = true)]
async fn calls_that_queue_for_a_connection_wait_no_longer_than_one_call() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let url = format!("redis://{}/", silent.local_addr().expect("an address"));
    let server = Server::from_url(&url).expect("a URL");
    let config = RedisConfig::new(server)
        .namespace("shop")
        .call_timeout(Duration::from_secs(2));
    let heap = RedisDlqHeap::open(config.lazy())
        .await
        .expect("a namespace");
    let begun = Instant::now();
    let id = EventId::new();
    let calls = tokio::join!(heap.size(), heap.record_failure(id), heap.check());
    let failed = [calls.0.err(), calls.1.err(), calls.2.err()];
    for error in failed {
        let error = error.expect("the server is silent");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("2s"), "{error}");
    }
    let waited = begun.elapsed();
    assert!(waited < Duration::from_secs(3), "waited for {waited:?}");
}

/// How many connections a server has accepted.
fn connections(admin: &mut Connection) -> String {
    let stats: String = cmd("INFO").arg("stats").query(admin).expect("an answer");
    let line = stats.lines().find(|line| line.starts_with("total_conn"));
    line.expect("a number").to_owned()
}

async fn idle() {
    pause();
    advance(Duration::from_secs(60)).await;
    resume();
}

#[tokio::test]
async fn a_connection_that_the_server_closed_while_it_was_idle_fails_no_call() {
    let redis = redis();
    let server = Server::from_url(redis.url()).expect("a URL");
    let heap = RedisDlqHeap::open(RedisConfig::new(server).namespace("shop"))
        .await
        .expect("opened");
    let mut admin = Client::open(redis.url())
        .and_then(|client| client.get_connection())
        .expect("connected");
    for _ in 0..3 {
        cmd("CLIENT")
            .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
            .exec(&mut admin)
            .expect("killed");
        idle().await;
        heap.record_failure(EventId::new()).await.expect("recorded");
    }
    let before = connections(&mut admin);
    idle().await;
    let size = heap.size().await.expect("an answer").expect("a size");
    assert_eq!(size.entries, 3);
    let after = connections(&mut admin);
    assert_eq!(after, before, "a live connection is not used again");
}

#[tokio::test]
async fn an_unknown_reply_is_corrupt_and_keeps_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let url = format!("redis://{}/", listener.local_addr().expect("an address"));
    let odd = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.expect("accepted");
        let mut buffer = [0; 4096];
        loop {
            let count = connection.read(&mut buffer).await.expect("read");
            let asked = String::from_utf8_lossy(&buffer[..count]).to_string();
            if asked.is_empty() {
                return;
            }
            // One reply for each command; each command is an array.
            let commands = asked.lines().filter(|line| line.starts_with('*')).count();
            let answer = "$11\r\nrole:master\r\n".repeat(commands);
            connection.write_all(answer.as_bytes()).await.expect("sent");
        }
    });
    let server = Server::from_url(&url).expect("a URL");
    let heap = RedisDlqHeap::open(RedisConfig::new(server).namespace("shop"))
        .await
        .expect("opened");
    for _ in 0..2 {
        let error = heap.size().await.expect_err("no size");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    drop(heap);
    odd.await.expect("one connection served all");
}

#[tokio::test]
async fn a_node_of_a_cluster_is_refused_as_a_single_server() {
    let cluster = Started::start(Kind::RedisCluster, &search_path()).expect("started");
    let mut refused = 0;
    for namespace in ["one", "two", "three", "four", "five", "six"] {
        let server = Server::from_url(cluster.url()).expect("a URL");
        let Err(error) = RedisDlqHeap::open(RedisConfig::new(server).namespace(namespace)).await
        else {
            continue;
        };
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains("redis+cluster"), "{error}");
        refused += 1;
    }
    assert!(refused > 0, "all namespaces are in slots of one node");
}
