//! The relay on SQLite and on PostgreSQL, with each broker. The broker is killed and started again, refuses
//! an event, or has no destination yet.

use async_trait::async_trait;
use integration_tests::brokers::{Broker, LONG_RUN, TOO_LARGE};
use integration_tests::place::Place;
use integration_tests::{assert_ordered_per_key, ids, keyed_events};
use outbox_core::{
    DeadLetter, DeadLetterFilter, Event, EventId, OutboxConfig, OutboxStorage, PublishError, Relay,
    Transport, TransportCheck,
};
use outbox_dlq_memory::MemoryDlqHeap;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

const KEYS: usize = 500;
const PATIENCE: Duration = Duration::from_secs(600);
const MS: Duration = Duration::from_millis(1);

/// Publishes no more events than the test allows, so that some are left when the broker is killed.
#[derive(Debug)]
struct Limited {
    transport: Arc<dyn Transport>,
    allowed: Semaphore,
}

#[async_trait]
impl Transport for Limited {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        let count = u32::try_from(events.len()).expect("a small number");
        let permits = self.allowed.acquire_many(count).await.expect("open");
        let answers = self.transport.publish(events).await;
        permits.forget();
        let failed = answers.iter().filter(|answer| answer.is_err()).count();
        self.allowed.add_permits(failed);
        answers
    }

    fn keeps_order(&self) -> bool {
        self.transport.keeps_order()
    }

    fn destination<'a>(&'a self, event: &'a Event) -> Option<Cow<'a, str>> {
        self.transport.destination(event)
    }

    async fn check(&self) -> TransportCheck {
        self.transport.check().await
    }
}

/// A relay that runs until it is stopped.
struct Running {
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<Result<(), outbox_core::OutboxError>>,
}

impl Running {
    fn start(place: &Place, transport: Arc<dyn Transport>) -> Self {
        let config = OutboxConfig::builder()
            .failure_threshold(3)
            .retry_initial(10 * MS)
            .retry_max(50 * MS)
            .breaker_initial(50 * MS)
            .breaker_max(500 * MS)
            .heap_interval(50 * MS)
            .poll_interval(50 * MS);
        let relay = Relay::new(Arc::clone(&place.storage), transport)
            .dlq_heap(MemoryDlqHeap::new())
            .config(config.build().expect("a valid config"));
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(relay.run(async { drop(stopped.await) }));
        Self { stop, ended }
    }

    async fn stop(self) {
        drop(self.stop);
        self.ended.await.expect("no panic").expect("stopped");
    }
}

async fn pending(place: &Place) -> usize {
    let backlog = place.storage.backlog().await.expect("read");
    usize::try_from(backlog.pending).expect("a small number")
}

