//! `outbox relay`.

use crate::cli::RelayOptions;
use crate::failure::Failure;
use crate::wiring;
use outbox_core::{OutboxStorage, Relay};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two looks whether the outbox is drained.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

pub(crate) async fn run(options: &RelayOptions) -> Result<(), Failure> {
    let file = options.urls.file()?;
    let urls = options.urls.urls_with(&file)?;
    let config = options.settings.config_with(&file)?;
    let settings = options.settings.clone().or(&file);
    let store = wiring::open_store(&urls.store, settings.hold_keys.unwrap_or(false)).await?;
    let heap = wiring::open_heap_for_relay(&urls.heap).await?;
    let outlet = wiring::outlet(settings.to.as_deref().unwrap_or("stdout://"))?;
    let relay = Relay::new(Arc::clone(&store.storage), outlet.transport)
        .dlq_heap(heap)
        .config(config);
    let reader_gone = AtomicBool::new(false);
    let shutdown = async {
        tokio::select! {
            () = signal() => {}
            () = outlet.closed.notified() => reader_gone.store(true, Ordering::SeqCst),
            () = drained(&*store.storage), if options.drain => {}
        }
    };
    relay.run(shutdown).await?;
    if reader_gone.load(Ordering::SeqCst) {
        return Err(Failure::reader_gone());
    }
    Ok(())
}

/// Returns when nothing is pending. A store that fails for the moment may still have events.
async fn drained(storage: &dyn OutboxStorage) {
    loop {
        let start = Instant::now();
        let backlog = storage.backlog().await;
        if backlog.is_ok_and(|backlog| backlog.pending == 0) {
            return;
        }
        // To count a large backlog takes the store a while, and it has other things to do.
        let pause = start.elapsed() * 10;
        tokio::time::sleep(pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)).await;
    }
}

/// Returns at SIGINT or SIGTERM.
async fn signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
