//! Cases of Redis that the suite does not have: pages, cut replies, lost keys, the server's clock.

use outbox_conformance::warnings;
use outbox_core::{DlqEntry, DlqHeap, EventId, FailedAttempt, HeapSize};
use outbox_dlq_redis::redis::{Client, Commands, Connection, cmd};
use outbox_dlq_redis::{ClockShift, RedisConfig, RedisDlqHeap, Server};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use test_servers::{Kind, url};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};

#[path = "heap/bounds.rs"]
mod bounds;
#[path = "heap/invalid_members.rs"]
mod invalid_members;
#[path = "heap/records.rs"]
mod records;

const LEASE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// A heap that only one test uses. Its keys are deleted with it.
struct Fixture {
    heap: RedisDlqHeap,
    shift: ClockShift,
    namespace: String,
}

impl Fixture {
    async fn open() -> Self {
        Self::open_at(&server()).await
    }

    async fn open_at(url: &str) -> Self {
        let (shift, namespace) = (ClockShift::default(), EventId::new().to_string());
        let server = Server::from_url(url).expect("a URL");
        let heap = RedisDlqHeap::open(RedisConfig::new(server).namespace(&namespace))
            .await
            .expect("opened");
        Self {
            heap: heap.with_clock_shift(shift.clone()),
            shift,
            namespace,
        }
    }

    fn key(&self, name: &str) -> String {
        format!("outbox-dlq:{{{}}}:{name}", self.namespace)
    }

    /// Records failures of `count` new events, `times` each, and moves the clock ahead.
    async fn fail(&self, count: usize, times: usize) -> HashSet<EventId> {
        let ids: HashSet<EventId> = (0..count).map(|_| EventId::new()).collect();
        let failures: Vec<_> = ids.iter().map(|id| FailedAttempt::new(*id)).collect();
        for _ in 0..times {
            self.heap
                .record_failures(&failures)
                .await
                .expect("recorded");
        }
        self.shift.advance(SECOND);
        ids
    }

    /// The sizes of `turns`, `first` and `details`.
    fn left(&self) -> [u64; 3] {
        [("ZCARD", "turns"), ("ZCARD", "first"), ("HLEN", "details")].map(|(size, name)| {
            let size = cmd(size).arg(self.key(name)).query(&mut connect());
            size.expect("asked")
        })
    }

    async fn lease(&self, threshold: u32, limit: usize) -> HashSet<EventId> {
        let leased = self.heap.lease_exceeded(threshold, limit, LEASE).await;
        ids(&leased.expect("leased"))
    }

    async fn drain(&self, threshold: u32) -> HashSet<EventId> {
        ids(&self.heap.drain_exceeded(threshold).await.expect("drained"))
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let names = ["counts", "turns", "first", "details", "aside"];
        let keys = names.map(|name| self.key(name));
        connect().del::<_, ()>(&keys).expect("deleted");
    }
}

fn ids(entries: &[DlqEntry]) -> HashSet<EventId> {
    let ids: HashSet<EventId> = entries.iter().map(|entry| entry.id).collect();
    assert_eq!(ids.len(), entries.len(), "an entry twice");
    ids
}

fn server() -> String {
    url(Kind::Redis).unwrap_or_else(|error| panic!("{error}"))
}

fn connect() -> Connection {
    let client = Client::open(server()).expect("a URL");
    client.get_connection().expect("connected")
}

#[tokio::test]
async fn many_entries_are_leased_in_turn_behind_more_that_are_below_the_threshold() {
    let heap = Fixture::open().await;
    heap.fail(1_200, 1).await;
    let oldest = heap.fail(600, 2).await;
    heap.fail(1_200, 1).await;
    let newest = heap.fail(300, 2).await;
    assert_eq!(heap.lease(2, 600).await, oldest);
    assert_eq!(heap.lease(2, usize::MAX).await, newest);
    assert!(heap.lease(2, 1).await.is_empty());
    heap.shift.advance(LEASE);
    // Entries whose leases ran out come after those that were never leased.
    let waiting = heap.fail(700, 2).await;
    heap.shift.advance(LEASE);
    assert_eq!(
        heap.lease(2, 900).await,
        oldest.union(&newest).copied().collect()
    );
    assert_eq!(heap.lease(2, 900).await, waiting);
    assert_eq!(heap.drain(1).await.len(), 2_400);
}

