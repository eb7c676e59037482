//! A relay with many destinations, on memory with tokio's paused clock: what one of them does costs the
//! others nothing.

use async_trait::async_trait;
use integration_tests::assert_ordered_per_key;
use outbox_core::{
    DeadLetterFilter, DeadLetters, DlqEntry, Event, EventId, OutboxConfig, OutboxConfigBuilder,
    OutboxError, OutboxStorage, Pauses, PublishError, PublishErrorKind, QuarantineOutcome, Relay,
    Transport,
};
use outbox_dlq_memory::MemoryDlqHeap;
use outbox_store_memory::MemoryStore;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// What a destination does with the events that it gets.
#[derive(Clone, Copy, Debug)]
enum Does {
    Accepts,
    AnswersAfter(Duration),
    Fails(PublishErrorKind),
}

/// A broker whose destinations are the types of the events.
#[derive(Debug, Default)]
struct Post {
    state: Mutex<State>,
    keeps_order: bool,
    names: Names,
}

/// What names the destination of an event, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Names {
    #[default]
    Alike,
    /// Only the errors name it.
    InErrors,
    /// The errors give it another name.
    Differently,
    Nothing,
}

const ALL_NAMES: [Names; 3] = [Names::Alike, Names::InErrors, Names::Differently];

#[derive(Debug, Default)]
struct State {
    rules: HashMap<String, Does>,
    poison: HashSet<EventId>,
    received: Vec<(Instant, Event)>,
    calls: HashMap<String, usize>,
    /// How often an event of each destination was tried.
    tries: HashMap<String, usize>,
    running: usize,
    most: usize,
}

impl Post {
    fn naming(names: Names) -> Self {
        Self {
            names,
            ..Self::default()
        }
    }

    fn set(&self, destination: &str, does: Does) {
        let mut state = self.state.lock().expect("no panic while locked");
        state.rules.insert(destination.to_owned(), does);
    }

    fn received(&self) -> Vec<(Instant, Event)> {
        let state = self.state.lock().expect("no panic while locked");
        state.received.clone()
    }

    fn arrived(&self, destination: &str) -> Vec<(Instant, Event)> {
        let mut received = self.received();
        received.retain(|(_, event)| event.event_type == destination);
        received
    }

    fn calls(&self, destination: &str) -> usize {
        let state = self.state.lock().expect("no panic while locked");
        state.calls.get(destination).copied().unwrap_or_default()
    }

    fn tries(&self, destination: &str) -> usize {
        let state = self.state.lock().expect("no panic while locked");
        state.tries.get(destination).copied().unwrap_or_default()
    }

    fn starts(&self, events: &[Event]) -> Does {
        let mut state = self.state.lock().expect("no panic while locked");
        state.running += 1;
        state.most = state.most.max(state.running);
        let name = &events[0].event_type;
        *state.calls.entry(name.clone()).or_default() += 1;
        if matches!(self.names, Names::Alike | Names::Differently) {
            let same = events.iter().all(|event| event.event_type == *name);
            assert!(same, "a call has events of several destinations");
        }
        if events.iter().any(|event| state.poison.contains(&event.id)) {
            return Does::AnswersAfter(HOUR);
        }
        state.rules.get(name).copied().unwrap_or(Does::Accepts)
    }

    fn ends(&self) {
        let mut state = self.state.lock().expect("no panic while locked");
        state.running -= 1;
    }

    fn take(&self, event: &Event) -> Result<(), PublishError> {
        let mut state = self.state.lock().expect("no panic while locked");
        *state.tries.entry(event.event_type.clone()).or_default() += 1;
        if let Some(Does::Fails(kind)) = state.rules.get(&event.event_type) {
            let error = PublishError::new(*kind);
            let name = event.event_type.as_str();
            return Err(match self.names {
                Names::Alike | Names::InErrors => error.with_destination(name),
                Names::Differently => error.with_destination(format!("https://{name}.example")),
                Names::Nothing => error,
            });
        }
        state.received.push((Instant::now(), event.clone()));
        Ok(())
    }
}

struct Running<'p>(&'p Post);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.ends();
    }
}

#[async_trait]
impl Transport for Post {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        let does = self.starts(events);
        let _running = Running(self);
        if let Does::AnswersAfter(time) = does {
            sleep(time).await;
        }
        events.iter().map(|event| self.take(event)).collect()
    }

    fn keeps_order(&self) -> bool {
        self.keeps_order
    }

    fn destination<'a>(&'a self, event: &'a Event) -> Option<Cow<'a, str>> {
        let is_named = matches!(self.names, Names::Alike | Names::Differently);
        is_named.then(|| event.event_type.as_str().into())
    }
}

