//! `outbox demo`: a shop, its outbox, a difficult broker, and an account of every event.

mod broker;
mod postgres;
mod remote;
mod report;
mod shop;
mod sqlite;

use crate::cli::DemoOptions;
use crate::failure::Failure;
use crate::log::note;
use crate::settings::Urls;
use crate::wiring::{self, Store};
use broker::Broker;
use outbox_core::{OutboxConfig, OutboxError, Relay};
use remote::Remote;
use report::Account;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A demo that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(options: &DemoOptions) -> Result<(), Failure> {
    let orders = match &options.data {
        None => shop::parse(shop::ORDERS, "the built-in orders")?,
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|error| {
                Failure::Input(format!("cannot read {}: {error}", path.display()))
            })?;
            shop::parse(&text, &path.display().to_string())?
        }
    };
    let config = config()?;
    let place = match &options.store {
        None => sqlite::afresh(&options.dir)?,
        Some(url) => postgres::afresh(url).await?,
    };
    let (broker, mut remote) = match &options.to {
        None => (Broker::default(), None),
        Some(url) => real(url, &config).await?,
    };
    let urls = Urls::of_store(&place.url);
    wiring::migrate(&wiring::store_and_heap(&urls)?).await?;
    let backend = wiring::open_store(&urls.store).await?;
    let heap = wiring::open_heap(&urls.heap).await?;
    note(format_args!(
        "{} orders go into {}, which each run creates again",
        orders.len(),
        place.name
    ));

    let began = Instant::now();
    let producer = tokio::spawn(shop::produce(place.shop, orders));
    let relay = Relay::new(Arc::clone(&backend.storage), Arc::new(broker.clone()))
        .dlq_heap(heap)
        .config(config);
    let (finished, stop) = tokio::sync::oneshot::channel::<()>();
    let watch = async {
        let produced = follow(producer, &backend, &broker).await;
        drop(finished);
        produced
    };
    let (relayed, produced) = tokio::join!(relay.run(async { drop(stop.await) }), watch);
    relayed?;
    let (produced, took) = (produced?, began.elapsed());
    if let Some(remote) = &mut remote {
        let events = remote.read().await?;
        broker.record().read_back(&events);
    }
    let account = Account {
        store: &place.shown,
        hides_password: place.hides_password,
        is_read_back: remote.is_some(),
        produced: &produced,
        took,
    };
    report::report(&account, &backend, &broker).await
}

/// A real broker, and the place there that is read back.
async fn real(
    url: &str,
    config: &OutboxConfig,
) -> Result<(Broker, Option<Box<dyn Remote>>), Failure> {
    let remote = remote::afresh(url).await?;
    let separator = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{separator}{}", remote.parameters());
    let outlet = wiring::outlet(&url, config.publish_timeout(), None)?;
    note(format_args!(
        "the events go to {} at {}, which each run creates again",
        remote.name(),
        outlet.shown()
    ));
    Ok((Broker::at(outlet), Some(remote)))
}

/// Short delays, so that events that keep failing reach the quarantine while one watches.
fn config() -> Result<OutboxConfig, OutboxError> {
    let ms = Duration::from_millis;
    OutboxConfig::builder()
        .failure_threshold(4)
        .retry_initial(ms(20))
        .retry_max(ms(200))
        .breaker_initial(ms(50))
        .breaker_max(ms(200))
        .store_retry_max(ms(200))
        .heap_retry_max(ms(200))
        .heap_interval(ms(200))
        .poll_interval(ms(50))
        .build()
}

/// Shows progress until the producer is done and nothing is pending.
async fn follow(
    mut producer: tokio::task::JoinHandle<Result<shop::Produced, Failure>>,
    backend: &Store,
    broker: &Broker,
) -> Result<shop::Produced, Failure> {
    let deadline = Instant::now() + PATIENCE;
    let mut produced = None;
    loop {
        tokio::select! {
            result = &mut producer, if produced.is_none() => {
                let result = result.map_err(|error| Failure::Failed(error.to_string()))?;
                produced = Some(result?);
            }
            () = tokio::time::sleep(Duration::from_millis(250)) => {}
        }
        let backlog = backend.storage.backlog().await?;
        let delivered = broker.record().delays.len();
        let (pending, dead) = (backlog.pending, backlog.dead_letters);
        note(format_args!(
            "  delivered {delivered:>5}   pending {pending:>4}   quarantined {dead:>2}"
        ));
        match produced {
            Some(produced) if pending == 0 => return Ok(produced),
            _ if Instant::now() > deadline => {
                let message = format!("still {pending} events pending after {PATIENCE:?}");
                return Err(Failure::Failed(message));
            }
            _ => {}
        }
    }
}
