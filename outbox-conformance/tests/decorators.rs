//! The decorators pass the suites while their hook does nothing, and the hooks do what their
//! documentation says.

use async_trait::async_trait;
use outbox_conformance::heap::{self, HeapFixture, History};
use outbox_conformance::store::{self, AppTransaction, HoldingFixture, Store, StoreFixture};
use outbox_conformance::{
    Around, Decorated, Fails, Faulty, ManualClock, Slow, dlq_heap_suite, store_suite,
};
use outbox_core::{
    ClaimLimit, ClaimToken, DeadLetterFilter, DeadLetters, DlqEntry, DlqHeap, ErrorKind, Event,
    EventId, OutboxError, OutboxStorage,
};
use outbox_dlq_memory::MemoryDlqHeap;
use outbox_store_memory::{MemoryStore, MemoryTransaction};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::yield_now;
use tokio::time::Instant;

/// A heap in memory, with a decorator for each handle.
struct Heap {
    clock: ManualClock,
    inner: MemoryDlqHeap,
    decorate: fn(MemoryDlqHeap) -> Arc<dyn DlqHeap>,
}

impl Heap {
    fn by(decorate: fn(MemoryDlqHeap) -> Arc<dyn DlqHeap>) -> Self {
        let clock = ManualClock::new();
        Self {
            inner: MemoryDlqHeap::new().with_clock(clock.clock()),
            clock,
            decorate,
        }
    }
}

#[async_trait]
impl HeapFixture for Heap {
    async fn handle(&self) -> Arc<dyn DlqHeap> {
        (self.decorate)(self.inner.clone())
    }

    async fn neighbour(&self) -> Arc<dyn DlqHeap> {
        Arc::new(MemoryDlqHeap::new().with_clock(self.clock.clock()))
    }

    async fn elapse(&self, time: Duration) {
        self.clock.advance(time);
    }

    async fn plant(&self, entry: DlqEntry) {
        self.inner.restore(entry);
    }
}

/// A store in memory, with a decorator for each handle.
struct Outbox {
    clock: ManualClock,
    inner: MemoryStore,
    decorate: fn(MemoryStore) -> Arc<dyn Store>,
}

impl Outbox {
    fn by(decorate: fn(MemoryStore) -> Arc<dyn Store>) -> Self {
        let clock = ManualClock::new();
        Self {
            inner: MemoryStore::new().with_clock(clock.clock()),
            clock,
            decorate,
        }
    }
}

struct Transaction(MemoryTransaction);

impl AppTransaction for Transaction {
    fn append(&mut self, events: &[Event]) -> Result<(), OutboxError> {
        self.0.append(events)
    }

    fn commit(self: Box<Self>) -> Result<(), OutboxError> {
        self.0.commit()
    }
}

#[async_trait]
impl StoreFixture for Outbox {
    async fn handle(&self) -> Arc<dyn Store> {
        (self.decorate)(self.inner.clone())
    }

    fn begin(&self) -> Box<dyn AppTransaction> {
        Box::new(Transaction(self.inner.begin()))
    }

    async fn elapse(&self, time: Duration) {
        self.clock.advance(time);
    }
}

#[async_trait]
impl HoldingFixture for Outbox {
    async fn holding_handle(&self) -> Arc<dyn Store> {
        (self.decorate)(self.inner.clone().block_key_on_dead_letter())
    }
}

/// Keeps the names of the calls.
#[derive(Debug, Default)]
struct Calls(Mutex<Vec<&'static str>>);

impl Around for Calls {
    async fn around<T: Send>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T, OutboxError>> + Send,
    ) -> Result<T, OutboxError> {
        self.0.lock().expect("not poisoned").push(method);
        call.await
    }
}

fn faulty<S>(inner: S) -> Arc<Decorated<S, Faulty>> {
    Arc::new(Decorated::new(Arc::new(inner), Arc::default()))
}

fn slow<S>(inner: S) -> Arc<Decorated<S, Slow>> {
    let slow = Slow(Duration::ZERO);
    Arc::new(Decorated::new(Arc::new(inner), Arc::new(slow)))
}

fn recording<S>(inner: S) -> Arc<Decorated<S, Calls>> {
    Arc::new(Decorated::new(Arc::new(inner), Arc::default()))
}

fn in_a_history(heap: MemoryDlqHeap) -> Arc<dyn DlqHeap> {
    Arc::new(History::default().client(Arc::new(heap)))
}