#[tokio::test]
async fn a_drain_skips_more_leased_entries_than_a_page_holds() {
    let heap = Fixture::open().await;
    let all = heap.fail(2_000, 1).await;
    let leased = heap.lease(1, 1_300).await;
    assert_eq!(leased.len(), 1_300);
    assert_eq!(
        heap.drain(1).await,
        all.difference(&leased).copied().collect()
    );
    assert!(heap.drain(1).await.is_empty());
    heap.shift.advance(LEASE);
    assert_eq!(heap.drain(1).await, leased);
}

#[tokio::test]
async fn old_entries_are_pruned_after_many_that_still_fail() {
    let heap = Fixture::open().await;
    let failing = heap.fail(1_200, 1).await;
    heap.fail(1_200, 1).await;
    heap.shift.advance(LEASE);
    let failures: Vec<_> = failing.iter().map(|id| FailedAttempt::new(*id)).collect();
    heap.heap
        .record_failures(&failures)
        .await
        .expect("recorded");
    // Not a multiple of a page.
    assert_eq!(heap.heap.prune(LEASE, 650).await.expect("pruned"), 650);
    assert_eq!(heap.heap.prune(LEASE, 700).await.expect("pruned"), 550);
    assert_eq!(heap.heap.prune(LEASE, 700).await.expect("pruned"), 0);
    assert_eq!(heap.drain(1).await, failing);
    assert_eq!(heap.left(), [0; 3], "keys are not empty");
}

#[tokio::test]
async fn times_are_those_of_the_servers_clock() {
    let heap = Fixture::open().await;
    let time = || {
        let (seconds, micros): (u64, u64) = cmd("TIME").query(&mut connect()).expect("asked");
        SystemTime::UNIX_EPOCH + Duration::from_micros(seconds * 1_000_000 + micros)
    };
    let before = time();
    heap.heap
        .record_failure(EventId::new())
        .await
        .expect("recorded");
    let after = time();
    let oldest = heap
        .heap
        .size()
        .await
        .expect("an answer")
        .and_then(|size| size.oldest);
    let entry = &heap.heap.drain_exceeded(1).await.expect("drained")[0];
    assert!(before <= entry.first_failed_at && entry.last_failed_at <= after);
    assert_eq!(oldest, Some(entry.first_failed_at));
}

#[tokio::test]
async fn a_clock_that_went_back_does_not_move_the_last_failure() {
    let heap = Fixture::open().await;
    let server = Server::from_url(&server()).expect("a URL");
    let behind = RedisDlqHeap::open(RedisConfig::new(server).namespace(&heap.namespace)).await;
    let (behind, id) = (behind.expect("opened"), EventId::new());
    behind.record_failure(id).await.expect("recorded");
    heap.shift.advance(LEASE);
    heap.heap.record_failure(id).await.expect("recorded");
    behind.record_failure(id).await.expect("recorded");
    let entry = &behind.drain_exceeded(3).await.expect("drained")[0];
    assert!(
        entry.last_failed_at >= entry.first_failed_at + LEASE,
        "{entry:?}"
    );
    heap.heap.record_failure(id).await.expect("recorded");
    connect()
        .del::<_, ()>(heap.key("details"))
        .expect("deleted");
    behind.record_failure(id).await.expect("recorded");
    let entry = &behind.drain_exceeded(2).await.expect("drained")[0];
    assert_eq!(entry.last_failed_at, entry.first_failed_at);
}

#[tokio::test]
async fn remainders_without_counts_are_not_counted_and_are_pruned() {
    let heap = Fixture::open().await;
    heap.fail(700, 1).await;
    connect().del::<_, ()>(heap.key("counts")).expect("deleted");
    let size = heap.heap.size().await.expect("an answer");
    assert_eq!(size, Some(HeapSize::default()));
    heap.shift.advance(LEASE);
    assert_eq!(heap.heap.prune(LEASE, 1_000).await.expect("pruned"), 0);
    assert_eq!(heap.left(), [0; 3]);
}

#[tokio::test]
async fn a_lease_and_an_age_may_be_unlimited() {
    let heap = Fixture::open().await;
    heap.fail(1, 1).await;
    assert_eq!(
        heap.heap
            .prune(Duration::MAX, usize::MAX)
            .await
            .expect("pruned"),
        0
    );
    let leased = heap.heap.lease_exceeded(1, usize::MAX, Duration::MAX).await;
    assert_eq!(leased.expect("leased").len(), 1);
    heap.shift
        .advance(Duration::from_secs(50 * 365 * 24 * 3600));
    assert!(heap.drain(1).await.is_empty());
}