struct Fixture {
    store: Arc<MemoryStore>,
    post: Arc<Post>,
    heap: Arc<MemoryDlqHeap>,
    pauses: Pauses,
    stop: oneshot::Sender<()>,
    relay: JoinHandle<Result<(), OutboxError>>,
}

impl Fixture {
    fn start(post: Post, config: OutboxConfigBuilder) -> Self {
        Self::on(Arc::new(MemoryStore::new()), Arc::new(post), config)
    }

    fn on(store: Arc<MemoryStore>, post: Arc<Post>, config: OutboxConfigBuilder) -> Self {
        let heap = Arc::new(MemoryDlqHeap::new());
        let relay = Relay::new(Arc::clone(&store), Arc::clone(&post))
            .dlq_heap(Arc::clone(&heap))
            .config(config.build().expect("a valid config"));
        let pauses = relay.pauses();
        let (stop, stopped) = oneshot::channel();
        let relay = tokio::spawn(relay.run(async { drop(stopped.await) }));
        Self {
            store,
            post,
            heap,
            pauses,
            stop,
            relay,
        }
    }

    /// Stops the relay, and starts another one.
    async fn restart(self) -> Self {
        let (store, post) = (Arc::clone(&self.store), Arc::clone(&self.post));
        self.stop().await;
        Self::on(store, post, default())
    }

    /// Appends one event to each destination.
    fn append(&self, destinations: &[&str]) -> Vec<Event> {
        let events: Vec<_> = destinations
            .iter()
            .map(|name| Event::new(*name, "{}"))
            .collect();
        self.store.append(&events).expect("appended");
        events
    }

    async fn pending(&self) -> u64 {
        self.store.backlog().await.expect("a backlog").pending
    }

    /// Nothing was counted, and nothing was quarantined.
    async fn assert_no_event_is_blamed(&self) {
        use outbox_core::DlqHeap;
        let size = self.heap.size().await.expect("a size");
        assert_eq!(size.map(|size| size.entries), Some(0));
        assert_eq!(self.dead_letters().await, 0);
    }

    /// Moves an event to the quarantine, as an operator may.
    async fn quarantine(&self, id: EventId) {
        let now = SystemTime::now();
        let entry = DlqEntry::new(id, 1, now, now);
        let moved = self.store.quarantine_events(&[entry]).await;
        assert_eq!(moved.expect("an answer"), [QuarantineOutcome::Moved]);
    }

    async fn dead_letters(&self) -> usize {
        let all = DeadLetterFilter::all();
        self.store
            .list(&all, None, 100)
            .await
            .expect("a list")
            .len()
    }

    async fn stop(self) {
        self.stop.send(()).expect("the relay runs");
        let result = self.relay.await.expect("the relay did not panic");
        result.expect("the relay did not fail");
    }
}

fn default() -> OutboxConfigBuilder {
    OutboxConfig::builder()
}

fn misconfigured() -> Does {
    Does::Fails(PublishErrorKind::Misconfigured)
}

fn unavailable() -> Does {
    Does::Fails(PublishErrorKind::Unavailable)
}

