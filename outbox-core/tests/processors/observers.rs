//! What an observer sees.

use crate::fakes::{FakeBroker, FakeHeap, FakeStore, HOUR, MS, error, event};
use crate::log::{logged, only};
use async_trait::async_trait;
use outbox_core::{
    Backlog, Claim, ClaimLimit, ClaimToken, ClaimedEvent, DlqEntry, DlqProcessor, ErrorKind, Event,
    Observation, Observer, OutboxConfig, OutboxError, OutboxProcessor, OutboxStorage, PublishError,
    PublishErrorKind, QuarantineOutcome, Relay, Settlement, Transport,
};
use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// In an hour, each 13.5 to 16.5 seconds after the one before.
const SAMPLES: std::ops::RangeInclusive<u32> = 218..=267;

/// Keeps a line for each observation.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// Those that start with `text`.
    fn of(&self, text: &str) -> Vec<String> {
        let lines = self.0.lock().expect("no panic while locked");
        let lines = lines.iter().filter(|line| line.starts_with(text));
        lines.cloned().collect()
    }
}

impl Observer for Lines {
    fn observe(&self, observation: &Observation<'_>) {
        self.0
            .lock()
            .expect("no panic while locked")
            .push(line(observation));
    }
}

fn line(observation: &Observation<'_>) -> String {
    let up = |error: Option<&OutboxError>| if error.is_some() { "down" } else { "up" };
    match observation {
        Observation::Published {
            destination,
            took,
            delays,
            ..
        } => format!("published {destination:?} {} in {took:?}", delays.len()),
        Observation::Failed {
            destination,
            kind,
            events,
            ..
        } => format!("failed {destination:?} {} {events}", kind.name()),
        Observation::Quarantined { kind, events, .. } => {
            format!("quarantined {} {events}", kind.name())
        }
        Observation::Released { events, .. } => format!("released {events}"),
        Observation::Held {
            destination,
            events,
            ..
        } => format!("held {destination} {events}"),
        Observation::TakenOver { events, .. } => format!("taken over {events}"),
        Observation::Breaker {
            destination, kind, ..
        } => format!(
            "breaker {destination:?} {:?}",
            kind.map(PublishErrorKind::name)
        ),
        Observation::Heap { error, .. } => format!("heap {}", up(*error)),
        Observation::HeapSize(size) => format!("size {}", size.entries),
        Observation::Store { error, .. } => format!("store {}", up(*error)),
        Observation::Claims { in_flight, .. } => format!("claims {in_flight}"),
        Observation::Pass(report) => format!("pass {}", report.claimed),
        Observation::Backlog { backlog, next, .. } => {
            let minutes = next.as_secs().div_ceil(60);
            format!("backlog {}, again within {minutes} min", backlog.pending)
        }
        Observation::Duplicates { events, .. } => format!("duplicates {events}"),
        other => panic!("no line for {other:?}"),
    }
}

/// A claim of `events`.
fn claim(events: &[Event]) -> FakeStore {
    let claimed = |event: &Event| ClaimedEvent::new(event.clone(), 0, false);
    FakeStore::answers([Ok(events.iter().map(claimed).collect())])
}

/// The observations of a worker that runs for an hour.
async fn seen(store: impl OutboxStorage + 'static, broker: impl Transport + 'static) -> Lines {
    let lines = Lines::default();
    let worker = OutboxProcessor::new(store, broker).observer(lines.clone());
    worker.run(sleep(HOUR)).await.expect("no fatal error");
    lines
}

/// Sends each event to the destination that its type names. The answers of each are scripted, then `Ok`.
#[derive(Debug, Default)]
struct Topics {
    takes: Duration,
    failures: Mutex<Vec<(&'static str, PublishErrorKind)>>,
    duplicates: AtomicU64,
}

impl Topics {
    fn failing(failures: impl IntoIterator<Item = (&'static str, PublishErrorKind)>) -> Self {
        Self {
            failures: Mutex::new(failures.into_iter().collect()),
            ..Self::default()
        }
    }
}

#[async_trait]
impl Transport for Topics {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        sleep(self.takes).await;
        self.duplicates.fetch_add(1, Ordering::SeqCst);
        let name = &events[0].event_type;
        let mut failures = self.failures.lock().expect("no panic while locked");
        let next = failures.iter().position(|(failing, _)| failing == name);
        let kind = next.map(|next| failures.remove(next).1);
        let answer = |_| match kind {
            Some(kind) => Err(PublishError::new(kind).with_destination(name.as_str())),
            None => Ok(()),
        };
        events.iter().map(answer).collect()
    }

    fn destination<'a>(&'a self, event: &'a Event) -> Option<Cow<'a, str>> {
        Some(Cow::Borrowed(&event.event_type))
    }

