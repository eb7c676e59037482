//! What a worker does between its passes: when it waits, which errors of the store end it, and what it
//! does when its lease runs out.

use async_trait::async_trait;
use integration_tests::{assert_each_once, keyed_events};
use outbox_conformance::transport::MemoryBroker;
use outbox_core::{
    Backlog, Claim, ClaimLimit, ClaimToken, DlqEntry, ErrorKind, Event, OutboxConfig, OutboxError,
    OutboxProcessor, OutboxStorage, PublishError, PublishErrorKind, QuarantineOutcome, Settlement,
    Transport,
};
use outbox_store_memory::MemoryStore;
use std::collections::VecDeque;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::time::{Instant, advance, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// A store in memory whose next claims and settlements may fail. It records its calls.
#[derive(Debug, Default)]
struct Watched {
    store: MemoryStore,
    /// The errors of the next claims.
    fails: Mutex<VecDeque<ErrorKind>>,
    /// The errors of the next settlements.
    settling_fails: Mutex<VecDeque<ErrorKind>>,
    /// How long a claim takes.
    delay: Mutex<Duration>,
    /// Whether claims take more bytes than the worker asks for.
    ignores_bytes: AtomicBool,
    /// How many events each claim asked for.
    limits: Mutex<Vec<usize>>,
    /// The time of each call of `settle`.
    settled_at: Mutex<Vec<Instant>>,
    /// How many events were pending at the first call of `wait_for_work`.
    pending_at_first_wait: OnceLock<u64>,
}

#[async_trait]
impl OutboxStorage for Watched {
    async fn claim(&self, limit: ClaimLimit, lease: Duration) -> Result<Claim, OutboxError> {
        self.limits.lock().expect("not poisoned").push(limit.events);
        let failure = self.fails.lock().expect("not poisoned").pop_front();
        if let Some(kind) = failure {
            return Err(OutboxError::new(kind, "watched", "claim"));
        }
        let limit = if self.ignores_bytes.load(Ordering::Relaxed) {
            limit.bytes(usize::MAX)
        } else {
            limit
        };
        let claim = self.store.claim(limit, lease).await;
        let delay = *self.delay.lock().expect("not poisoned");
        sleep(delay).await;
        claim
    }

    async fn settle(
        &self,
        token: ClaimToken,
        settlements: &[Settlement],
    ) -> Result<(), OutboxError> {
        let now = Instant::now();
        self.settled_at.lock().expect("not poisoned").push(now);
        let failure = self
            .settling_fails
            .lock()
            .expect("not poisoned")
            .pop_front();
        if let Some(kind) = failure {
            return Err(OutboxError::new(kind, "watched", "settle"));
        }
        self.store.settle(token, settlements).await
    }

    async fn quarantine_events(
        &self,
        entries: &[DlqEntry],
    ) -> Result<Vec<QuarantineOutcome>, OutboxError> {
        self.store.quarantine_events(entries).await
    }

    async fn wait_for_work(&self, at_most: Duration) -> Result<(), OutboxError> {
        let pending = self.store.backlog().await?.pending;
        self.pending_at_first_wait.get_or_init(|| pending);
        self.store.wait_for_work(at_most).await
    }

    async fn backlog(&self) -> Result<Backlog, OutboxError> {
        self.store.backlog().await
    }
}

fn filled(events: &[Event]) -> Arc<Watched> {
    let store = Arc::new(Watched::default());
    store.store.append(events).expect("appended");
    store
}

fn worker(
    store: &Arc<Watched>,
    broker: &(impl Transport + Clone + 'static),
    lease: Duration,
) -> OutboxProcessor {
    let config = OutboxConfig::builder().batch_size(10).lease(lease).build();
    OutboxProcessor::new(store.clone(), Arc::new(broker.clone())).config(config.expect("valid"))
}

#[tokio::test(start_paused = true)]
async fn a_worker_waits_only_when_nothing_is_due() {
    let (store, broker) = (Arc::new(Watched::default()), MemoryBroker::new());
    let events = keyed_events(50, 1);
    store.store.append(&events).expect("appended");
    let stop = sleep(Duration::from_secs(1));
    worker(&store, &broker, 30 * SECOND)
        .run(stop)
        .await
        .expect("stopped");
    assert_each_once(&broker.events(), &events);
    let pending = store.pending_at_first_wait.get();
    assert_eq!(pending, Some(&0), "it waited while events were due");
}

#[tokio::test(start_paused = true)]
async fn an_error_that_needs_an_operator_ends_a_worker() {
    for kind in [ErrorKind::Invalid, ErrorKind::Corrupt] {
        let (store, broker) = (Arc::new(Watched::default()), MemoryBroker::new());
        *store.fails.lock().expect("not poisoned") = [kind].into();
        let run = worker(&store, &broker, 30 * SECOND).run(pending());
        // The clock is paused: this limit costs no time, and a worker that continues reaches it.
        let ended = tokio::time::timeout(Duration::from_secs(3600), run).await;
        let error = ended.expect("it ends").expect_err("with the error");
        assert_eq!(error.kind(), kind);
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_fails_halves_the_next_one() {
    let (store, broker) = (filled(&keyed_events(30, 1)), MemoryBroker::new());
    *store.fails.lock().expect("not poisoned") = [ErrorKind::Unavailable; 4].into();
    let run = worker(&store, &broker, 30 * SECOND).run(sleep(300 * SECOND));
    run.await.expect("stopped");
    let limits = store.limits.lock().expect("not poisoned").clone();
    assert_eq!(limits[..9], [10, 5, 2, 1, 1, 2, 4, 8, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_takes_too_long_at_a_shutdown_is_dropped_after_the_grace_time() {
    let (store, broker) = (filled(&keyed_events(1, 1)), MemoryBroker::new());
    *store.delay.lock().expect("not poisoned") = 3600 * SECOND;
    let start = Instant::now();
    let run = worker(&store, &broker, 30 * SECOND).run(sleep(SECOND));
    run.await.expect("stopped");
    assert_eq!(start.elapsed(), 11 * SECOND, "a second, and the grace time");
    assert!(broker.events().is_empty());
}

/// Records the bytes of each call.
#[derive(Clone, Debug, Default)]
struct Sizes(Arc<Mutex<Vec<usize>>>);

#[async_trait]
impl Transport for Sizes {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        let size = events.iter().map(Event::size).sum();
        self.0.lock().expect("not poisoned").push(size);
        events.iter().map(|_| Ok(())).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_publish_call_keeps_the_byte_limit_even_if_the_claim_exceeds_it() {
    for ignores_bytes in [false, true] {
        let events = [3000, 1000, 2000, 5000, 100].map(|size| Event::new("x", vec![0; size]));
        let (store, sizes) = (filled(&events), Sizes::default());
        store.ignores_bytes.store(ignores_bytes, Ordering::Relaxed);
        let config = OutboxConfig::builder().batch_bytes(4000).build();
        let mut worker = OutboxProcessor::new(store.clone(), Arc::new(sizes.clone()))
            .config(config.expect("valid"));
        let mut published = 0;
        while published < events.len() {
            let report = worker.process_pending_events().await.expect("a pass");
            assert!(report.published > 0, "a pass without an event");
            published += report.published;
        }
        let sizes = sizes.0.lock().expect("not poisoned").clone();
        assert_eq!(sizes, [4000, 2000, 5000, 100]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_continues_after_a_temporary_error() {
    for kind in [
        ErrorKind::Unavailable,
        ErrorKind::Conflict,
        ErrorKind::Duplicate,
        ErrorKind::LeaseLost,
    ] {
        let (store, broker) = (Arc::new(Watched::default()), MemoryBroker::new());
        let events = keyed_events(3, 1);
        store.store.append(&events).expect("appended");
        *store.fails.lock().expect("not poisoned") = [kind].into();
        let stop = sleep(Duration::from_secs(3600));
        let ended = worker(&store, &broker, 30 * SECOND).run(stop).await;
        ended.unwrap_or_else(|error| panic!("{kind:?} ended it: {error}"));
        assert_each_once(&broker.events(), &events);
    }
}

#[tokio::test(start_paused = true)]
async fn the_pauses_of_a_worker_grow_while_its_store_fails() {
    let (store, broker) = (filled(&keyed_events(1, 1)), MemoryBroker::new());
    *store.fails.lock().expect("not poisoned") = [ErrorKind::Unavailable; 100].into();
    let run = worker(&store, &broker, 30 * SECOND).run(pending());
    // A hundred pauses that do not grow would end before that.
    let run = tokio::time::timeout(100 * SECOND, run).await;
    run.expect_err("it ended");
    assert_eq!(broker.calls(), 0, "the pauses do not grow");
}

/// The pause after a failure is random, so it is seen several times.
#[tokio::test(start_paused = true)]
async fn an_outage_that_fails_several_claims_at_once_counts_as_one_failure() {
    for _ in 0..10 {
        let (store, broker) = (filled(&keyed_events(90, 1)), MemoryBroker::new());
        let slow = Slow(broker, Duration::from_millis(400));
        // Before the first answer of the broker one claim is open.
        let mut worker = worker(&store, &slow, 30 * SECOND);
        let first = worker.process_pending_events().await.expect("a pass");
        assert_eq!(first.published, 10);
        *store.settling_fails.lock().expect("not poisoned") = [ErrorKind::LeaseLost; 8].into();
        let claims = || store.limits.lock().expect("not poisoned").len();
        let look = async {
            sleep(Duration::from_millis(450)).await;
            let settled = store.settled_at.lock().expect("not poisoned").len();
            assert_eq!(settled, 1 + 8, "all claims were open at once");
            let before = claims();
            sleep(SECOND).await;
            assert!(claims() > before, "no claim within the first pause");
        };
        worker.run(look).await.expect("a clean end");
    }
}

#[tokio::test(start_paused = true)]
async fn a_settlement_is_repeated_until_the_lease_runs_out() {
    for kind in [ErrorKind::Unavailable, ErrorKind::Conflict] {
        let (store, broker) = (filled(&keyed_events(1, 1)), MemoryBroker::new());
        *store.settling_fails.lock().expect("not poisoned") = [kind; 100].into();
        let start = Instant::now();
        // The lease runs out at the moment of the sixth try.
        let lease = Duration::from_millis(34_100);
        let mut worker = worker(&store, &broker, lease);
        let error = worker.process_pending_events().await.expect_err("settled");
        assert_eq!(error.kind(), kind);
        let settled_at = store.settled_at.lock().expect("not poisoned");
        let tries: Vec<_> = settled_at
            .iter()
            .map(|at| at.duration_since(start).as_millis())
            .collect();
        assert_eq!(tries, [0, 100, 500, 2100, 8500]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_settlement_that_cannot_succeed_is_not_repeated() {
    for kind in [
        ErrorKind::LeaseLost,
        ErrorKind::Duplicate,
        ErrorKind::Invalid,
        ErrorKind::Corrupt,
    ] {
        let (store, broker) = (filled(&keyed_events(1, 1)), MemoryBroker::new());
        *store.settling_fails.lock().expect("not poisoned") = [kind].into();
        let mut worker = worker(&store, &broker, 30 * SECOND);
        let error = worker.process_pending_events().await.expect_err("settled");
        assert_eq!(error.kind(), kind);
    }
}

#[tokio::test]
async fn a_store_of_the_required_methods_alone_holds_no_key_and_has_nothing_to_remove() {
    let store = Watched::default();
    assert!(!store.blocks_key_on_dead_letter());
    assert_eq!(store.clean_up(10).await.expect("cleaned up"), 0);
}

/// A broker that takes some time for each call.
#[derive(Clone, Debug)]
struct Slow(MemoryBroker, Duration);

#[async_trait]
impl Transport for Slow {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        sleep(self.1).await;
        self.0.publish(events).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_pass_starts_no_call_that_could_outlive_its_lease() {
    let (store, broker) = (filled(&keyed_events(1, 10)), MemoryBroker::new());
    let broker = Slow(broker, Duration::from_millis(400));
    let mut worker = worker(&store, &broker, 12 * SECOND);
    let report = worker.process_pending_events().await.expect("a pass");
    // A call that starts after 2 s could end, by its timeout of 10 s, with the lease.
    assert_eq!((report.published, report.released), (5, 5));
    assert_eq!(broker.0.calls(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_stopped_ends_its_call_and_starts_no_other() {
    let (store, broker) = (filled(&keyed_events(1, 10)), MemoryBroker::new());
    let slow = Slow(broker.clone(), 5 * SECOND);
    let worker = worker(&store, &slow, 3600 * SECOND);
    let start = Instant::now();
    worker.run(sleep(7 * SECOND)).await.expect("a clean end");
    assert_eq!(start.elapsed(), 10 * SECOND);
    assert_eq!(broker.calls(), 2);
    let backlog = store.backlog().await.expect("a backlog");
    assert_eq!((backlog.pending, backlog.in_flight), (8, 0));
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_published_nothing_does_not_close_the_breaker() {
    let (store, broker) = (filled(&keyed_events(20, 1)), MemoryBroker::new());
    let mut worker = worker(&store, &broker, 30 * SECOND);
    let mut pass = async || worker.process_pending_events().await.expect("a pass");
    broker.set_stopped(true);
    pass().await;
    broker.set_stopped(false);
    advance(SECOND).await;
    // The claim takes so long that its event is released at once.
    *store.delay.lock().expect("not poisoned") = 25 * SECOND;
    assert_eq!(pass().await.released, 1);
    *store.delay.lock().expect("not poisoned") = Duration::ZERO;
    assert_eq!(pass().await.published, 1);
    assert_eq!(pass().await.published, 2);
    let limits = store.limits.lock().expect("not poisoned");
    assert_eq!(*limits, [10, 1, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_lost_worker_does_not_close_the_breaker() {
    let events = keyed_events(2, 1);
    let (store, broker) = (filled(&events), MemoryBroker::new());
    let lost = store
        .store
        .claim(ClaimLimit::events(1), SECOND / 2)
        .await
        .expect("claimed");
    assert_eq!(lost.events[0].event.id, events[0].id);
    let mut worker = worker(&store, &broker, 30 * SECOND);
    let mut pass = async || worker.process_pending_events().await.expect("a pass");
    broker.set_stopped(true);
    assert_eq!(pass().await.released, 1);
    // The event is released for at most 1.25 s.
    advance(2 * SECOND).await;
    let other = store
        .store
        .claim(ClaimLimit::events(1), 3600 * SECOND)
        .await
        .expect("claimed");
    assert_eq!(other.events[0].event.id, events[1].id);
    assert_eq!(pass().await.retried, 1);
    pass().await;
    let limits = store.limits.lock().expect("not poisoned");
    assert_eq!(*limits, [10, 1, 1]);
}

/// A broker that returns no results for several events, and `Unavailable` for one. It records the sizes
/// of its calls.
#[derive(Clone, Debug, Default)]
struct Broken(Arc<Mutex<Vec<usize>>>);

#[async_trait]
impl Transport for Broken {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        self.0.lock().expect("not poisoned").push(events.len());
        match events {
            [_] => vec![Err(PublishError::new(PublishErrorKind::Unavailable))],
            _ => Vec::new(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_not_split_further_when_the_broker_is_unavailable() {
    let (store, broker) = (filled(&keyed_events(4, 1)), Broken::default());
    let mut worker = worker(&store, &broker, 30 * SECOND);
    let report = worker.process_pending_events().await.expect("a pass");
    assert_eq!(report.released, 4);
    assert_eq!(*broker.0.lock().expect("not poisoned"), [4, 2, 1]);
}
