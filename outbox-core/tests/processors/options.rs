//! Which option bounds what.

use crate::fakes::{FakeBroker, FakeHeap, FakeStore, HOUR, MS, error, event};
use outbox_core::{ErrorKind, OutboxConfig, OutboxConfigBuilder, OutboxProcessor};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::{Instant, advance, sleep, timeout};

fn valid(config: OutboxConfigBuilder) -> OutboxConfig {
    config.build().expect("a valid configuration")
}

fn worker(store: FakeStore) -> OutboxProcessor {
    OutboxProcessor::new(Arc::new(store), Arc::new(FakeBroker::default()))
}

#[tokio::test(start_paused = true)]
async fn options_apply_whether_they_are_set_before_or_after_the_heap() {
    let config = valid(OutboxConfig::builder().heap_timeout(MS));
    let heap = || {
        Arc::new(FakeHeap {
            is_silent: true,
            ..FakeHeap::default()
        })
    };
    let worker = || worker(FakeStore::after_attempts(1, [event()]));
    for mut worker in [
        worker().config(config.clone()).dlq_heap(heap()),
        worker().dlq_heap(heap()).config(config.clone()),
    ] {
        let start = Instant::now();
        worker.process_pending_events().await.expect("a pass");
        assert_eq!(start.elapsed(), MS, "the pass waits for the heap");
    }
}

#[tokio::test(start_paused = true)]
async fn pauses_after_a_failed_store_have_their_own_maximum() {
    let config = OutboxConfig::builder()
        .breaker_initial(HOUR)
        .breaker_max(HOUR)
        .store_retry_max(10 * MS);
    let away = (0..20).map(|_| Err(ErrorKind::Unavailable));
    let fatal = [Err(ErrorKind::Corrupt)];
    let worker = worker(FakeStore::answers(away.chain(fatal))).config(valid(config));
    let run = timeout(200 * MS, worker.run(sleep(HOUR))).await;
    let ended = run.expect("20 pauses of at most 10 ms").unwrap_err();
    assert_eq!(ended.to_string(), error(ErrorKind::Corrupt).to_string());
}

#[tokio::test(start_paused = true)]
async fn pauses_after_a_failed_heap_have_their_own_maximum() {
    let config = OutboxConfig::builder()
        .breaker_initial(HOUR)
        .breaker_max(HOUR)
        .heap_retry_max(10 * MS);
    let heap = Arc::new(FakeHeap::failing(3));
    let mut worker = worker(FakeStore::after_attempts(1, [event()]))
        .config(valid(config))
        .dlq_heap(Arc::clone(&heap));
    for calls in 1..=4 {
        worker.process_pending_events().await.expect("a pass");
        assert_eq!(heap.calls.load(Ordering::SeqCst), calls);
        advance(10 * MS).await;
    }
}

#[test]
fn a_program_can_read_its_options() {
    let config = valid(OutboxConfig::builder().heap_page(7).lease(HOUR));
    assert_eq!((config.heap_page(), config.lease()), (7, HOUR));
    assert_eq!(config.store_retry_max(), 30_000 * MS);
    assert!(format!("{config:?}").contains("heap_page: 7"));
}