/// The suites on what `decorate` makes of a heap and of a store.
macro_rules! suites {
    ($heap:ident, $store:ident, $decorate:ident) => {
        dlq_heap_suite!(
            $heap,
            Heap::by(|heap| $decorate(heap)),
            counting,
            races,
            leases,
            cancellation
        );
        store_suite!(
            $store,
            Outbox::by(|store| $decorate(store)),
            claims,
            settlements,
            races,
            quarantine,
            dead_letters,
            late,
            holding,
            cancellation,
            passes
        );
    };
}

suites!(faulty_heap, faulty_store, faulty);
suites!(slow_heap, slow_store, slow);
suites!(recording_heap, recording_store, recording);
dlq_heap_suite!(
    heap_in_a_history,
    Heap::by(in_a_history),
    counting,
    races,
    leases,
    cancellation
);

#[tokio::test]
async fn each_call_of_a_heap_or_a_store_goes_through_the_hook() {
    let (calls, id, all) = (
        Arc::new(Calls::default()),
        EventId::new(),
        DeadLetterFilter::all(),
    );
    let heap = Decorated::new(Arc::new(MemoryDlqHeap::new()), calls.clone());
    let store = Decorated::new(Arc::new(MemoryStore::new()), calls.clone());
    heap.record_failure(id).await.unwrap();
    heap.record_success(id).await.unwrap();
    heap.drain_exceeded(1).await.unwrap();
    heap.record_failures(&[]).await.unwrap();
    heap.forget(&[]).await.unwrap();
    heap.lease_exceeded(1, 1, Duration::ZERO).await.unwrap();
    heap.size().await.unwrap();
    heap.prune(Duration::ZERO, 1).await.unwrap();
    store
        .claim(ClaimLimit::events(1), Duration::ZERO)
        .await
        .unwrap();
    store.settle(ClaimToken::new(), &[]).await.unwrap_err();
    store.resume("orders", 1).await.unwrap();
    store.quarantine_events(&[]).await.unwrap();
    store.wait_for_work(Duration::ZERO).await.unwrap();
    store.backlog().await.unwrap();
    store.clean_up(1).await.unwrap();
    store.list(&all, None, 1).await.unwrap();
    store.find(id).await.unwrap();
    store.export(&all, None, 1, 1).await.unwrap();
    store.replay(&all, 1).await.unwrap();
    store.purge(&all, 1).await.unwrap();
    store.statistics(&all, 1).await.unwrap();

    let calls = calls.0.lock().expect("not poisoned");
    assert_eq!(*calls, methods());
}

/// All async methods of the traits, in their order.
fn methods() -> Vec<&'static str> {
    let traits = [
        include_str!("../../outbox-core/src/dlq/heap.rs"),
        include_str!("../../outbox-core/src/storage.rs"),
        include_str!("../../outbox-core/src/dlq/dead_letters.rs"),
    ];
    // Shared handles repeat the methods after the trait.
    let bodies = traits
        .iter()
        .filter_map(|text| text.split("pub trait ").nth(1));
    let lines = bodies.flat_map(|body| body.lines().take_while(|line| *line != "}"));
    let methods = lines.filter_map(|line| line.strip_prefix("    async fn ")?.split('(').next());
    methods.collect()
}

/// Keeps the names of the calls that were dropped while they waited.
#[derive(Debug)]
struct Dropped;

static DROPPED: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());

impl Around for Dropped {
    async fn around<T: Send>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T, OutboxError>> + Send,
    ) -> Result<T, OutboxError> {
        let mut waiting = Waiting(Some(method));
        yield_now().await;
        waiting.0 = None;
        call.await
    }
}