#[tokio::test(start_paused = true)]
async fn a_missing_destination_costs_no_event_and_delays_no_other() {
    let fixture = Fixture::start(Post::default(), default());
    fixture.post.set("typo", misconfigured());
    for _ in 0..1000 {
        fixture.append(&["typo", "orders"]);
        sleep(100 * MS).await;
    }
    let orders = fixture.post.arrived("orders");
    assert_eq!(orders.len(), 1000);
    assert_eq!(fixture.pending().await, 1000);
    fixture.assert_no_event_is_blamed().await;
    // 100 seconds with pauses of 15 to 30 s: one call each, and one at first.
    let calls = fixture.post.calls("typo");
    assert!((4..=8).contains(&calls), "{calls} calls");
    let pauses = fixture.pauses.list();
    assert_eq!(pauses.len(), 1);
    assert_eq!(pauses[0].destination.as_deref(), Some("typo"));
    assert_eq!(pauses[0].kind, PublishErrorKind::Misconfigured);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn when_a_destination_is_back_its_events_continue_within_a_second_of_the_probe() {
    for names in ALL_NAMES {
        let fixture = Fixture::start(Post::naming(names), default());
        fixture.post.set("mail", misconfigured());
        let events: Vec<_> = (0..5000)
            .map(|number: usize| {
                Event::new("mail", number.to_string()).ordering_key(format!("key {}", number % 700))
            })
            .collect();
        fixture.store.append(&events).expect("appended");
        sleep(HOUR).await;
        assert!(fixture.post.arrived("mail").is_empty());
        fixture.post.set("mail", Does::Accepts);
        let start = Instant::now();
        while fixture.pending().await > 0 {
            let pauses = fixture.pauses.list();
            assert!(start.elapsed() < 40 * SECOND, "{names:?}: {pauses:?}");
            sleep(10 * MS).await;
        }
        let arrived = fixture.post.arrived("mail");
        let (probe, last) = (arrived[0].0, arrived[arrived.len() - 1].0);
        assert!(last - probe < SECOND, "{names:?}: {:?}", last - probe);
        let arrived: Vec<_> = arrived.into_iter().map(|(_, event)| event).collect();
        assert_eq!(arrived.len(), 5000, "each event once");
        assert_ordered_per_key(&arrived);
        assert_eq!(fixture.pauses.list(), [], "{names:?}");
        fixture.assert_no_event_is_blamed().await;
        fixture.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_pauses_of_a_destination_grow_also_if_only_errors_name_it() {
    for names in ALL_NAMES {
        let fixture = Fixture::start(Post::naming(names), default());
        fixture.post.set("mail", unavailable());
        fixture.append(&["mail", "mail"]);
        sleep(HOUR).await;
        // The pauses are 1, 2, 4, … s up to 30 s, and half of each is random.
        let tries = fixture.post.tries("mail");
        assert!((120..=260).contains(&tries), "{names:?}: {tries} tries");
        let pauses = fixture.pauses.list();
        assert_eq!(pauses.len(), 1, "{names:?}: {pauses:?}");
        assert!(pauses[0].since + SECOND > HOUR, "{names:?}: {pauses:?}");
        fixture.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_is_restarted_continues_with_held_events_at_the_first_answer() {
    let fixture = Fixture::start(Post::default(), default());
    fixture.post.set("mail", misconfigured());
    fixture.append(&vec!["mail"; 3000]);
    sleep(10 * SECOND).await;
    let fixture = fixture.restart().await;
    fixture.post.set("mail", Does::Accepts);
    sleep(SECOND).await;
    assert_eq!(fixture.post.arrived("mail").len(), 0);
    fixture.append(&["mail"]);
    sleep(SECOND).await;
    assert_eq!(fixture.post.arrived("mail").len(), 3001);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn events_that_name_no_destination_before_do_not_prolong_its_pause() {
    let fixture = Fixture::start(Post::naming(Names::InErrors), default());
    fixture.post.set("mail", unavailable());
    for _ in 0..600 {
        fixture.append(&["mail", "orders"]);
        sleep(100 * MS).await;
    }
    // Each event once, and one probe after each pause: of 1, 2, 4, 8 and 16 s at most.
    let probes = fixture.post.tries("mail") - 600;
    assert!((5..=12).contains(&probes), "{probes} probes");
    fixture.post.set("mail", Does::Accepts);
    // The longest pause ends, and the probes follow.
    sleep(31 * SECOND).await;
    assert_eq!(fixture.post.arrived("mail").len(), 600);
    assert_eq!(fixture.pauses.list(), []);
    fixture.assert_no_event_is_blamed().await;
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_destination_for_which_no_event_waits_is_forgotten_after_five_minutes() {
    for names in ALL_NAMES {
        let fixture = Fixture::start(Post::naming(names), default());
        fixture.post.set("typo", misconfigured());
        let events = fixture.append(&["typo"]);
        sleep(60 * SECOND).await;
        assert_eq!(fixture.pauses.list().len(), 1);
        fixture.quarantine(events[0].id).await;
        sleep(340 * SECOND).await;
        assert_eq!(fixture.pauses.list(), [], "{names:?}");
        fixture.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_hangs_delays_its_neighbours_by_no_more_than_a_second() {
    let fixture = Fixture::start(Post::default(), default());
    fixture.post.set("slow", Does::AnswersAfter(HOUR));
    for _ in 0..600 {
        let start = Instant::now();
        let events = fixture.append(&["slow", "orders"]);
        sleep(SECOND).await;
        let arrived = fixture.post.arrived("orders");
        let (at, event) = arrived.last().expect("an event arrived");
        assert_eq!(event.id, events[1].id);
        assert!(*at - start <= SECOND, "{:?}", *at - start);
    }
    // Each call takes ten seconds, and a pause follows.
    let calls = fixture.post.calls("slow");
    assert!(calls <= 60, "{calls} calls");
    assert_eq!(fixture.pending().await, 600, "only those that hang wait");
    fixture.assert_no_event_is_blamed().await;
    assert_eq!(fixture.pauses.list().len(), 1);
    fixture.stop().await;
}

/// The worker does not know yet whether the broker works, so it waits for its first claim.
#[tokio::test(start_paused = true)]
async fn a_destination_that_hangs_in_the_first_claim_delays_its_neighbours_by_no_more_than_a_second()
 {
    let fixture = Fixture::start(Post::default(), default());
    fixture.post.set("slow", Does::AnswersAfter(HOUR));
    fixture.post.set("orders", Does::AnswersAfter(SECOND / 50));
    fixture.append(&["slow", "orders"]);
    sleep(SECOND / 10).await;
    let later = fixture.append(&["orders"]);
    sleep(SECOND).await;
    let arrived = fixture.post.arrived("orders");
    let (_, event) = arrived.last().expect("an event arrived");
    assert_eq!(event.id, later[0].id);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_answers_slowly_gets_each_event_once() {
    let fixture = Fixture::start(Post::default(), default());
    fixture.post.set("slow", Does::AnswersAfter(3 * SECOND));
    let events: Vec<_> = (0..20)
        .map(|number: usize| Event::new("slow", number.to_string()).ordering_key("one"))
        .collect();
    fixture.store.append(&events).expect("appended");
    sleep(100 * SECOND).await;
    let arrived = fixture.post.arrived("slow");
    let ids: Vec<_> = arrived.iter().map(|(_, event)| event.id).collect();
    let expected: Vec<_> = events.iter().map(|event| event.id).collect();
    assert_eq!(ids, expected);
    assert_eq!(fixture.pending().await, 0);
    fixture.assert_no_event_is_blamed().await;
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_throttled_destination_waits_as_long_as_it_asks() {
    for names in ALL_NAMES {
        let fixture = Fixture::start(Post::naming(names), default());
        let throttled = PublishErrorKind::Throttled(20 * SECOND);
        fixture.post.set("mail", Does::Fails(throttled));
        fixture.append(&["mail", "mail", "orders"]);
        sleep(SECOND).await;
        fixture.post.set("mail", Does::Accepts);
        assert_eq!(fixture.post.arrived("orders").len(), 1);
        sleep(18 * SECOND).await;
        assert_eq!(fixture.post.tries("mail"), 2, "{names:?}");
        sleep(2 * SECOND).await;
        assert_eq!(fixture.post.arrived("mail").len(), 2, "{names:?}");
        assert_eq!(fixture.pauses.list(), [], "{names:?}");
        fixture.assert_no_event_is_blamed().await;
        fixture.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_successors_of_a_held_event_wait_with_it_also_for_other_destinations() {
    for keeps_order in [false, true] {
        let post = Post {
            keeps_order,
            ..Post::default()
        };
        let fixture = Fixture::start(post, default());
        fixture.post.set("mail", misconfigured());
        let kinds = ["orders", "mail", "orders", "mail", "orders"];
        let events: Vec<_> = kinds
            .iter()
            .enumerate()
            .map(|(number, name)| Event::new(*name, number.to_string()).ordering_key("one"))
            .collect();
        fixture.store.append(&events).expect("appended");
        sleep(5 * SECOND).await;
        assert_eq!(fixture.post.received().len(), 1);
        fixture.post.set("mail", Does::Accepts);
        sleep(40 * SECOND).await;
        let received = fixture.post.received().into_iter();
        let received: Vec<_> = received.map(|(_, event)| event).collect();
        assert_eq!(received.len(), 5);
        assert_ordered_per_key(&received);
        fixture.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_makes_its_destination_hang_is_quarantined_and_the_others_arrive() {
    let config = default().failure_threshold(2).publish_timeout(2 * SECOND);
    let fixture = Fixture::start(Post::default(), config.retry_max(SECOND));
    let events: Vec<_> = (0..10).map(|_| Event::new("mail", "{}")).collect();
    let poison = events[4].id;
    let state = &fixture.post.state;
    state.lock().expect("no panic").poison.insert(poison);
    fixture.store.append(&events).expect("appended");
    let start = Instant::now();
    while fixture.pending().await > 0 {
        assert!(start.elapsed() < HOUR, "{:?}", fixture.pauses.list());
        fixture.append(&["mail"]);
        sleep(5 * SECOND).await;
    }
    assert_eq!(fixture.dead_letters().await, 1);
    let arrived = fixture.post.arrived("mail");
    assert!(arrived.iter().all(|(_, event)| event.id != poison));
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_only_the_errors_name_pauses_for_its_own_events() {
    let fixture = Fixture::start(Post::naming(Names::InErrors), default());
    fixture.post.set("mail", misconfigured());
    for _ in 0..100 {
        fixture.append(&["mail", "orders"]);
        sleep(100 * MS).await;
    }
    assert_eq!(fixture.post.arrived("orders").len(), 100);
    fixture.post.set("mail", Does::Accepts);
    sleep(31 * SECOND).await;
    assert_eq!(fixture.post.arrived("mail").len(), 100);
    fixture.assert_no_event_is_blamed().await;
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_destination_is_missing_is_never_blamed() {
    for names in [Names::InErrors, Names::Nothing] {
        let fixture = Fixture::start(Post::naming(names), default());
        fixture.post.set("typo", misconfigured());
        fixture.append(&["typo"]);
        for _ in 0..360 {
            fixture.append(&["orders"]);
            sleep(10 * SECOND).await;
        }
        assert!(fixture.post.tries("typo") > 10, "{names:?}");
        assert!(fixture.post.arrived("orders").len() > 300, "{names:?}");
        fixture.assert_no_event_is_blamed().await;
        fixture.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn as_many_claims_are_published_at_once_as_the_option_says() {
    for concurrency in [1, 3, 8] {
        let config = default().batch_size(5).concurrency(concurrency);
        let fixture = Fixture::start(Post::default(), config);
        fixture.post.set("mail", Does::AnswersAfter(100 * MS));
        fixture.append(&["mail"; 200]);
        while fixture.pending().await > 0 {
            sleep(10 * MS).await;
        }
        let most = fixture.post.state.lock().expect("no panic").most;
        assert_eq!(most, concurrency);
        fixture.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_all_claims_within_the_grace_time_and_releases_what_was_not_published() {
    let config = default().batch_size(5).concurrency(4);
    let fixture = Fixture::start(Post::default(), config.shutdown_grace(2 * SECOND));
    fixture.post.set("slow", Does::AnswersAfter(HOUR));
    fixture.post.set("mail", Does::AnswersAfter(SECOND));
    fixture.append(&["orders"]);
    sleep(100 * MS).await;
    fixture.append(&["mail", "slow", "mail", "mail", "mail", "mail", "mail"]);
    sleep(100 * MS).await;
    let (store, heap) = (Arc::clone(&fixture.store), Arc::clone(&fixture.heap));
    let start = Instant::now();
    fixture.stop().await;
    assert!(start.elapsed() <= 2 * SECOND, "{:?}", start.elapsed());
    let backlog = store.backlog().await.expect("a backlog");
    assert_eq!((backlog.pending, backlog.in_flight), (1, 0));
    drop(heap);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_alone_does_not_reach_the_broker_leaves_the_events_to_another() {
    for names in [Names::Alike, Names::Nothing] {
        let (store, cut_off) = (Arc::new(MemoryStore::new()), Arc::new(Post::naming(names)));
        let cut = Fixture::on(Arc::clone(&store), Arc::clone(&cut_off), default());
        let other = Fixture::on(store, Arc::new(Post::naming(names)), default());
        cut.append(&["orders"; 100]);
        sleep(SECOND).await;
        cut_off.set("orders", Does::AnswersAfter(HOUR));
        let mut appended = HashMap::new();
        for count in [[20_000].as_slice(), &[10; 600]].concat() {
            let events = other.append(&vec!["orders"; count]);
            appended.extend(events.iter().map(|event| (event.id, Instant::now())));
            sleep(100 * MS).await;
        }
        cut.stop().await;
        sleep(60 * SECOND).await;
        let received = other.post.received().into_iter();
        let delay = |(at, event): (Instant, Event)| Some(at - *appended.get(&event.id)?);
        let delays: Vec<Duration> = received.filter_map(delay).collect();
        assert_eq!(
            delays.len(),
            appended.len(),
            "{names:?}: events that arrived"
        );
        let late = delays.iter().filter(|delay| **delay > SECOND).count();
        assert!(late <= 1000, "{names:?}: {late} events were delayed");
        other.assert_no_event_is_blamed().await;
        other.stop().await;
    }
}
