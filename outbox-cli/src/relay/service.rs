//! A store with its relay.

use super::drain::drained;
use super::orders::Orders;
use super::runner::Start;
use crate::failure::Failure;
use crate::health::StoreHealth;
use crate::wiring::{self, Outlet, Pools};
use outbox_core::{ErrorText, MetricsObserver, OutboxStorage, Relay, RelayProgram, Transport};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A relay whose store, heap and destination are open.
pub(super) struct Service {
    /// The name of the store, unique in this process: for logs, labels and reports.
    name: Arc<str>,
    relay: Relay,
    storage: Arc<dyn OutboxStorage>,
    outlet: Outlet,
    /// None: it runs until it is stopped. Otherwise until the store is drained, or has made no progress
    /// for this time.
    drains: Option<Duration>,
    pools: Pools,
}

impl Service {
    /// Opens the store, the heap and the destination. Each of their pools has the size of the start.
    pub(super) async fn open(start: &Start) -> Result<Self, Failure> {
        let pools = Pools::of(start.size);
        let opened = Self::open_within(start, &pools).await;
        if opened.is_err() {
            pools.close().await;
        }
        opened
    }

    async fn open_within(start: &Start, pools: &Pools) -> Result<Self, Failure> {
        let settings = &start.settings;
        let (urls, config) = (&settings.urls, settings.config.clone());
        let store = wiring::open_store_for_relay(&urls.store, settings.block_keys, pools).await?;
        let heap = wiring::open_heap_for_relay(&urls.heap, pools).await?;
        let publish_timeout = config.publish_timeout();
        let outlet = wiring::outlet(&settings.to, publish_timeout, Some((&urls.store, pools)))?;
        let relay = Relay::new(Arc::clone(&store.storage), Arc::new(outlet.clone()))
            .dlq_heap(heap)
            .config(config)
            .registry(store.registry, program().publishing_to(outlet.place()));
        let relay = match &start.health {
            Some(health) => observed(relay, health, &settings.name),
            None => relay,
        };
        Ok(Self {
            name: Arc::clone(&settings.name),
            relay,
            storage: store.storage,
            outlet,
            drains: start.drains.then_some(settings.drain_timeout),
            pools: pools.clone(),
        })
    }

    /// Publishes until the orders end, or the store is drained, or it fails.
    pub(super) async fn run(self, mut orders: Orders) -> Result<(), Failure> {
        tracing::info!(store = &*self.name, "relay started");
        let ended = Mutex::new(Ok(()));
        let (storage, outlet) = (&*self.storage, &self.outlet);
        let shutdown = async {
            let why = tokio::select! {
                () = obey(&mut orders, outlet) => Ok(()),
                () = outlet.closed() => Err(Failure::reader_gone()),
                why = drained(storage, outlet, self.drains) => why,
            };
            *ended.lock().unwrap_or_else(PoisonError::into_inner) = why;
        };
        // A broker may take long to answer, and events need not wait for that.
        let check = async {
            log_check(outlet).await;
            std::future::pending::<()>().await;
        };
        let result = tokio::select! {
            result = self.relay.run(shutdown) => result,
            () = check => Ok(()),
        };
        self.pools.close().await;
        result?;
        ended.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A relay whose metrics and health are shown.
fn observed(relay: Relay, health: &StoreHealth, name: &Arc<str>) -> Relay {
    health.runs(relay.pauses());
    let metrics = MetricsObserver::new(Arc::clone(name));
    relay.observer(health.clone()).observer(metrics)
}

/// What `outbox status` shows of this process.
fn program() -> RelayProgram {
    let host = hostname::get().unwrap_or_default();
    RelayProgram::new(
        &host.to_string_lossy(),
        std::process::id(),
        env!("CARGO_PKG_VERSION"),
    )
}

/// Returns when the service must stop. At a hangup the destination is opened again, as log rotation
/// wants it; but if that is a terminal, the terminal is gone.
async fn obey(orders: &mut Orders, outlet: &Outlet) {
    while orders.hangup().await {
        if outlet.is_terminal() {
            return;
        }
        if let Err(error) = outlet.reopen().await {
            // The next publish tries again.
            tracing::warn!(%error, "the destination cannot be opened again");
        }
    }
}

/// Logs what the destination says of itself. The relay starts in any case.
async fn log_check(outlet: &Outlet) {
    let check = outlet.check().await;
    let destination = outlet.shown();
    for note in &check.notes {
        tracing::info!(destination, "{note}");
    }
    for warning in &check.warnings {
        tracing::warn!(destination, "{warning}");
    }
    for problem in &check.problems {
        let error = ErrorText::from_error(problem);
        tracing::warn!(destination, %error, "events cannot be published yet");
    }
}
