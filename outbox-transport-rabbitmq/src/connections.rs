//! The connection that all calls share, replaced by a new one when it fails.

use crate::config::RabbitMqConfig;
use crate::error::{not_connected, unavailable};
use crate::link::Link;
use outbox_core::{PublishError, reconnect_pause};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, sleep_until, timeout_at};

#[derive(Debug, Default)]
pub(crate) struct Connections {
    current: Mutex<Option<Arc<Link>>>,
    /// Held by the call that connects.
    attempts: AsyncMutex<Attempts>,
    /// How many attempts have failed, so that calls that wait for one notice.
    failed: AtomicU64,
}

#[derive(Debug, Default)]
struct Attempts {
    /// Failures in a row.
    failures: u32,
    last: Option<(PublishError, Instant)>,
}

impl Connections {
    /// The connection, or a new one. Calls at the same time share the attempt and its error.
    pub(crate) async fn link(
        &self,
        config: &RabbitMqConfig,
        until: Instant,
    ) -> Result<Arc<Link>, PublishError> {
        if let Some(link) = self.usable() {
            return Ok(link);
        }
        let seen = self.failed.load(SeqCst);
        let connecting = self.connect(config, seen);
        let Ok(result) = timeout_at(until, connecting).await else {
            return Err(unavailable("no connection within the call timeout"));
        };
        result
    }

    /// Makes the next call connect again, unless another call has already replaced `link`.
    pub(crate) fn forget(&self, link: &Arc<Link>) {
        let mut current = self.current();
        if current.as_ref().is_some_and(|held| Arc::ptr_eq(held, link)) {
            *current = None;
        }
    }

    async fn connect(&self, config: &RabbitMqConfig, seen: u64) -> Result<Arc<Link>, PublishError> {
        let mut attempts = self.attempts.lock().await;
        if let Some(link) = self.usable() {
            return Ok(link);
        }
        if let Some((error, again)) = &attempts.last {
            if self.failed.load(SeqCst) != seen {
                return Err(error.clone());
            }
            sleep_until(*again).await;
        }
        match Link::open(config).await {
            Ok(link) => {
                let link = Arc::new(link);
                *self.current() = Some(Arc::clone(&link));
                *attempts = Attempts::default();
                Ok(link)
            }
            Err(error) => {
                let error = not_connected(error);
                attempts.failures += 1;
                let again = Instant::now() + reconnect_pause(attempts.failures);
                attempts.last = Some((error.clone(), again));
                self.failed.fetch_add(1, SeqCst);
                Err(error)
            }
        }
    }

    fn usable(&self) -> Option<Arc<Link>> {
        let current = self.current();
        current.clone().filter(|link| link.is_connected())
    }

    fn current(&self) -> MutexGuard<'_, Option<Arc<Link>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
