//! The `DlqProcessor`, stopped at each of its steps and run by two replicas.

#![allow(clippy::unwrap_used, reason = "a test stops at the first error")]

use integration_tests::keyed_events;
use outbox_conformance::{Around, Decorated};
use outbox_core::{
    ClaimLimit, DeadLetterFilter, DeadLetters, DlqHeap, DlqProcessor, ErrorKind, Event, EventId,
    FailedAttempt, OutboxConfig, OutboxError, OutboxStorage, Outcome, Settlement,
};
use outbox_dlq_memory::MemoryDlqHeap;
use outbox_store_memory::MemoryStore;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Fails the nth of these calls and all later ones: before the call is made, or after it was applied.
#[derive(Debug)]
struct Fuse {
    left: AtomicI64,
    applied: bool,
}

const STEPS: [&str; 3] = ["lease_exceeded", "quarantine_events", "forget"];

impl Around for Fuse {
    async fn around<T: Send>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T, OutboxError>> + Send,
    ) -> Result<T, OutboxError> {
        if !STEPS.contains(&method) {
            return call.await;
        }
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        if left > 0 {
            return call.await;
        }
        if left == 0 && self.applied {
            call.await?;
        }
        Err(OutboxError::new(ErrorKind::Unavailable, "fuse", "burn"))
    }
}

fn config() -> OutboxConfig {
    OutboxConfig::builder()
        .failure_threshold(3)
        .heap_page(2)
        .build()
        .expect("a valid config")
}

/// Five events with three failures each, in the store and in the heap.
async fn failed() -> (MemoryStore, MemoryDlqHeap, Vec<Event>) {
    let (store, heap) = (MemoryStore::new(), MemoryDlqHeap::new());
    let events = keyed_events(5, 1);
    store.append(&events).expect("appended");
    for _ in 0..3 {
        let claim = store
            .claim(ClaimLimit::events(10), Duration::from_secs(30))
            .await
            .unwrap();
        let retry = |id| {
            let outcome = Outcome::Retry {
                delay: Duration::ZERO,
                error: "refused".into(),
            };
            Settlement::new(id, outcome)
        };
        let settlements: Vec<_> = claim.events.iter().map(|one| retry(one.event.id)).collect();
        store.settle(claim.token, &settlements).await.unwrap();
        let failures: Vec<_> = events
            .iter()
            .map(|event| FailedAttempt::new(event.id).with_error("refused".into()))
            .collect();
        heap.record_failures(&failures).await.unwrap();
    }
    (store, heap, events)
}

async fn assert_all_quarantined(store: &MemoryStore, heap: &MemoryDlqHeap, events: &[Event]) {
    let dead_letters = store
        .list(&DeadLetterFilter::all(), None, 100)
        .await
        .unwrap();
    let mut dead: Vec<EventId> = dead_letters
        .iter()
        .map(|dead_letter| dead_letter.id)
        .collect();
    dead.sort_unstable();
    let mut expected: Vec<EventId> = events.iter().map(|event| event.id).collect();
    expected.sort_unstable();
    assert_eq!(dead, expected);
    for dead_letter in &dead_letters {
        assert_eq!(dead_letter.failure_count, 3, "a count was lost");
        assert_eq!(dead_letter.last_error.as_deref(), Some("refused"));
    }
    assert_eq!(store.backlog().await.unwrap().pending, 0);
    assert_eq!(
        heap.size().await.unwrap().unwrap().entries,
        0,
        "an entry was left"
    );
}

#[tokio::test(start_paused = true)]
async fn a_processor_that_fails_at_any_step_loses_no_count_and_quarantines_once() {
    let mut steps = 0;
    for applied in [false, true] {
        for step in 0.. {
            let (store, heap, events) = failed().await;
            let fuse = Arc::new(Fuse {
                left: AtomicI64::new(step),
                applied,
            });
            let fused_heap = Decorated::new(Arc::new(heap.clone()), fuse.clone());
            let fused_store = Decorated::new(Arc::new(store.clone()), fuse.clone());
            let dying = DlqProcessor::new(Arc::new(fused_heap), Arc::new(fused_store))
                .config(config())
                .tick()
                .await;
            let whole = fuse.left.load(Ordering::SeqCst) >= 0 && dying.is_ok();

            tokio::time::advance(Duration::from_secs(61)).await;
            let mut next =
                DlqProcessor::new(Arc::new(heap.clone()), Arc::new(store.clone())).config(config());
            next.tick().await.unwrap();
            assert_all_quarantined(&store, &heap, &events).await;
            steps += 1;
            if whole {
                break;
            }
        }
    }
    // Three pages of three steps. Each step fails before and after its call, and two runs do not fail.
    assert_eq!(steps, 2 * (3 * 3 + 1));
}

#[tokio::test(start_paused = true)]
async fn two_replicas_quarantine_each_event_once() {
    for _round in 0..10 {
        let (store, heap, events) = failed().await;
        let replica =
            || DlqProcessor::new(Arc::new(heap.clone()), Arc::new(store.clone())).config(config());
        let (mut one, mut two) = (replica(), replica());
        let (one, two) = tokio::join!(one.tick(), two.tick());
        assert_eq!(one.unwrap().moved + two.unwrap().moved, events.len());
        assert_all_quarantined(&store, &heap, &events).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_in_flight_stays_until_its_claim_ends() {
    let (store, heap, events) = failed().await;
    let claim = store
        .claim(ClaimLimit::events(10), Duration::from_secs(30))
        .await
        .unwrap();
    assert_eq!(claim.events.len(), events.len());
    let mut processor =
        DlqProcessor::new(Arc::new(heap.clone()), Arc::new(store.clone())).config(config());
    assert_eq!(processor.tick().await.unwrap().busy, events.len());
    assert_eq!(store.backlog().await.unwrap().dead_letters, 0);

    let published: Vec<_> = events
        .iter()
        .map(|event| Settlement::new(event.id, Outcome::Published))
        .collect();
    store.settle(claim.token, &published).await.unwrap();
    let report = processor.tick().await.unwrap();
    assert_eq!((report.moved, report.missing), (0, events.len()));
    assert_eq!(
        store.backlog().await.unwrap().dead_letters,
        0,
        "a false dead letter"
    );
    assert_eq!(heap.size().await.unwrap().unwrap().entries, 0);
}
