//! `outbox relay`.

use crate::cli::RelayOptions;
use crate::failure::Failure;
use crate::signals::Signals;
use crate::wiring::{self, Outlet};
use outbox_core::{ErrorText, OutboxStorage, Relay, Transport};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two looks whether the outbox is drained.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The same while the destination takes events.
const LONGEST_BUSY_PAUSE: Duration = Duration::from_secs(5);

/// How long `--drain` waits for a store or a destination that makes no progress.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Ends without an error at the first signal, in every phase of the relay, and at once at the
/// second.
pub(crate) async fn run(options: &RelayOptions) -> Result<(), Failure> {
    let (mut first, mut second) = (Signals::listen()?, Signals::listen()?);
    let started = tokio::select! {
        started = Started::new(options) => started?,
        () = first.stop() => return Ok(()),
    };
    let twice = async {
        second.stop().await;
        second.stop().await;
    };
    tokio::select! {
        result = started.run(first) => result,
        () = twice => Err(Failure::Interrupted),
    }
}

/// A relay whose store, heap and destination are open.
struct Started {
    relay: Relay,
    storage: Arc<dyn OutboxStorage>,
    outlet: Outlet,
    drains: Option<Duration>,
}

impl Started {
    async fn new(options: &RelayOptions) -> Result<Self, Failure> {
        let file = options.urls.file()?;
        let urls = options.urls.urls_with(&file)?;
        let config = file.relay_config(&options.settings)?;
        let settings = file.relay_with(&options.settings);
        let timeout = settings.drain_timeout.map_or(DRAIN_TIMEOUT, Into::into);
        if timeout.is_zero() {
            let message = "drain timeout is 0s, but must be longer than that";
            return Err(Failure::Input(message.to_owned()));
        }
        let store = wiring::open_store(&urls.store, settings.block_keys.unwrap_or(false)).await?;
        let heap = wiring::open_heap_for_relay(&urls.heap).await?;
        let outlet = wiring::outlet(settings.to(), config.publish_timeout())?;
        let relay = Relay::new(Arc::clone(&store.storage), Arc::new(outlet.clone()))
            .dlq_heap(heap)
            .config(config);
        Ok(Self {
            relay,
            storage: store.storage,
            outlet,
            drains: options.drain.then_some(timeout),
        })
    }

    async fn run(self, mut signals: Signals) -> Result<(), Failure> {
        let ended = Mutex::new(Ok(()));
        let (storage, outlet) = (&*self.storage, &self.outlet);
        let shutdown = async {
            let why = tokio::select! {
                () = signals.stop_or_hangup(outlet) => Ok(()),
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
        tokio::select! {
            result = self.relay.run(shutdown) => result?,
            () = check => {}
        }
        ended.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs what the destination says of itself. The relay starts in any case.
async fn log_check(outlet: &Outlet) {
    let check = outlet.check().await;
    let destination = outlet.shown();
    for note in &check.notes {
        if let Some(warning) = note.strip_prefix("warning: ") {
            tracing::warn!(destination, "{warning}");
        } else {
            tracing::info!(destination, "{note}");
        }
    }
    for problem in &check.problems {
        let error = ErrorText::from_error(problem);
        tracing::warn!(destination, %error, "events cannot be published yet");
    }
}

/// Returns when nothing is pending, or when the store or the destination has made no progress for
/// the time.
async fn drained(
    storage: &dyn OutboxStorage,
    outlet: &Outlet,
    timeout: Option<Duration>,
) -> Result<(), Failure> {
    let Some(timeout) = timeout else {
        return std::future::pending().await;
    };
    let mut answered = Instant::now();
    loop {
        let start = Instant::now();
        match storage.backlog().await {
            Ok(backlog) if backlog.pending == 0 => return Ok(()),
            Ok(_) => answered = Instant::now(),
            // It may still have events, and may answer again.
            Err(error) if answered.elapsed() >= timeout => {
                return Err(undrained("the store", timeout, &error.to_string()));
            }
            Err(_) => {}
        }
        if let Some(error) = outlet.progress().is_stuck(timeout) {
            return Err(undrained("the destination", timeout, &error));
        }
        pause(outlet, start.elapsed()).await;
    }
}

/// Pauses between two looks. To count a large backlog takes the store a while, `counted`, and it has other
/// things to do. While the destination takes events, much is left, or new events come.
async fn pause(outlet: &Outlet, counted: Duration) {
    let start = Instant::now();
    let busy = (counted * 50).min(LONGEST_BUSY_PAUSE);
    tokio::time::sleep((counted * 10).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)).await;
    while outlet.progress().has_taken() && start.elapsed() < busy {
        tokio::time::sleep(SHORTEST_PAUSE).await;
    }
}

fn undrained(what: &str, timeout: Duration, error: &str) -> Failure {
    let timeout = humantime::format_duration(timeout);
    Failure::Failed(format!(
        "the outbox is not drained: {what} has failed for {timeout} (--drain-timeout): {error}"
    ))
}
