#![doc = include_str!("../README.md")]

mod append;
mod claim;
mod dead_letters;
mod quarantine;
mod registry;
mod settle;
mod state;
mod status;
mod storage;

use outbox_core::{ClaimMark, Clock, Event, OutboxError, TraceContext};
use state::State;
use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// An outbox in memory. Clones share the events.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    clock: Clock,
    /// Of the claims of this handle and its clones.
    mark: ClaimMark,
    blocks_keys: bool,
}

impl MemoryStore {
    /// An empty outbox on the clock of tokio.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Arc::default(),
            changed: Arc::default(),
            clock: Clock::tokio(),
            mark: ClaimMark::new(),
            blocks_keys: false,
        }
    }

    /// Replaces the clock, which measures leases and delays. Default: the clock of tokio, which a test can
    /// pause.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Another handle to the same events, as another process would open it. Its claims are not those of this
    /// handle: see [`RelayRegistry`](outbox_core::RelayRegistry).
    #[must_use]
    pub fn handle(&self) -> Self {
        Self {
            mark: ClaimMark::new(),
            ..self.clone()
        }
    }

    /// A dead letter that is made through this handle blocks its ordering key: later events of the key
    /// wait until the dead letter is replayed or purged. Default: they are published.
    #[must_use]
    pub fn block_key_on_dead_letter(mut self) -> Self {
        self.blocks_keys = true;
        self
    }

    /// Starts a transaction. Its events become visible when it commits; dropping it rolls back.
    ///
    /// ```
    /// # use outbox_core::{Event, OutboxError};
    /// # use outbox_store_memory::MemoryStore;
    /// let store = MemoryStore::new();
    /// let mut tx = store.begin();
    /// tx.append(&[Event::new("order.placed", "7")])?;
    /// tx.commit()?;
    /// # Ok::<(), OutboxError>(())
    /// ```
    pub fn begin(&self) -> MemoryTransaction {
        MemoryTransaction {
            outbox: self.clone(),
            events: Vec::new(),
        }
    }

    /// Appends events in one transaction.
    ///
    /// ```
    /// # use outbox_core::{Event, OutboxError};
    /// # use outbox_store_memory::MemoryStore;
    /// let store = MemoryStore::new();
    /// store.append(&[Event::new("order.placed", "7")])?;
    /// # Ok::<(), OutboxError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`MemoryTransaction::commit`].
    pub fn append(&self, events: &[Event]) -> Result<(), OutboxError> {
        let mut transaction = self.begin();
        transaction.append(events)?;
        transaction.commit()
    }

    /// No call panics while it holds the lock, so a poisoned one is consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

/// Events that are not committed yet.
#[derive(Debug)]
#[must_use = "dropping a transaction rolls it back"]
pub struct MemoryTransaction {
    outbox: MemoryStore,
    events: Vec<Event>,
}

impl MemoryTransaction {
    /// Adds events to the transaction.
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if a field exceeds the limits of
    /// [`Event::validate`]. No event is added then.
    pub fn append(&mut self, events: &[Event]) -> Result<(), OutboxError> {
        events.iter().try_for_each(Event::validate)?;
        let context = TraceContext::current();
        self.events.extend(events.iter().map(|event| {
            let mut event = event.clone();
            if let Cow::Owned(headers) = context.headers_of(&event) {
                event.headers = headers;
            }
            event
        }));
        Ok(())
    }

    /// Makes the events visible. The order of the events is the order of the commits.
    ///
    /// # Errors
    ///
    /// [`Duplicate`](outbox_core::ErrorKind::Duplicate) if an id or an idempotency token is taken. No event
    /// is appended then.
    pub fn commit(self) -> Result<(), OutboxError> {
        self.outbox.lock().append(self.events)?;
        self.outbox.changed.notify_waiters();
        Ok(())
    }
}
