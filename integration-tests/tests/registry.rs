//! The row that a relay writes, on memory with tokio's paused clock.

use async_trait::async_trait;
use outbox_conformance::transport::MemoryBroker;
use outbox_core::{
    ErrorKind, Event, OutboxConfig, OutboxError, OutboxStorage, Overview, PublishError,
    PublishErrorKind, Relay, RelayId, RelayProgram, RelayRegistry, RelayReport, Transport,
};
use outbox_store_memory::MemoryStore;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

const GRACE: Duration = Duration::from_secs(20);

fn program() -> RelayProgram {
    RelayProgram::new("web-1", 7, "1.2.3")
}

fn config() -> OutboxConfig {
    let config = OutboxConfig::builder().shutdown_grace(GRACE).build();
    config.expect("a config")
}

/// Runs a relay while `look` looks, and returns how long its end takes.
async fn while_running(relay: Relay, look: impl Future<Output = ()>) -> Duration {
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(relay.config(config()).run(async { drop(stopped.await) }));
    look.await;
    let start = Instant::now();
    drop(stop);
    let ended = running.await.expect("no panic");
    ended.expect("a clean end");
    start.elapsed()
}

/// A broker that is away.
#[derive(Debug)]
struct Away;

#[async_trait]
impl Transport for Away {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        PublishError::new(PublishErrorKind::Unavailable).for_all(events.len())
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_has_a_row_while_it_runs() {
    let store = MemoryStore::new();
    let relay = Relay::new(store.clone(), MemoryBroker::new()).registry(store.clone(), program());
    while_running(relay, async {
        sleep(Duration::from_secs(95)).await;
        let overview = store.overview(10).await.expect("seen");
        let [row] = &overview.relays[..] else {
            panic!("one relay is expected: {overview:?}")
        };
        assert_eq!(row.program, program());
        let since = overview.now.duration_since(row.since).expect("earlier");
        assert!(since > Duration::from_secs(90), "{since:?}");
        let heard = overview.now.duration_since(row.heard).expect("earlier");
        assert!(heard <= RelayReport::INTERVAL, "{heard:?}");
        assert!(row.last_pass.is_some(), "an idle relay passes too");
    })
    .await;
    assert!(store.overview(10).await.expect("seen").relays.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_row_has_the_pauses_of_its_relay_soon() {
    let store = MemoryStore::new();
    let relay = Relay::new(store.clone(), Away).registry(store.clone(), program());
    while_running(relay, async {
        sleep(Duration::from_secs(13)).await;
        store.append(&[Event::new("waits", "")]).expect("appended");
        sleep(Duration::from_secs(3)).await;
        let overview = store.overview(10).await.expect("seen");
        let pauses = &overview.relays[0].pauses;
        assert_eq!(pauses.len(), 1);
        assert_eq!(pauses[0].kind, "unavailable");
        assert_eq!(pauses[0].destination, None);
    })
    .await;
}

/// Counts the reports.
#[derive(Clone, Debug, Default)]
struct Counted(Arc<AtomicU32>);

#[async_trait]
impl RelayRegistry for Counted {
    async fn report(&self, _: &RelayReport) -> Result<(), OutboxError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn withdraw(&self, _: RelayId) -> Result<(), OutboxError> {
        Ok(())
    }

    async fn overview(&self, _: usize) -> Result<Overview, OutboxError> {
        Ok(Overview::new(SystemTime::UNIX_EPOCH))
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_reports_once_in_ten_seconds_while_nothing_changes() {
    for is_away in [false, true] {
        let (store, reports) = (MemoryStore::new(), Counted::default());
        store.append(&[Event::new("waits", "")]).expect("appended");
        let relay = if is_away {
            Relay::new(store, Away)
        } else {
            Relay::new(store, MemoryBroker::new())
        };
        let relay = relay.registry(reports.clone(), program());
        while_running(relay, sleep(Duration::from_secs(3605))).await;
        let count = reports.0.load(Ordering::SeqCst);
        // The start of a pause is one more.
        assert!((361..=362).contains(&count), "away: {is_away}: {count}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_that_of_its_relay() {
    let store = MemoryStore::new();
    store
        .append(&[Event::new("claimed", "")])
        .expect("appended");
    let relay = Relay::new(store.clone(), Never).registry(store.clone(), program());
    while_running(relay, async {
        sleep(Duration::from_secs(1)).await;
        let overview = store.handle().overview(10).await.expect("seen");
        assert_eq!(overview.claims.len(), 1);
        let relay = overview.relay_of(&overview.claims[0]);
        assert_eq!(relay.map(|relay| relay.id), Some(overview.relays[0].id));
    })
    .await;
}

/// A broker that never answers.
#[derive(Debug)]
struct Never;

#[async_trait]
impl Transport for Never {
    async fn publish(&self, _: &[Event]) -> Vec<Result<(), PublishError>> {
        pending().await
    }
}

/// A registry that fails, or hangs.
#[derive(Debug)]
struct Broken {
    hangs: bool,
}

impl Broken {
    async fn answer<T>(&self) -> Result<T, OutboxError> {
        if self.hangs {
            pending::<()>().await;
        }
        let kind = ErrorKind::Invalid;
        Err(OutboxError::new(kind, "test", "report"))
    }
}

#[async_trait]
impl RelayRegistry for Broken {
    async fn report(&self, _: &RelayReport) -> Result<(), OutboxError> {
        self.answer().await
    }

    async fn withdraw(&self, _: RelayId) -> Result<(), OutboxError> {
        self.answer().await
    }

    async fn overview(&self, _: usize) -> Result<Overview, OutboxError> {
        self.answer().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_fails_or_hangs_stops_no_delivery_and_no_shutdown() {
    for hangs in [false, true] {
        let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
        let relay = Relay::new(store.clone(), broker.clone()).registry(Broken { hangs }, program());
        let ended_after = while_running(relay, async {
            sleep(Duration::from_secs(60)).await;
            store.append(&[Event::new("late", "")]).expect("appended");
            sleep(Duration::from_secs(1)).await;
            let left = store.backlog().await.expect("counted");
            assert_eq!(left.pending, 0, "hangs: {hangs}");
        })
        .await;
        assert!(ended_after <= GRACE, "hangs: {hangs}: {ended_after:?}");
    }
}