/// Waits until at most `count` events are pending.
async fn until_pending(place: &Place, count: usize) {
    let wait = async {
        while pending(place).await > count {
            tokio::time::sleep(2 * MS).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    assert!(
        waited.is_ok(),
        "{} events are still pending, expected {count}",
        pending(place).await
    );
}

async fn dead_letters(place: &Place) -> Vec<DeadLetter> {
    let all = DeadLetterFilter::default();
    let listed = place.dead_letters.list(&all, None, 10).await;
    listed.expect("listed")
}

/// Asserts that the events arrived, the first arrivals of each key in order. Returns how many arrived more
/// than once.
fn assert_arrived(received: &[Event], sent: &[Event]) -> usize {
    let arrived: HashSet<EventId> = ids(received).into_iter().collect();
    let missing: Vec<EventId> = ids(sent)
        .into_iter()
        .filter(|id| !arrived.contains(id))
        .collect();
    assert!(missing.is_empty(), "{} events are missing", missing.len());
    assert_ordered_per_key(received);
    received.len() - arrived.len()
}

/// All events arrive in order although the broker is killed again and again, and none is counted.
async fn survives_kills<B: Broker>(place: Place) {
    let (count, kills) = std::env::var(LONG_RUN).map_or((2_000, 1), |text| {
        let count: usize = text
            .parse()
            .unwrap_or_else(|_| panic!("{LONG_RUN} is {text:?}, but must be a whole number"));
        (count, 3)
    });
    let mut broker = B::start().await;
    broker.create().await;
    let sent = keyed_events(KEYS, count.div_ceil(KEYS));
    place.append(&sent).await;
    let limited = Arc::new(Limited {
        transport: broker.transport(),
        allowed: Semaphore::new(0),
    });
    let running = Running::start(&place, Arc::clone(&limited) as Arc<dyn Transport>);
    let mut allowed = 0;
    for kill in 1..=kills {
        let left = sent.len() * (kills + 1 - kill) / (kills + 1);
        let most = sent.len() - left / 2;
        limited.allowed.add_permits(most - allowed);
        allowed = most;
        until_pending(&place, left).await;
        assert!(pending(&place).await > 0, "kill {kill} came too late");
        tokio::task::block_in_place(|| broker.server().crash()).expect("started again");
    }
    // Some events may be published twice.
    limited.allowed.add_permits(sent.len());
    until_pending(&place, 0).await;
    running.stop().await;
    let dead = dead_letters(&place).await;
    assert!(dead.is_empty(), "{dead:?}");
    let duplicates = assert_arrived(&broker.received().await, &sent);
    println!("{} events arrived, {duplicates} twice", sent.len());
}

/// An event that the broker never accepts is quarantined with the broker's words, and the others arrive.
async fn quarantines_poison<B: Broker>(place: Place) {
    let broker = B::start().await;
    broker.create().await;
    let good = keyed_events(5, 20);
    let poison = Event::new("test.numbered", vec![b'x'; TOO_LARGE]).ordering_key("poison");
    let mut all = good.clone();
    all.insert(50, poison.clone());
    place.append(&all).await;
    let running = Running::start(&place, broker.transport());
    until_pending(&place, 0).await;
    running.stop().await;
    let dead = dead_letters(&place).await;
    let [dead] = dead.as_slice() else {
        panic!("expected one dead letter, came {dead:?}");
    };
    assert_eq!(dead.id, poison.id);
    let error = format!("{:?}", dead.last_error);
    assert!(error.contains(B::REFUSAL), "{error}");
    assert_arrived(&broker.received().await, &good);
}

/// While the destination is missing nothing is quarantined. When a person creates it, delivery continues.
async fn waits_for_its_destination<B: Broker>(place: Place) {
    let broker = B::start().await;
    let sent = keyed_events(5, 20);
    place.append(&sent).await;
    let running = Running::start(&place, broker.transport());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(pending(&place).await, sent.len());
    let dead = dead_letters(&place).await;
    assert!(dead.is_empty(), "{dead:?}");
    broker.create().await;
    until_pending(&place, 0).await;
    running.stop().await;
    assert_eq!(assert_arrived(&broker.received().await, &sent), 0);
}

macro_rules! tests {
    ($($name:ident: $broker:ty;)*) => { $(
        mod $name {
            use integration_tests::brokers;
            use integration_tests::place::Place;

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn all_events_of_sqlite_arrive_although_the_broker_is_killed() {
                crate::survives_kills::<$broker>(Place::on_sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn all_events_of_postgres_arrive_although_the_broker_is_killed() {
                crate::survives_kills::<$broker>(Place::on_postgres().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn a_poison_event_is_quarantined_with_the_words_of_the_broker() {
                crate::quarantines_poison::<$broker>(Place::on_sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn nothing_is_quarantined_while_the_destination_is_missing() {
                crate::waits_for_its_destination::<$broker>(Place::on_sqlite().await).await;
            }
        }
    )* };
}

tests! {
    to_http: brokers::Endpoint;
    to_nats: brokers::Nats;
    to_postgres: brokers::Arrived;
    to_rabbitmq: brokers::RabbitMq;
    to_redis: brokers::Stream;
}
