//! A call takes each entry once, and ends: with short leases, while others record failures, and after
//! the clock went back.

use super::*;
use std::sync::atomic::AtomicBool;
use tokio::time::timeout;

/// The limit for a call that would not end.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_short_lease_takes_each_entry_once() {
    let heap = Fixture::open().await;
    let all = heap.fail(250, 1).await;
    for lease in [Duration::ZERO, Duration::from_micros(1), SECOND / 1_000] {
        for limit in [usize::MAX, 400, 250] {
            heap.shift.advance(SECOND);
            let leased = heap.heap.lease_exceeded(1, limit, lease);
            let leased = timeout(PATIENCE, leased).await.expect("it ends");
            assert_eq!(ids(&leased.expect("leased")), all, "{lease:?}, {limit}");
        }
    }
    heap.shift.advance(SECOND);
    assert_eq!(heap.drain(1).await, all);
}

/// Records as fast as it can, in batches of 1,000, until `work` is done.
async fn while_recording<T>(heap: &Fixture, work: impl Future<Output = T>) -> T {
    let server = Server::from_url(&server()).expect("a URL");
    let other = RedisDlqHeap::open(RedisConfig::new(server).namespace(&heap.namespace)).await;
    let other = other.expect("opened").with_clock_shift(heap.shift.clone());
    let done = Arc::new(AtomicBool::new(false));
    let (ends, began) = (Arc::clone(&done), Arc::new(tokio::sync::Barrier::new(2)));
    let begins = Arc::clone(&began);
    let recording = tokio::spawn(async move {
        for batch in 0.. {
            let failures: Vec<_> = (0..1_000)
                .map(|_| FailedAttempt::new(EventId::new()))
                .collect();
            other.record_failures(&failures).await.expect("recorded");
            if batch == 0 {
                begins.wait().await;
            }
            if ends.load(Ordering::SeqCst) {
                return;
            }
        }
    });
    began.wait().await;
    let answer = timeout(PATIENCE, work).await;
    done.store(true, Ordering::SeqCst);
    recording.await.expect("no panic");
    answer.expect("it ends")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_while_others_record_faster_and_takes_all_earlier_entries() {
    let heap = Fixture::open().await;
    let mut all = heap.fail(600, 1).await;
    // In the order of counts these come after all new entries.
    all.extend(heap.fail(150, 5).await);
    let drained = while_recording(&heap, heap.drain(1)).await;
    assert!(drained.is_superset(&all), "not all earlier entries");
    heap.drain(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_without_limit_ends_while_others_record_faster() {
    let heap = Fixture::open().await;
    let all = heap.fail(600, 1).await;
    let leased = while_recording(&heap, heap.lease(1, usize::MAX)).await;
    assert!(leased.is_superset(&all), "not all earlier entries");
    heap.drain(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prune_of_any_age_ends_while_others_record_faster() {
    let heap = Fixture::open().await;
    heap.fail(600, 1).await;
    let pruned = heap.heap.prune(Duration::ZERO, usize::MAX);
    let pruned = while_recording(&heap, pruned).await.expect("pruned");
    assert!(pruned >= 600, "only {pruned}");
    heap.drain(1).await;
}

#[tokio::test]
async fn first_failures_ahead_of_a_clock_that_went_back_are_leased_and_drained() {
    for count in [90, 250] {
        let heap = Fixture::open().await;
        heap.shift.advance(LEASE * 60);
        let mut all = heap.fail(count, 1).await;
        let hidden = heap.lease(1, 20).await;
        let server = Server::from_url(&server()).expect("a URL");
        let behind = RedisDlqHeap::open(RedisConfig::new(server).namespace(&heap.namespace)).await;
        let behind = behind.expect("opened");
        all.retain(|id| !hidden.contains(id));
        let some = behind.lease_exceeded(1, 40, LEASE).await.expect("leased");
        let some = ids(&some);
        assert_eq!(some.len(), 40, "of {count}");
        let rest = behind.drain_exceeded(1).await.expect("drained");
        assert!(
            rest.iter()
                .all(|entry| entry.first_failed_at <= entry.last_failed_at)
        );
        let rest = ids(&rest);
        assert!(some.is_disjoint(&rest), "leased and drained");
        assert_eq!(some.union(&rest).copied().collect::<HashSet<_>>(), all);
        heap.shift.advance(LEASE);
        assert_eq!(heap.drain(1).await.len(), 60);
    }
}
