//! `outbox relay`.

use crate::cli::Relay as Options;
use crate::exit::{Outcome, bad_input, failed};
use crate::ndjson::NdjsonTransport;
use crate::wiring;
use outbox_core::{OutboxConfig, OutboxStorage, Relay};
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// What a `--config` file may hold.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    store: Option<String>,
    to: Option<String>,
    heap: Option<String>,
    lease: Option<String>,
    publish_timeout: Option<String>,
    batch_size: Option<usize>,
    threshold: Option<u32>,
}

pub(crate) async fn run(mut options: Options) -> Outcome {
    fill(&mut options)?;
    let config = config(&options)?;
    let to = options.to.as_deref();
    let to =
        to.ok_or_else(|| bad_input("no destination: give --to stdout:// or --to file:PATH"))?;
    let backend = wiring::open(&options.store.url()?, options.heap.as_deref()).await?;
    let closed = Arc::new(Notify::new());
    let transport = Arc::new(NdjsonTransport::open(to, Arc::clone(&closed))?);
    let gone = AtomicBool::new(false);
    let shutdown = async {
        tokio::select! {
            () = signal() => {}
            () = closed.notified() => gone.store(true, Ordering::Relaxed),
            () = drained(backend.storage.as_ref()), if options.drain => {}
        }
    };
    Relay::new(Arc::clone(&backend.storage), transport)
        .dlq_heap(Arc::clone(&backend.heap))
        .config(config)
        .run(shutdown)
        .await?;
    if gone.load(Ordering::Relaxed) {
        return Err(failed("the reader of the standard output has gone"));
    }
    Ok(())
}

fn fill(options: &mut Options) -> Outcome {
    let Some(path) = &options.config else {
        return Ok(());
    };
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| bad_input(format!("cannot read --config {name}: {error}")))?;
    let file: ConfigFile =
        toml::from_str(&text).map_err(|error| bad_input(format!("--config {name}: {error}")))?;
    options.store.store = options.store.store.take().or(file.store);
    options.to = options.to.take().or(file.to);
    options.heap = options.heap.take().or(file.heap);
    options.lease = options.lease.take().or(file.lease);
    options.publish_timeout = options.publish_timeout.take().or(file.publish_timeout);
    options.batch_size = options.batch_size.or(file.batch_size);
    options.threshold = options.threshold.or(file.threshold);
    Ok(())
}

fn config(options: &Options) -> Outcome<OutboxConfig> {
    let mut config = OutboxConfig::builder();
    if let Some(lease) = duration("lease", options.lease.as_deref())? {
        config = config.lease(lease);
    }
    if let Some(timeout) = duration("publish timeout", options.publish_timeout.as_deref())? {
        config = config.publish_timeout(timeout);
    }
    if let Some(events) = options.batch_size {
        config = config.batch_size(events);
    }
    if let Some(threshold) = options.threshold {
        config = config.failure_threshold(threshold);
    }
    Ok(config.build()?)
}

fn duration(what: &str, text: Option<&str>) -> Outcome<Option<Duration>> {
    let parse = |text: &str| {
        humantime::parse_duration(text).map_err(|error| {
            bad_input(format!(
                "{what} {text:?} is not allowed: a duration such as 500ms or 30s ({error})"
            ))
        })
    };
    text.map(parse).transpose()
}

async fn drained(storage: &dyn OutboxStorage) {
    loop {
        // An error is the relay's to report: it uses the same store.
        if storage
            .backlog()
            .await
            .is_ok_and(|backlog| backlog.pending == 0)
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

#[cfg(not(unix))]
async fn signal() {
    let _ = tokio::signal::ctrl_c().await;
}
