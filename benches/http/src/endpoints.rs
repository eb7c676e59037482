//! 1,000 HTTP endpoints, of which 20 are dead, 5 hang, 5 answer 429 and 3 redirect: the delay from append to
//! publish at the other 967, compared with a run without the 33.

use crate::{Failure, median, server};
use async_trait::async_trait;
use outbox_core::{
    DlqHeap as _, Event, OutboxConfig, OutboxError, OutboxStorage as _, PublishError, Relay,
    Transport,
};
use outbox_dlq_memory::MemoryDlqHeap;
use outbox_store_memory::MemoryStore;
use outbox_transport_http::{Endpoint, Endpoints, HttpConfig, HttpTransport};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, sleep};

const ROUNDS: usize = 3;

/// How long events are appended: in each step one event for every twentieth endpoint.
const INFLOW: Duration = Duration::from_secs(12);
const STEP: Duration = Duration::from_millis(25);
const TURNS: usize = 20;

/// In this time the relay finds out which endpoints do not work.
const START: Duration = Duration::from_secs(5);

const ENDPOINTS: usize = 1000;

/// The first of the endpoints.
const FAULTY: usize = 33;

/// As the command has it by default.
const CALL_TIMEOUT: Duration = Duration::from_millis(7500);

/// The endpoints, at one server and at a port without a server.
#[derive(Debug)]
struct Table {
    server: SocketAddr,
    dead: SocketAddr,
}

#[async_trait]
impl Endpoints for Table {
    async fn endpoints(&self) -> Result<Vec<Endpoint>, OutboxError> {
        let url = |number: usize| match number {
            0..20 => format!("http://{}/{number}", self.dead),
            20..25 => format!("http://{}/hangs/{number}", self.server),
            25..30 => format!("http://{}/throttles/{number}", self.server),
            30..33 => format!("http://{}/redirects/{number}", self.server),
            number => format!("http://{}/{number}", self.server),
        };
        let numbers = 0..ENDPOINTS;
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let endpoint = |number: usize| Endpoint::new(number.to_string(), url(number), secret);
        Ok(numbers.map(endpoint).collect())
    }
}

/// The transport, and when it has published what. Clones are the same.
#[derive(Clone, Debug)]
struct Timed {
    transport: HttpTransport,
    delays: Arc<Mutex<Vec<(SystemTime, f64)>>>,
}

impl Timed {
    async fn start() -> Result<Self, Failure> {
        let server = server::start().await?;
        let dead = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        let config =
            HttpConfig::from_endpoints(Arc::new(Table { server, dead }), "{type}".parse()?)
                .allow_networks(["127.0.0.0/8".parse()?])
                .call_timeout(CALL_TIMEOUT);
        Ok(Self {
            transport: HttpTransport::open(config)?,
            delays: Arc::default(),
        })
    }

    /// Milliseconds of the published events that were made since a time, sorted.
    fn delays(&self, since: SystemTime) -> Vec<f64> {
        let delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        let later = delays.iter().filter(|(made, _)| *made >= since);
        let mut delays: Vec<f64> = later.map(|(_, delay)| *delay).collect();
        delays.sort_unstable_by(f64::total_cmp);
        delays
    }
}

#[async_trait]
impl Transport for Timed {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        let answers = self.transport.publish(events).await;
        let now = SystemTime::now();
        let taken = events
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| answer.is_ok());
        let delays = taken.map(|(event, _)| {
            let delay = now.duration_since(event.created_at).unwrap_or_default();
            (event.created_at, delay.as_secs_f64() * 1e3)
        });
        let delays: Vec<_> = delays.collect();
        let mut all = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(delays);
        drop(all);
        answers
    }

    fn destination<'a>(&'a self, event: &'a Event) -> Option<Cow<'a, str>> {
        self.transport.destination(event)
    }
}

pub(crate) async fn run() -> Result<(), Failure> {
    let mut ratios = [Vec::new(), Vec::new()];
    for round in 1..=ROUNDS {
        let without = measure(round, FAULTY).await?;
        let with = measure(round, 0).await?;
        for ((ratios, with), without) in ratios.iter_mut().zip(with).zip(without) {
            ratios.push(with / without);
        }
    }
    let [all, later] = ratios.map(median);
    println!(
        "p99 with the {FAULTY} faulty endpoints, median of {ROUNDS}: {all:.2} times that without them, \
         {later:.2} times after the first {START:?}"
    );
    Ok(())
}

/// The 99th percentile of the delays, if events go to the endpoints from `first` on: of all events, and
/// of those after [`START`].
async fn measure(round: usize, first: usize) -> Result<[f64; 2], Failure> {
    let (store, heap) = (MemoryStore::new(), Arc::new(MemoryDlqHeap::new()));
    let transport = Timed::start().await?;
    let config = OutboxConfig::builder()
        .shutdown_grace(Duration::from_secs(1))
        .build()?;
    let relay = Relay::new(store.clone(), transport.clone())
        .dlq_heap(Arc::clone(&heap))
        .config(config);
    let seen = relay.pauses();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(relay.run(async { drop(stopped.await) }));
    let begun = SystemTime::now();
    let sound = inflow(&store, first).await?;
    let ended = Instant::now();
    while transport.delays(begun).len() < sound && ended.elapsed() < INFLOW {
        sleep(STEP).await;
    }
    let mut pauses = BTreeMap::new();
    for pause in seen.list() {
        *pauses.entry(format!("{:?}", pause.kind)).or_insert(0) += 1;
    }
    let counted = heap.size().await?.map_or(0, |size| size.entries);
    let dead = store.backlog().await?.dead_letters;
    drop(stop);
    running.await??;
    let (all, later) = (transport.delays(begun), transport.delays(begun + START));
    let at = |delays: &[f64], part: f64| delays[((delays.len() - 1) as f64 * part) as usize];
    let p99 = [at(&all, 0.99), at(&later, 0.99)];
    println!(
        "{round}, endpoints {first} to 999: {} of {sound} events at the sound ones, median {:.1} ms, \
         p99 {:.1} ms, {:.1} ms after the first {START:?}; {counted} counted, {dead} dead letters; \
         paused: {pauses:?}",
        all.len(),
        at(&all, 0.5),
        p99[0],
        p99[1]
    );
    Ok(p99)
}

/// Appends events for the endpoints from `first` on, and returns how many are for sound ones.
async fn inflow(store: &MemoryStore, first: usize) -> Result<usize, Failure> {
    let (start, mut sound, mut step) = (Instant::now(), 0, 0);
    let mut steps = interval(STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while start.elapsed() < INFLOW {
        steps.tick().await;
        step += 1;
        let turn = (first..ENDPOINTS).filter(|number| number % TURNS == step % TURNS);
        let events: Vec<Event> = turn
            .clone()
            .map(|number| {
                let key = format!("{number} {}", step % 100);
                Event::new(number.to_string(), "{\"order\":7}").ordering_key(key)
            })
            .collect();
        store.append(&events)?;
        sound += turn.filter(|number| *number >= FAULTY).count();
    }
    Ok(sound)
}