#[tokio::test]
async fn an_invalid_member_is_kept_for_an_operator() {
    let heap = Fixture::open().await;
    let mut connection = connect();
    let add = |connection: &mut Connection, member: &str, score: f64| {
        connection
            .zadd::<_, _, _, ()>(heap.key("counts"), member, score)
            .expect("planted");
    };
    add(&mut connection, "an application's", 7.0);
    add(&mut connection, "another's", -7.5);
    let valid = heap.fail(1, 1).await;
    assert_eq!(warnings(heap.drain(1)).await, (valid, 1));
    let none = HashSet::new();
    assert_eq!(warnings(heap.drain(1)).await, (none.clone(), 0), "twice");
    let aside: Vec<(String, f64)> = connection
        .zrange_withscores(heap.key("aside"), 0, -1)
        .expect("asked");
    assert_eq!(
        aside,
        [
            ("another's".to_owned(), -7.5),
            ("an application's".to_owned(), 7.0)
        ]
    );
    connection.del::<_, ()>(heap.key("aside")).expect("deleted");
    assert_eq!(warnings(heap.drain(1)).await, (none, 0), "without members");
}

#[tokio::test]
async fn a_heap_that_lost_one_of_its_keys_still_works() {
    for lost in ["counts", "turns", "first", "details"] {
        let heap = Fixture::open().await;
        let all = heap.fail(700, 1).await;
        assert_eq!(heap.lease(1, 1).await.len(), 1);
        connect().del::<_, ()>(heap.key(lost)).expect("deleted");
        let failures: Vec<_> = all.iter().map(|id| FailedAttempt::new(*id)).collect();
        heap.heap
            .record_failures(&failures)
            .await
            .expect("recorded");
        let count = if lost == "counts" { 1 } else { 2 };
        let hidden = usize::from(lost == "first" || lost == "details");
        assert_eq!(
            heap.lease(count, 700).await.len(),
            700 - hidden,
            "without {lost}"
        );
        let size = heap.heap.size().await.expect("an answer").expect("a size");
        assert_eq!((size.entries, size.oldest.is_some()), (700, true));
        heap.shift.advance(LEASE * 2);
        assert_eq!(heap.heap.prune(LEASE, 1_000).await.expect("pruned"), 700);
    }
}

/// A proxy that closes the connection after this many bytes of replies.
async fn cut_after(bytes: Arc<AtomicU64>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let url = format!("redis://{}/", listener.local_addr().expect("an address"));
    let server = server();
    let server = server
        .trim_start_matches("redis://")
        .trim_end_matches('/')
        .to_owned();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&server).await.expect("connected");
            let bytes = Arc::clone(&bytes);
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let there = copy(&mut from_client, &mut to_server);
                let back = async {
                    let mut byte = [0];
                    while from_server.read_exact(&mut byte).await.is_ok() {
                        let left = bytes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                            left.checked_sub(1)
                        });
                        if left.is_err() || to_client.write_all(&byte).await.is_err() {
                            break;
                        }
                    }
                };
                tokio::select! { _ = there => {}, () = back => {} }
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_is_cut_at_any_byte_loses_no_count_and_the_handle_still_works() {
    let left = Arc::new(AtomicU64::new(u64::MAX));
    let heap = Fixture::open_at(&cut_after(Arc::clone(&left)).await).await;
    let id = EventId::new();
    heap.heap.record_failure(id).await.expect("recorded");
    let mut counted = 1;
    for bytes in 0.. {
        left.store(bytes, Ordering::SeqCst);
        let cut = heap.heap.record_failure(id).await;
        left.store(u64::MAX, Ordering::SeqCst);
        let count: u32 = connect()
            .zscore(heap.key("counts"), id.to_string())
            .expect("asked");
        assert!(
            count == counted || count == counted + 1,
            "{count} after {counted}"
        );
        if cut.is_ok() {
            assert_eq!(count, counted + 1);
            return;
        }
        counted = count;
        heap.heap.size().await.expect("the next call works");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_that_is_cut_on_a_later_page_returns_the_earlier_pages() {
    let left = Arc::new(AtomicU64::new(u64::MAX));
    let heap = Fixture::open_at(&cut_after(Arc::clone(&left)).await).await;
    let all = heap.fail(1_300, 1).await;
    // More than six pages of about 97 bytes an entry, less than seven.
    left.store(60_000, Ordering::SeqCst);
    let first = heap.drain(1).await;
    left.store(u64::MAX, Ordering::SeqCst);
    let rest = heap.drain(1).await;
    assert_eq!(
        (first.len(), rest.len()),
        (600, 600),
        "of 1,300, one page was lost"
    );
    assert!(first.is_disjoint(&rest) && first.union(&rest).all(|id| all.contains(id)));
}
