//! One connection to a server, which ends when it is lost: it never reconnects.
//!
//! The driver's client would keep commands while it is disconnected and send them when it has
//! reconnected, also those of calls that have ended. So its reconnection leads to an address where
//! no server listens, after which the client ends and drops what it has not written.

use crate::absence::Absences;
use crate::config::{NO_TLS, has_tls};
use crate::error::connect_error;
use crate::refusal::Refusal;
use async_nats::connection::State;
use async_nats::jetstream::{self, ContextBuilder};
use async_nats::{Client, ConnectOptions, Event, ReconnectToServer, ServerAddr};
use futures_util::FutureExt;
use outbox_core::{PublishError, PublishErrorKind};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout};

/// No server can listen on port 0, so this machine refuses a connection to it at once.
const NOWHERE: &str = "nats://127.0.0.1:0";

/// Calls wait for any number of acknowledgments. The worker limits how many events are in flight.
const IN_FLIGHT: usize = 1 << 20;

/// How many refusals are kept for a call that is slow to read them.
const REFUSALS: usize = 1024;

/// The driver takes a connection to be lost after three intervals in which nothing came.
const SHORTEST_PING: Duration = Duration::from_millis(10);
const LONGEST_PING: Duration = Duration::from_secs(10);

/// A connection, with what was found out on it.
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) jetstream: jetstream::Context,
    /// When it was made.
    pub(crate) since: Instant,
    pub(crate) absences: Absences,
    refusals: broadcast::Sender<Refusal>,
    /// Whether the server refused the subscription to acknowledgments.
    is_deaf: Arc<AtomicBool>,
}

impl Connection {
    /// Connects to a server. `limit` is for each of its addresses.
    pub(crate) async fn open(
        options: &ConnectOptions,
        server: &ServerAddr,
        call_timeout: Duration,
        limit: Duration,
    ) -> Result<Self, PublishError> {
        let (refusals, is_deaf) = (broadcast::Sender::new(REFUSALS), Arc::default());
        let ping = (call_timeout / 4).clamp(SHORTEST_PING, LONGEST_PING);
        let options = options.clone().ping_interval(ping);
        let options = listening(options, &refusals, &is_deaf);
        let client = connect(options, server).boxed();
        // Without a provider of cryptography the TLS library panics.
        let client = timeout(limit, AssertUnwindSafe(client).catch_unwind()).await;
        let client = match client {
            Ok(Ok(client)) => client?,
            Ok(Err(_)) if !has_tls() => {
                let error = PublishError::new(PublishErrorKind::Misconfigured);
                return Err(error.with_source(format!("server requires TLS: {NO_TLS}")));
            }
            Ok(Err(_)) => {
                let error = PublishError::new(PublishErrorKind::Misconfigured);
                return Err(error.with_source("the driver panicked while it connected"));
            }
            Err(_) => return Err(unavailable(format!("no connection within {limit:?}"))),
        };
        let jetstream = ContextBuilder::new()
            .timeout(call_timeout)
            .max_ack_inflight(IN_FLIGHT)
            .build(client.clone());
        Ok(Self {
            client,
            jetstream,
            since: Instant::now(),
            absences: Absences::default(),
            refusals,
            is_deaf,
        })
    }

    /// Whether the next call may use it.
    pub(crate) fn is_alive(&self) -> bool {
        self.client.connection_state() == State::Connected && !self.is_deaf.load(Relaxed)
    }

    /// What the server refuses from now on.
    pub(crate) fn refusals(&self) -> broadcast::Receiver<Refusal> {
        self.refusals.subscribe()
    }
}

/// A client that ends when its connection is lost.
async fn connect(options: ConnectOptions, server: &ServerAddr) -> Result<Client, PublishError> {
    let parsed = NOWHERE.parse();
    let nowhere: ServerAddr = parsed.map_err(|error: std::io::Error| unavailable(error))?;
    let targets = (server.clone(), nowhere.clone());
    let is_first = AtomicBool::new(true);
    let client = options
        // The driver sets the count back when it has connected.
        .max_reconnects(1)
        .reconnect_to_server_callback(move |_, _| {
            let addr = if is_first.swap(false, Relaxed) {
                targets.0.clone()
            } else {
                targets.1.clone()
            };
            let delay = Some(Duration::ZERO);
            std::future::ready(Some(ReconnectToServer { addr, delay }))
        })
        .connect(vec![server.clone(), nowhere])
        .await
        .map_err(connect_error)?;
    // With its option `retry_on_initial_connect` the driver connects in the background.
    client.flush().await.map_err(unavailable)?;
    Ok(client)
}

/// Options whose client reports refusals.
fn listening(
    options: ConnectOptions,
    refusals: &broadcast::Sender<Refusal>,
    is_deaf: &Arc<AtomicBool>,
) -> ConnectOptions {
    let (refusals, is_deaf) = (refusals.clone(), Arc::clone(is_deaf));
    options.event_callback(move |event| {
        if let Event::ServerError(error) = event
            && let Some(refusal) = Refusal::of(&error)
        {
            if matches!(refusal, Refusal::Inbox(_)) {
                is_deaf.store(true, Relaxed);
            }
            // There may be no call that waits.
            let _ = refusals.send(refusal);
        }
        std::future::ready(())
    })
}

pub(crate) fn unavailable(
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> PublishError {
    PublishError::new(PublishErrorKind::Unavailable).with_source(source)
}
