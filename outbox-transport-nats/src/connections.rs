//! The connection that all calls share. It is made when a call needs it.

use crate::connection::Connection;
use async_nats::{ConnectOptions, ServerAddr};
use outbox_core::{PublishError, PublishErrorKind, reconnect_pause};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

pub(crate) struct Connections {
    options: ConnectOptions,
    servers: Vec<ServerAddr>,
    call_timeout: Duration,
    state: Mutex<State>,
}

struct State {
    /// Other servers of the cluster, which the latest server has named.
    named: Vec<ServerAddr>,
    latest: Option<Arc<Connection>>,
    /// When the latest attempt that failed was begun, and why it failed.
    failed: Option<(Instant, PublishError)>,
    /// Failed attempts in a row.
    failures: u32,
    /// When the next attempt may be made.
    next: Instant,
}

impl Connections {
    pub(crate) fn new(
        options: ConnectOptions,
        servers: Vec<ServerAddr>,
        call_timeout: Duration,
    ) -> Self {
        let state = State {
            named: Vec::new(),
            latest: None,
            failed: None,
            failures: 0,
            next: Instant::now(),
        };
        Self {
            options,
            servers,
            call_timeout,
            state: Mutex::new(state),
        }
    }

    /// The connection, or a new one. Calls that wait at the same time share one attempt, also if it
    /// fails. After a failed attempt the next one is made after a pause.
    pub(crate) async fn connection(&self) -> Result<Arc<Connection>, PublishError> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(latest) = state.latest.as_ref().filter(|latest| latest.is_alive()) {
            return Ok(Arc::clone(latest));
        }
        state.latest = None;
        if let Some((begun, error)) = &state.failed
            && *begun >= asked
        {
            return Err(error.clone());
        }
        sleep_until(state.next).await;
        let begun = Instant::now();
        match self.connect(&state.named).await {
            Ok(connection) => {
                state.named = self.others(&connection).await;
                (state.failed, state.failures) = (None, 0);
                Ok(Arc::clone(state.latest.insert(Arc::new(connection))))
            }
            Err(error) => {
                state.failures = state.failures.saturating_add(1);
                state.next = Instant::now() + reconnect_pause(state.failures);
                state.failed = Some((begun, error.clone()));
                Err(error)
            }
        }
    }

    /// Tries each server in a random order. A server that does not answer leaves time for the others.
    async fn connect(&self, named: &[ServerAddr]) -> Result<Connection, PublishError> {
        let mut order: Vec<&ServerAddr> = self.servers.iter().chain(named).collect();
        fastrand::shuffle(&mut order);
        let limit = self.call_timeout / u32::try_from(order.len() + 1).unwrap_or(u32::MAX);
        let mut failed: Option<PublishError> = None;
        for server in order {
            match Connection::open(&self.options, server, self.call_timeout, limit).await {
                Ok(connection) => return Ok(connection),
                // What a person must repair is more important than a server that is away.
                Err(error)
                    if failed
                        .as_ref()
                        .is_none_or(|failed| failed.kind() != PublishErrorKind::Misconfigured) =>
                {
                    failed = Some(error);
                }
                Err(_) => {}
            }
        }
        Err(failed.unwrap_or_else(|| PublishError::new(PublishErrorKind::Unavailable)))
    }

    /// The servers that the server of a connection has named, unless the options forbid it.
    async fn others(&self, connection: &Connection) -> Vec<ServerAddr> {
        // A connection that was just lost names none.
        let pool = connection.client.server_pool().await.unwrap_or_default();
        let named = pool.into_iter().filter(|server| server.is_discovered);
        let other = |server: &ServerAddr| !self.servers.contains(server);
        named.map(|server| server.addr).filter(other).collect()
    }
}