struct Waiting(Option<&'static str>);

impl Drop for Waiting {
    fn drop(&mut self) {
        DROPPED.lock().expect("not poisoned").extend(self.0);
    }
}

#[tokio::test(start_paused = true)]
async fn each_method_of_a_heap_or_a_store_is_dropped_by_a_case() {
    let heaps = || Heap::by(|heap| Arc::new(Decorated::new(Arc::new(heap), Arc::new(Dropped))));
    let stores =
        || Outbox::by(|store| Arc::new(Decorated::new(Arc::new(store), Arc::new(Dropped))));
    heap::cancellation::a_dropped_call_is_applied_or_not(heaps()).await;
    heap::cancellation::a_dropped_batch_is_applied_or_not(heaps()).await;
    heap::cancellation::a_dropped_lease_loses_nothing(heaps()).await;
    store::cancellation::a_dropped_claim_loses_nothing(stores()).await;
    store::cancellation::a_dropped_settlement_is_applied_or_not(stores()).await;
    store::cancellation::a_dropped_resumption_resumes_whole_events(stores()).await;
    store::cancellation::a_dropped_quarantine_is_applied_or_not(stores()).await;
    store::cancellation::a_dropped_replay_or_purge_is_applied_or_not(stores()).await;
    store::cancellation::a_dropped_look_changes_nothing(stores()).await;
    let dropped = DROPPED.lock().expect("not poisoned").clone();
    assert_eq!(dropped, BTreeSet::from_iter(methods()));
}

#[tokio::test]
async fn faulty_calls_fail_before_or_after_the_inner_call() {
    let (heap, id) = (MemoryDlqHeap::new(), EventId::new());
    let faults = Arc::new(Faulty::default());
    let faulty = Decorated::new(Arc::new(heap.clone()), faults.clone());
    let store = Decorated::new(Arc::new(MemoryStore::new()), faults.clone());
    for (fails, counted) in [(Fails::Before, 0), (Fails::After, 1)] {
        faults.fail(fails);
        let error = faulty.record_failure(id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let size = heap.size().await.unwrap().unwrap();
        assert_eq!(size.entries, counted, "{fails:?}");
        let error = store.backlog().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    assert_eq!(faults.failed(), 4);
    faults.mend();
    assert_eq!(faulty.drain_exceeded(1).await.unwrap().len(), 1);
    store.backlog().await.unwrap();
    assert_eq!(faults.failed(), 4);
}

#[tokio::test(start_paused = true)]
async fn slow_calls_wait_before_and_after_the_inner_call() {
    const WAIT: Duration = Duration::from_secs(10);
    let (heap, id) = (MemoryDlqHeap::new(), EventId::new());
    let slow = Decorated::new(Arc::new(heap.clone()), Arc::new(Slow(WAIT)));
    let begun = Instant::now();
    let half = tokio::time::timeout(WAIT / 2, slow.record_failure(id)).await;
    half.expect_err("it waits before");
    assert_eq!(heap.size().await.unwrap().unwrap().entries, 0);
    let most = tokio::time::timeout(WAIT + WAIT / 2, slow.record_failure(id)).await;
    most.expect_err("it waits after");
    assert_eq!(heap.size().await.unwrap().unwrap().entries, 1);
    slow.record_failure(id).await.unwrap();
    assert_eq!(begun.elapsed(), WAIT * 4);
}

/// A call that failed was applied or not, and not twice.
#[tokio::test]
async fn a_history_with_a_call_that_failed_is_explained() {
    for (fails, again, count, explained) in [
        (Fails::Before, false, 1, true),
        (Fails::After, false, 2, true),
        (Fails::After, true, 3, false),
    ] {
        let (heap, id) = (MemoryDlqHeap::new(), EventId::new());
        let faults = Arc::new(Faulty::default());
        let faulty = Decorated::new(Arc::new(heap.clone()), faults.clone());
        let history = History::default();
        let client = history.client(Arc::new(faulty));
        client.record_failure(id).await.unwrap();
        faults.fail(fails);
        client.record_failure(id).await.unwrap_err();
        faults.mend();
        if again {
            heap.record_failure(id).await.unwrap();
        }
        let drained = client.drain_exceeded(1).await.unwrap();
        assert_eq!(drained[0].failure_count, count);
        assert_eq!(history.len(), 3);
        assert_eq!(history.check().is_ok(), explained, "{fails:?}, {count}");
    }
}

#[tokio::test]
async fn a_violation_prints_the_calls_on_one_event() {
    let (heap, id) = (Arc::new(MemoryDlqHeap::new()), EventId::new());
    let history = History::default();
    let (one, two) = (history.client(heap.clone()), history.client(heap.clone()));
    one.record_failure(id).await.unwrap();
    two.drain_exceeded(2).await.unwrap();
    heap.record_success(id).await.unwrap();
    two.drain_exceeded(1).await.unwrap();
    let report = history.check().unwrap_err().to_string();
    let lines: Vec<&str> = report.lines().collect();
    assert!(lines[0].contains(&id.to_string()), "{report}");
    assert_eq!(
        lines[1..3],
        [
            "  [    1,     2] client 1: record_failure(it)",
            "  [    5,     6] client 2: drain_exceeded(1) -> not it"
        ]
    );
}
