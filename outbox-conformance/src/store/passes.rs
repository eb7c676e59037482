//! Whole passes of the processors on the store: dropped at each await point, and two of them in
//! every order of their calls.

use super::orders::{Orders, Walk};
use super::steps::{SteppedBroker, Steps};
use super::{LEASE, Store, StoreFixture, append, found, keyed};
use crate::check::{check, check_eq, ok, refuse, short};
use crate::crash::at_each_point;
use crate::heap::SmallHeap;
use crate::transport::MemoryBroker;
use crate::{Decorated, ManualClock};
use outbox_core::{
    DeadLetterFilter, DlqEntry, DlqHeap, DlqProcessor, ErrorKind, Event, EventId, OutboxConfig,
    OutboxConfigBuilder, OutboxProcessor, OutboxStorage, PublishErrorKind,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::SystemTime;

const THRESHOLD: u32 = 2;

/// Passes of another worker, in which all must be done.
const TURNS: usize = 50;

fn config() -> OutboxConfig {
    ok(builder().build())
}

fn builder() -> OutboxConfigBuilder {
    OutboxConfig::builder()
        .lease(LEASE)
        .publish_timeout(LEASE / 3)
        .retry_max(LEASE / 3)
        .failure_threshold(THRESHOLD)
        .heap_lease(LEASE / 3)
        .heap_page(2)
}

/// A store and a heap that a processor works on.
struct Desk<'f, F> {
    fixture: &'f F,
    heap: Arc<SmallHeap>,
    clock: ManualClock,
}

impl<'f, F: StoreFixture> Desk<'f, F> {
    fn new(fixture: &'f F) -> Self {
        let clock = ManualClock::new();
        let heap = Arc::new(SmallHeap::new(clock.clock()));
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

    /// One that takes `page` events at a time, and waits before each call.
    fn stepped(&self, store: &Arc<dyn Store>, page: usize) -> (DlqProcessor, Arc<Steps>) {
        let steps = Arc::default();
        let (heap, store) = self.wait_for(&steps, store);
        let config = ok(builder().heap_page(page).build());
        (DlqProcessor::new(heap, store).config(config), steps)
    }

    /// A worker without a heap that takes two events at most, and waits before each call.
    fn stepped_worker(
        &self,
        store: &Arc<dyn Store>,
        broker: &MemoryBroker,
    ) -> (OutboxProcessor, Arc<Steps>) {
        let steps = Arc::default();
        let (_, store) = self.wait_for(&steps, store);
        let transport = SteppedBroker {
            broker: broker.clone(),
            steps: steps.clone(),
        };
        let worker = OutboxProcessor::new(store, Arc::new(transport));
        (worker.config(ok(builder().batch_size(2).build())), steps)
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

    /// Checks that exactly these events are dead letters with all their failures, that nothing
    /// waits, and that the heap is empty. Then removes the dead letters.
    async fn assert_quarantined(&self, store: &Arc<dyn Store>, events: &[EventId]) {
        for id in events {
            let (dead_letter, _) = found(store, *id).await;
            check_eq!(dead_letter.failure_count, THRESHOLD, "failures of {id}");
            check!(
                dead_letter.last_error.is_some(),
                "expected the last error of {id}, came none"
            );
        }
        let backlog = ok(store.backlog().await);
        let found = (backlog.pending, backlog.dead_letters);
        check_eq!(found, (0, events.len() as u64), "pending, dead letters");
        let tracked = ok(self.heap.size().await).map(|size| size.entries);
        check_eq!(tracked, Some(0), "entries left in the heap");
        ok(store.purge(&DeadLetterFilter::all(), 100).await);
    }
}

/// S20: a worker that stops at any await point of a pass causes one second delivery at most.
/// Another worker publishes or quarantines every event, in order, with no false dead letter and no
/// lost count.
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
        check!(
            tries <= THRESHOLD + 1,
            "expected up to {} attempts, came {tries}",
            THRESHOLD + 1
        );
        ended
    })
    .await;
}

/// Another worker and its `DlqProcessor` run until nothing waits.
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
    refuse!("expected no pending event after {TURNS} passes of another worker, came some");
}

/// Checks that all of `healthy` came in order, and the successor of the poison, each once or twice.
fn assert_delivered(received: &[Event], healthy: &[Event], successor: &Event) {
    let count = |event: &Event| received.iter().filter(|one| one.id == event.id).count();
    let first = |event: &Event| received.iter().position(|one| one.id == event.id);
    let mut all = healthy.iter().chain([successor]);
    check!(
        all.all(|event| (1..=2).contains(&count(event))),
        "expected each event once or twice, came {}",
        short(&received)
    );
    check!(
        healthy.is_sorted_by_key(first),
        "expected the events of a key in their order, came {}",
        short(&received)
    );
}

