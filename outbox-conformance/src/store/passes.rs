//! Whole passes of the processors on the store, left at each of their await points, and two replicas
//! in every order of their calls.

use super::steps::{SteppedBroker, Steps};
use super::{LEASE, Store, StoreFixture, append, keyed, ok};
use crate::crash::at_each_point;
use crate::transport::MemoryBroker;
use crate::{Decorated, ManualClock};
use outbox_core::{
    DeadLetterFilter, DlqEntry, DlqHeap, DlqProcessor, Event, EventId, OutboxConfig,
    OutboxProcessor, OutboxStorage, PublishErrorKind, TickReport,
};
use outbox_dlq_memory::MemoryDlqHeap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::Poll;
use std::time::SystemTime;

const THRESHOLD: u32 = 2;

/// Passes of another worker, in which all must be done.
const TURNS: usize = 50;

fn config() -> OutboxConfig {
    let builder = OutboxConfig::builder()
        .lease(LEASE)
        .publish_timeout(LEASE / 3)
        .retry_max(LEASE / 3)
        .failure_threshold(THRESHOLD)
        .dlq_lease(LEASE / 3)
        .dlq_page(2);
    ok(builder.build())
}

/// A store and a heap between which a processor stands.
struct Desk<'f, F> {
    fixture: &'f F,
    heap: Arc<MemoryDlqHeap>,
    clock: ManualClock,
}

impl<'f, F: StoreFixture> Desk<'f, F> {
    fn new(fixture: &'f F) -> Self {
        let clock = ManualClock::new();
        let heap = Arc::new(MemoryDlqHeap::new().with_clock(clock.clock()));
        Self {
            fixture,
            heap,
            clock,
        }
    }

    /// Appends events that have failed too often.
    fn exceeded(&self, count: usize) -> Vec<Event> {
        let (events, now) = (keyed("k", count), SystemTime::now());
        append(self.fixture, &events);
        for event in &events {
            let entry = DlqEntry::new(event.id, THRESHOLD, now, now);
            self.heap.restore(entry.with_error(Some("refused".into())));
        }
        events
    }

    async fn elapse(&self) {
        self.fixture.elapse(LEASE).await;
        self.clock.advance(LEASE);
    }

    fn quarantine(&self, store: &Arc<dyn Store>) -> DlqProcessor {
        DlqProcessor::new(self.heap.clone(), store.clone()).config(config())
    }

    /// The same, which waits before each call.
    fn stepped(&self, store: &Arc<dyn Store>) -> (DlqProcessor, Arc<Steps>) {
        let steps = Arc::default();
        let (heap, store) = self.wait_for(&steps, store);
        (DlqProcessor::new(heap, store).config(config()), steps)
    }

    /// The heap and a store that wait for `steps` before each call.
    fn wait_for(
        &self,
        steps: &Arc<Steps>,
        store: &Arc<dyn Store>,
    ) -> (Arc<dyn DlqHeap>, Arc<dyn Store>) {
        let heap = Decorated::new(self.heap.clone(), steps.clone());
        let store = Decorated::new(store.clone(), steps.clone());
        (Arc::new(heap), Arc::new(store))
    }

    /// Asserts that exactly these events are letters with all their failures, nothing waits, and the
    /// heap is empty. Then removes the letters.
    async fn assert_quarantined(&self, store: &Arc<dyn Store>, events: &[EventId]) {
        for id in events {
            let letter = ok(store.find(*id).await).unwrap_or_else(|| panic!("{id} is no letter"));
            assert_eq!(letter.failure_count, THRESHOLD, "failures of {id}");
            assert!(letter.last_error.is_some(), "the error of {id} is lost");
        }
        let backlog = ok(store.backlog().await);
        let found = (backlog.pending, backlog.dead_letters);
        assert_eq!(found, (0, events.len() as u64), "pending, dead letters");
        let tracked = ok(self.heap.size().await).map(|size| size.entries);
        assert_eq!(tracked, Some(0), "entries that the heap has left");
        ok(store.purge(&DeadLetterFilter::all(), 100).await);
    }
}

/// A worker that is lost at any await point of a pass costs a second delivery at most: another one
/// publishes or quarantines every event, in order, with no false dead letter and no lost count.
pub async fn a_pass_dropped_anywhere_loses_nothing<F: StoreFixture>(fixture: F) {
    let [lost, store] = [fixture.handle().await, fixture.handle().await];
    at_each_point("process_pending_events", async |point| {
        let desk = Desk::new(&fixture);
        let events = [keyed("healthy", 3), keyed("poisoned", 2)].concat();
        let (poison, tries) = (events[3].id, Arc::new(AtomicU32::new(0)));
        let counter = Arc::clone(&tries);
        let broker = MemoryBroker::with_rule(move |event, _| {
            if event.id != poison {
                return Ok(());
            }
            counter.fetch_add(1, SeqCst);
            Err(PublishErrorKind::Rejected)
        });
        append(&fixture, &events);
        let steps = Arc::default();
        let (heap, stepped) = desk.wait_for(&steps, &lost);
        let transport = SteppedBroker {
            broker: broker.clone(),
            steps,
        };
        let mut worker = OutboxProcessor::new(stepped, Arc::new(transport))
            .config(config())
            .dlq_heap(heap);
        let pass = worker.process_pending_events();
        let ended = point.reach(pass).await.map(ok).is_some();
        drop(worker);

        finish(&desk, &store, &broker).await;
        desk.assert_quarantined(&store, &[poison]).await;
        assert_delivered(&broker.events(), &events[..3], &events[4]);
        let tries = tries.load(SeqCst);
        assert!(tries <= THRESHOLD + 1, "a count was lost: {tries} attempts");
        ended
    })
    .await;
}

