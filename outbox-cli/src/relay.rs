//! `outbox relay`.

use crate::cli::RelayOptions;
use crate::failure::Failure;
use crate::wiring::{self, Backend};
use outbox_core::{OutboxConfig, OutboxError, Relay};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(crate) async fn run(options: &RelayOptions) -> Result<(), Failure> {
    let config = config(options)?;
    let backend = wiring::open(&options.store.store).await?;
    let outlet = wiring::outlet(&options.to)?;
    let relay = Relay::new(Arc::clone(&backend.storage), outlet.transport)
        .dlq_heap(Arc::clone(&backend.heap))
        .config(config);
    let reader_gone = AtomicBool::new(false);
    let shutdown = async {
        tokio::select! {
            () = signal() => {}
            () = outlet.closed.notified() => reader_gone.store(true, Ordering::SeqCst),
            () = drained(&backend), if options.drain => {}
        }
    };
    relay.run(shutdown).await?;
    if reader_gone.load(Ordering::SeqCst) {
        return Err(Failure::Failed("the reader of stdout has gone".to_owned()));
    }
    Ok(())
}

fn config(options: &RelayOptions) -> Result<OutboxConfig, OutboxError> {
    let mut builder = OutboxConfig::builder();
    if let Some(events) = options.batch_size {
        builder = builder.batch_size(events);
    }
    if let Some(lease) = options.lease {
        builder = builder.lease(lease);
    }
    if let Some(timeout) = options.publish_timeout {
        builder = builder.publish_timeout(timeout);
    }
    if let Some(attempts) = options.threshold {
        builder = builder.failure_threshold(attempts);
    }
    builder.build()
}

/// Returns when nothing is pending. A store that fails for the moment may still have events.
async fn drained(backend: &Backend) {
    loop {
        if backend
            .storage
            .backlog()
            .await
            .is_ok_and(|backlog| backlog.pending == 0)
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
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