/// S20: after a `DlqProcessor` stops at any await point of a tick, another one quarantines each
/// event once, with all its failures.
pub async fn a_tick_dropped_anywhere_quarantines_once<F: StoreFixture>(fixture: F) {
    let handles = [fixture.handle().await, fixture.handle().await];
    at_each_point("tick", async |point| {
        let desk = Desk::new(&fixture);
        let events = desk.exceeded(3);
        let (mut lost, _) = desk.stepped(&handles[0], 2);
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

/// S20: two replicas of the `DlqProcessor` move each event once, in every order of their calls,
/// with leases that last and with leases that run out at every step.
pub async fn two_replicas_in_any_order_quarantine_once<F: StoreFixture>(fixture: F) {
    let stores = [fixture.handle().await, fixture.handle().await];
    for lease_ends in [false, true] {
        let mut orders = Orders::default();
        while orders.next() {
            let desk = Desk::new(&fixture);
            let events = desk.exceeded(2);
            // With leases that hold each may lease one of the events.
            let page = if lease_ends { 2 } else { 1 };
            let [mut one, mut two] = stores.each_ref().map(|store| desk.stepped(store, page));
            let between = async || {
                if lease_ends {
                    desk.clock.advance(LEASE);
                }
            };
            let replicas = [ticking(&mut one), ticking(&mut two)];
            let moved: usize = orders.play(replicas, between).await.iter().sum();
            check_eq!(moved, 2, "events moved in the order {orders}");
            let ids = super::event_ids(&events);
            desk.assert_quarantined(&stores[0], &ids).await;
        }
        orders.print("two replicas", lease_ends);
    }
}

/// S20: two workers, in every order of their calls, deliver each event in the order of its key:
/// once with leases that last, and at least once with leases that run out at every step.
pub async fn two_workers_in_any_order_deliver_all<F: StoreFixture>(fixture: F) {
    let stores = [fixture.handle().await, fixture.handle().await];
    for lease_ends in [false, true] {
        let mut orders = Orders::default();
        while orders.next() {
            let (desk, broker) = (Desk::new(&fixture), MemoryBroker::new());
            let keys = [keyed("one", 2), keyed("two", 2)];
            append(&fixture, &keys.concat());
            let mut workers = stores
                .each_ref()
                .map(|store| desk.stepped_worker(store, &broker));
            let between = async || {
                if lease_ends {
                    desk.elapse().await;
                }
            };
            let passes = workers.each_mut().map(passing);
            let published: usize = orders.play(passes, between).await.iter().sum();
            let left = ok(stores[0].backlog().await).pending;
            let total = published as u64 + left;
            check_eq!(
                total,
                4,
                "{published} events settled and {left} left in the order {orders}"
            );
            finish(&desk, &stores[0], &broker).await;
            let received = broker.events();
            for events in &keys {
                assert_in_order(&received, events);
            }
            check!(
                lease_ends || received.len() == 4,
                "expected 4 deliveries in the order {orders}, came {}",
                short(&received)
            );
        }
        orders.print("two workers", lease_ends);
    }
}

/// S20: a worker and a `DlqProcessor`, in every order of their calls, publish or quarantine an
/// event that has failed too often and succeeds now. They never do both while leases last, and
/// never lose it.
pub async fn a_worker_and_a_tick_in_any_order_lose_nothing<F: StoreFixture>(fixture: F) {
    let stores = [fixture.handle().await, fixture.handle().await];
    for lease_ends in [false, true] {
        let mut orders = Orders::default();
        while orders.next() {
            let (desk, broker) = (Desk::new(&fixture), MemoryBroker::new());
            let events = desk.exceeded(1);
            let (worker, steps) = desk.stepped_worker(&stores[0], &broker);
            let (heap, _) = desk.wait_for(&steps, &stores[0]);
            let mut worker = (worker.dlq_heap(heap), steps);
            let mut quarantine = desk.stepped(&stores[1], 1);
            let between = async || {
                if lease_ends {
                    desk.elapse().await;
                }
            };
            let both = [passing(&mut worker), ticking(&mut quarantine)];
            let [_, moved] = orders.play(both, between).await;
            let dead_letters = ok(stores[0].backlog().await).dead_letters;
            check_eq!(
                moved as u64,
                dead_letters,
                "events moved in the order {orders}"
            );
            finish(&desk, &stores[0], &broker).await;
            let ends = broker.events().len() + usize::from(dead_letters > 0);
            check!(
                ends == 1 || lease_ends && ends > 1,
                "expected one delivery or dead letter in the order {orders}, came {ends}"
            );
            let moved = if dead_letters > 0 {
                super::event_ids(&events)
            } else {
                Vec::new()
            };
            desk.assert_quarantined(&stores[0], &moved).await;
        }
        orders.print("a worker and a tick", lease_ends);
    }
}

/// Each of them is there, and first in its order.
fn assert_in_order(received: &[Event], events: &[Event]) {
    let first = |event: &Event| received.iter().position(|one| one.id == event.id);
    let found: Vec<_> = events.iter().map(first).collect();
    check!(
        found.iter().all(Option::is_some),
        "expected every event, came {}",
        short(&received)
    );
    check!(
        found.is_sorted(),
        "expected the events of a key in their order, came {}",
        short(&received)
    );
}

/// A tick, and how many events it moved.
fn ticking((processor, steps): &mut (DlqProcessor, Arc<Steps>)) -> Walk<'_> {
    Walk::new(steps, async { ok(processor.tick().await).moved })
}

/// A pass, and the number of events that it published and settled.
fn passing((worker, steps): &mut (OutboxProcessor, Arc<Steps>)) -> Walk<'_> {
    Walk::new(steps, async {
        match worker.process_pending_events().await {
            Err(error) if error.kind() == ErrorKind::LeaseLost => 0,
            result => ok(result).published,
        }
    })
}