    fn duplicates(&self) -> u64 {
        self.duplicates.load(Ordering::SeqCst)
    }
}

fn to(destination: &str) -> Event {
    Event::new(destination, "{}")
}

#[tokio::test(start_paused = true)]
async fn a_call_that_published_is_one_observation_with_its_time() {
    let broker = Topics {
        takes: 3 * SECOND,
        ..Topics::default()
    };
    let lines = seen(claim(&[to("a"), to("a"), to("b")]), broker).await;
    let mut published = lines.of("published");
    published.sort();
    assert_eq!(
        published,
        [
            "published Some(\"a\") 2 in 3s",
            "published Some(\"b\") 1 in 3s"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_delay_of_an_event_is_the_time_since_its_creation() {
    struct Delays(Mutex<Vec<Duration>>);
    impl Observer for Delays {
        fn observe(&self, observation: &Observation<'_>) {
            if let Observation::Published { delays, .. } = observation {
                self.0
                    .lock()
                    .expect("no panic while locked")
                    .extend_from_slice(delays);
            }
        }
    }
    let (mut old, mut early) = (event(), event());
    old.created_at = SystemTime::now() - HOUR;
    early.created_at = SystemTime::now() + HOUR;
    let delays = Arc::new(Delays(Mutex::default()));
    let worker = OutboxProcessor::new(claim(&[old, early]), FakeBroker::default());
    let worker = worker.observer(Arc::clone(&delays));
    worker.run(sleep(HOUR)).await.expect("no fatal error");
    let delays = delays.0.lock().expect("no panic while locked").clone();
    assert!((HOUR..2 * HOUR).contains(&delays[0]), "{delays:?}");
    assert_eq!(
        delays[1..],
        [Duration::ZERO],
        "the producer's clock is ahead"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_has_its_kind_and_its_destination() {
    for (kind, name) in [
        (PublishErrorKind::Rejected, "rejected"),
        (PublishErrorKind::Permanent, "permanent"),
        (PublishErrorKind::Misconfigured, "misconfigured"),
        (PublishErrorKind::Unavailable, "unavailable"),
        (PublishErrorKind::Throttled(SECOND), "throttled"),
    ] {
        let broker = Topics::failing([("a", kind)]);
        let lines = seen(claim(&[to("a"), to("a"), to("b")]), broker).await;
        assert_eq!(lines.of("failed"), [format!("failed Some(\"a\") {name} 2")]);
        assert_eq!(lines.of("published").len(), 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_can_never_be_published_is_quarantined_at_once() {
    let broker = Topics::failing([("a", PublishErrorKind::Permanent)]);
    let lines = seen(claim(&[to("a"), to("b")]), broker).await;
    assert_eq!(lines.of("quarantined"), ["quarantined permanent 1"]);
}

#[tokio::test(start_paused = true)]
async fn events_that_reach_the_threshold_are_quarantined_by_the_heap() {
    let lines = Lines::default();
    let processor = DlqProcessor::new(FakeHeap::draining(3, 1), FakeStore::default());
    let mut processor = processor.observer(lines.clone());
    processor.tick().await.expect("a tick");
    processor.tick().await.expect("a tick without entries");
    assert_eq!(lines.of("quarantined"), ["quarantined rejected 3"]);
}

#[tokio::test(start_paused = true)]
async fn the_breaker_of_the_broker_opens_and_closes_once() {
    let away = [Some(PublishErrorKind::Unavailable); 3];
    let events: Vec<_> = (0..5).map(|_| event()).collect();
    let lines = seen(FakeStore::one_by_one(events), FakeBroker::answers(away)).await;
    assert_eq!(
        lines.of("breaker"),
        ["breaker None Some(\"unavailable\")", "breaker None None"]
    );
    assert_eq!(lines.of("released"), ["released 1"; 3]);
}

#[tokio::test(start_paused = true)]
async fn the_breaker_of_a_destination_opens_and_closes_while_its_events_are_held() {
    let broker = Topics::failing([("a", PublishErrorKind::Misconfigured)]);
    let claims = [vec![to("a"), to("b")], vec![to("a"), to("b")]];
    let claimed = claims.map(|events| {
        let claimed = |event| ClaimedEvent::new(event, 0, false);
        Ok(events.into_iter().map(claimed).collect())
    });
    let lines = Lines::default();
    let mut worker =
        OutboxProcessor::new(FakeStore::answers(claimed), broker).observer(lines.clone());
    worker.process_pending_events().await.expect("a pass");
    assert_eq!(lines.of("held"), ["held a 1"]);
    let opened = ["breaker Some(\"a\") Some(\"misconfigured\")"];
    assert_eq!(lines.of("breaker"), opened);
    sleep(HOUR).await;
    // The event of the second claim is the probe, and the next pass finds no held event.
    for _ in 0..3 {
        worker.process_pending_events().await.expect("a pass");
    }
    assert_eq!(lines.of("breaker")[1..], ["breaker Some(\"a\") None"]);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_of_another_kind_is_seen_again() {
    let kinds = [
        PublishErrorKind::Unavailable,
        PublishErrorKind::Misconfigured,
        PublishErrorKind::Misconfigured,
    ];
    let events: Vec<_> = (0..5).map(|_| event()).collect();
    let broker = FakeBroker::answers(kinds.map(Some));
    let lines = seen(FakeStore::one_by_one(events), broker).await;
    assert_eq!(
        lines.of("breaker"),
        [
            "breaker None Some(\"unavailable\")",
            "breaker None Some(\"misconfigured\")",
            "breaker None None"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_lost_worker_is_taken_over() {
    let store = FakeStore::answers([Ok(vec![ClaimedEvent::new(event(), 0, true)])]);
    let lines = seen(store, FakeBroker::default()).await;
    assert_eq!(lines.of("taken over"), ["taken over 1"]);
    assert!(lines.of("failed").is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_is_seen_once_each_way() {
    let away = (0..5).map(|_| Err(ErrorKind::Unavailable));
    let lines = seen(FakeStore::answers(away), FakeBroker::default()).await;
    assert_eq!(lines.of("store"), ["store down", "store up"]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_heap_is_seen_once_each_way() {
    let (events, heap) = ((0..20).map(|_| event()), FakeHeap::failing(3));
    let config = OutboxConfig::builder().heap_retry_max(MS).build();
    let lines = Lines::default();
    let worker = OutboxProcessor::new(FakeStore::after_attempts(1, events), FakeBroker::default())
        .observer(lines.clone())
        .config(config.expect("a valid configuration"))
        .dlq_heap(heap);
    worker.run(sleep(HOUR)).await.expect("no fatal error");
    assert_eq!(lines.of("heap"), ["heap down", "heap up"]);
}

#[tokio::test(start_paused = true)]
async fn claims_in_flight_are_counted_from_their_start_to_their_end() {
    let broker = Topics {
        takes: SECOND,
        ..Topics::default()
    };
    let lines = seen(FakeStore::one_by_one([to("a"), to("a")]), broker).await;
    let claims = lines.of("claims");
    assert_eq!(claims, ["claims 1", "claims 2", "claims 1", "claims 0"]);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_finds_nothing_is_a_pass() {
    let lines = seen(claim(&[event(), event()]), FakeBroker::default()).await;
    let passes = lines.of("pass");
    assert_eq!(passes.iter().filter(|pass| *pass == "pass 2").count(), 1);
    // Polls of a second, which grow to five seconds.
    let empty = passes.iter().filter(|pass| *pass == "pass 0").count();
    assert!((700..=3600).contains(&empty), "{empty}");
}

/// A store whose backlog takes a while.
#[derive(Debug, Default)]
struct Counted {
    takes: Duration,
    calls: AtomicU32,
    at_once: AtomicU32,
    most_at_once: AtomicU32,
    fails: bool,
}

#[async_trait]
impl OutboxStorage for Counted {
    async fn claim(&self, _: ClaimLimit, _: Duration) -> Result<Claim, OutboxError> {
        Ok(Claim::empty())
    }

    async fn settle(&self, _: ClaimToken, _: &[Settlement]) -> Result<(), OutboxError> {
        Ok(())
    }

    async fn quarantine_events(
        &self,
        _: &[DlqEntry],
    ) -> Result<Vec<QuarantineOutcome>, OutboxError> {
        Ok(Vec::new())
    }

    async fn wait_for_work(&self, at_most: Duration) -> Result<(), OutboxError> {
        sleep(at_most).await;
        Ok(())
    }

    async fn backlog(&self) -> Result<Backlog, OutboxError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        sleep(self.takes).await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        if self.fails {
            return Err(error(ErrorKind::Unavailable));
        }
        let mut backlog = Backlog::default();
        backlog.pending = 7;
        Ok(backlog)
    }
}

/// Runs a relay for nearly an hour. Returns how many samples it made.
async fn sampled(store: &Arc<Counted>, observer: Option<Lines>) -> u32 {
    let relay = Relay::new(Arc::clone(store), Topics::default());
    let relay = match observer {
        Some(observer) => relay.observer(observer),
        None => relay,
    };
    let shutdown = sleep(Duration::from_secs(3599));
    relay.run(shutdown).await.expect("no fatal error");
    store.calls.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn a_relay_samples_its_backlog_about_every_fifteen_seconds_from_its_start_on() {
    let lines = Lines::default();
    let samples = sampled(&Arc::default(), Some(lines.clone())).await;
    assert!(SAMPLES.contains(&samples), "{samples}");
    assert_eq!(lines.of("backlog").len(), samples as usize);
    assert_eq!(lines.of("backlog")[0], "backlog 7, again within 1 min");
}

#[tokio::test(start_paused = true)]
async fn a_slow_backlog_is_asked_for_once_at_a_time_and_in_a_twentieth_of_the_time() {
    let store = Arc::new(Counted {
        takes: 10 * SECOND,
        ..Counted::default()
    });
    let lines = Lines::default();
    let samples = sampled(&store, Some(lines.clone())).await;
    assert_eq!(samples, 3600_u32.div_ceil(210));
    let after_200_seconds = "backlog 7, again within 4 min";
    assert!(
        lines
            .of("backlog")
            .iter()
            .all(|line| line == after_200_seconds)
    );
    assert_eq!(store.most_at_once.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_relay_without_an_observer_asks_for_no_backlog() {
    assert_eq!(sampled(&Arc::default(), None).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_backlog_that_fails_is_one_warning_and_no_observation() {
    let store = Arc::new(Counted {
        fails: true,
        ..Counted::default()
    });
    let lines = Lines::default();
    let (samples, log) = logged(sampled(&store, Some(lines.clone()))).await;
    assert!(SAMPLES.contains(&samples), "{samples}");
    assert!(lines.of("backlog").is_empty());
    only(
        &log,
        "backlog failed: metrics and health checks have an old one",
    );
}

#[tokio::test(start_paused = true)]
async fn duplicates_are_counted_once_in_the_sample_after_the_call() {
    let lines = Lines::default();
    let relay = Relay::new(claim(&[to("a"), to("b")]), Topics::default());
    let relay = relay.observer(lines.clone());
    relay.run(sleep(HOUR)).await.expect("no fatal error");
    assert_eq!(lines.of("duplicates"), ["duplicates 2"]);
}

/// Panics at each observation.
struct Panics;

impl Observer for Panics {
    fn observe(&self, _: &Observation<'_>) {
        panic!("a bug of the observer");
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_stops_neither_delivery_nor_other_observers() {
    let lines = Lines::default();
    let relay = Relay::new(claim(&[event(), event()]), FakeBroker::default())
        .observer(Panics)
        .observer(lines.clone());
    let (result, log) = logged(relay.run(sleep(HOUR))).await;
    result.expect("no fatal error");
    assert_eq!(lines.of("published"), ["published None 2 in 0ns"]);
    only(&log, "ERROR an observer panicked: delivery continues");
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_blocks_delays_delivery_and_is_warned_of() {
    struct Blocks;
    impl Observer for Blocks {
        fn observe(&self, observation: &Observation<'_>) {
            if matches!(observation, Observation::Published { .. }) {
                std::thread::sleep(Duration::from_millis(101));
            }
        }
    }
    let events: Vec<_> = (0..3).map(|_| event()).collect();
    let lines = Lines::default();
    let relay = Relay::new(FakeStore::one_by_one(events), FakeBroker::default())
        .observer(Blocks)
        .observer(lines.clone());
    let (result, log) = logged(relay.run(sleep(HOUR))).await;
    result.expect("no fatal error");
    assert_eq!(lines.of("published").len(), 3);
    // On a busy machine, the other observer may be slow too.
    let slow = "WARN an observer is slow: delivery waits for it";
    assert!(log.iter().any(|line| line.starts_with(slow)), "{log:#?}");
}

#[tokio::test(start_paused = true)]
async fn an_observer_may_ask_for_the_pauses() {
    struct Asks(outbox_core::Pauses, Mutex<usize>);
    impl Observer for Asks {
        fn observe(&self, observation: &Observation<'_>) {
            let pauses = self.0.list().len();
            if matches!(observation, Observation::Breaker { kind: Some(_), .. }) {
                *self.1.lock().expect("no panic while locked") = pauses;
            }
        }
    }
    let start = Instant::now();
    let broker = Topics::failing([("a", PublishErrorKind::Unavailable)]);
    let relay = Relay::new(claim(&[to("a"), to("b")]), broker);
    let asks = Arc::new(Asks(relay.pauses(), Mutex::default()));
    let relay = relay.observer(Arc::clone(&asks));
    relay.run(sleep(HOUR)).await.expect("no fatal error");
    assert_eq!(*asks.1.lock().expect("no panic while locked"), 1);
    assert_eq!(start.elapsed(), HOUR);
}