/// Another worker and its dead-letter processor go on until nothing waits.
async fn finish<F: StoreFixture>(
    desk: &Desk<'_, F>,
    store: &Arc<dyn Store>,
    broker: &MemoryBroker,
) {
    let storage: Arc<dyn OutboxStorage> = store.clone();
    let mut worker = OutboxProcessor::new(storage, Arc::new(broker.clone()))
        .config(config())
        .dlq_heap(desk.heap.clone());
    let mut quarantine = desk.quarantine(store);
    for _ in 0..TURNS {
        desk.elapse().await;
        ok(worker.process_pending_events().await);
        ok(quarantine.tick().await);
        if ok(store.backlog().await).pending == 0 {
            return;
        }
    }
    panic!("something waits after {TURNS} passes of another worker");
}

/// All of `healthy` in order and the successor of the poison, each at most once more than once.
fn assert_delivered(received: &[Event], healthy: &[Event], successor: &Event) {
    let count = |event: &Event| received.iter().filter(|one| one.id == event.id).count();
    let first = |event: &Event| received.iter().position(|one| one.id == event.id);
    let mut all = healthy.iter().chain([successor]);
    assert!(
        all.all(|event| (1..=2).contains(&count(event))),
        "lost, or delivered again and again: {received:?}"
    );
    assert!(healthy.is_sorted_by_key(first), "order: {received:?}");
}

/// A dead-letter processor that is lost at any await point of a tick: another one quarantines each
/// event once, with all its failures.
pub async fn a_tick_dropped_anywhere_quarantines_once<F: StoreFixture>(fixture: F) {
    let handles = [fixture.handle().await, fixture.handle().await];
    at_each_point("tick", async |point| {
        let desk = Desk::new(&fixture);
        let events = desk.exceeded(3);
        let (mut lost, _) = desk.stepped(&handles[0]);
        let ended = point.reach(lost.tick()).await.map(ok).is_some();
        drop(lost);
        desk.elapse().await;
        ok(desk.quarantine(&handles[1]).tick().await);
        let ids = super::event_ids(&events);
        desk.assert_quarantined(&handles[1], &ids).await;
        ended
    })
    .await;
}

/// Two replicas of the dead-letter processor, in every order of their calls, with leases that hold
/// and with leases that run out at every step: each event is moved once.
pub async fn two_replicas_in_any_order_quarantine_once<F: StoreFixture>(fixture: F) {
    let stores = [fixture.handle().await, fixture.handle().await];
    for lease_ends in [false, true] {
        let (mut schedule, mut orders) = (Schedule::default(), 0);
        while schedule.next() {
            let desk = Desk::new(&fixture);
            let events = desk.exceeded(2);
            let [mut one, mut two] = stores.each_ref().map(|store| desk.stepped(store));
            let mut replicas = [Replica::new(&mut one), Replica::new(&mut two)];
            for replica in &mut replicas {
                replica.step().await;
            }
            while let Some(turn) = schedule.turn(&replicas) {
                replicas[turn].step().await;
                if lease_ends {
                    desk.clock.advance(LEASE);
                }
            }
            let moved: usize = replicas.iter().map(Replica::moved).sum();
            assert_eq!(moved, 2, "moved in the order {:?}", schedule.choices);
            let ids = super::event_ids(&events);
            desk.assert_quarantined(&stores[0], &ids).await;
            orders += 1;
        }
        println!("two replicas, leases end at each step: {lease_ends}: {orders} orders");
    }
}

type Tick<'p> = dyn Future<Output = Result<TickReport, outbox_core::OutboxError>> + Send + 'p;

/// A tick under way.
struct Replica<'p> {
    tick: Pin<Box<Tick<'p>>>,
    steps: Arc<Steps>,
    report: Option<TickReport>,
}

impl<'p> Replica<'p> {
    fn new((processor, steps): &'p mut (DlqProcessor, Arc<Steps>)) -> Self {
        Self {
            tick: Box::pin(processor.tick()),
            steps: steps.clone(),
            report: None,
        }
    }

    /// Goes on until it is about to make its next call, or ends.
    async fn step(&mut self) {
        let before = self.steps.taken();
        self.report = poll_fn(|context| match self.tick.as_mut().poll(context) {
            Poll::Ready(report) => Poll::Ready(Some(ok(report))),
            Poll::Pending if self.steps.taken() > before => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await;
    }

    fn moved(&self) -> usize {
        self.report.map_or(0, |report| report.moved)
    }
}

/// Every order of two replicas, one after another: the last choice that was not made the other way
/// is made so in the next.
#[derive(Default)]
struct Schedule {
    choices: Vec<bool>,
    place: usize,
    begun: bool,
}

impl Schedule {
    /// Goes on to the next order; `false` after the last.
    fn next(&mut self) -> bool {
        self.place = 0;
        if !std::mem::replace(&mut self.begun, true) {
            return true;
        }
        while self.choices.pop_if(|choice| *choice).is_some() {}
        let Some(last) = self.choices.last_mut() else {
            return false;
        };
        *last = true;
        true
    }

    /// Whose turn it is; nobody's when both have ended.
    fn turn(&mut self, [one, two]: &[Replica<'_>; 2]) -> Option<usize> {
        match (&one.report, &two.report) {
            (Some(_), Some(_)) => None,
            (Some(_), None) => Some(1),
            (None, Some(_)) => Some(0),
            (None, None) => {
                if self.place == self.choices.len() {
                    self.choices.push(false);
                }
                self.place += 1;
                Some(usize::from(self.choices[self.place - 1]))
            }
        }
    }
}
