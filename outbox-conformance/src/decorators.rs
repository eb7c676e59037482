//! One hook around all calls of a heap or a store. With it a test makes calls fail, delays them, or
//! counts them.

use async_trait::async_trait;
use outbox_core::{
    Backlog, Claim, ClaimLimit, ClaimToken, DeadLetter, DeadLetterFilter, DeadLetterGroup,
    DeadLetters, DlqEntry, DlqHeap, ErrorKind, Event, EventId, FailedAttempt, HeapSize,
    OutboxError, OutboxStorage, QuarantineOutcome, Settlement,
};
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A hook around each asynchronous call of a [`Decorated`] heap or store.
///
/// ```
/// # use outbox_conformance::{Around, Decorated};
/// # use outbox_core::{DlqHeap, EventId, OutboxError};
/// # use outbox_dlq_memory::MemoryDlqHeap;
/// # use std::sync::{Arc, Mutex};
/// #[derive(Debug, Default)]
/// struct Calls(Mutex<Vec<&'static str>>);
///
/// impl Around for Calls {
///     async fn around<T: Send>(
///         &self,
///         method: &'static str,
///         call: impl Future<Output = Result<T, OutboxError>> + Send,
///     ) -> Result<T, OutboxError> {
///         self.0.lock().unwrap().push(method);
///         call.await
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let calls = Arc::new(Calls::default());
/// let heap = Decorated::new(Arc::new(MemoryDlqHeap::new()), calls.clone());
/// heap.record_failure(EventId::new()).await.unwrap();
/// assert_eq!(*calls.0.lock().unwrap(), ["record_failure"]);
/// # });
/// ```
pub trait Around: Send + Sync + Debug {
    /// Awaits `call`, or drops it, which then was never made. `method` is its name in the trait.
    fn around<T: Send>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T, OutboxError>> + Send,
    ) -> impl Future<Output = Result<T, OutboxError>> + Send;
}

/// A heap or a store with something [`Around`] each of its calls. If the hook does nothing, the
/// decorated heap or store behaves as the inner one. Several may share a hook, so that a worker's
/// store and heap fail together.
#[derive(Debug)]
pub struct Decorated<S: ?Sized, A> {
    inner: Arc<S>,
    around: Arc<A>,
}

impl<S: ?Sized, A: Around> Decorated<S, A> {
    /// Decorates `inner`.
    #[must_use]
    pub fn new(inner: Arc<S>, around: Arc<A>) -> Self {
        Self { inner, around }
    }
}

#[async_trait]
impl<S: DlqHeap + ?Sized, A: Around> DlqHeap for Decorated<S, A> {
    async fn record_failure(&self, id: EventId) -> Result<(), OutboxError> {
        let call = self.inner.record_failure(id);
        self.around.around("record_failure", call).await
    }

    async fn record_success(&self, id: EventId) -> Result<(), OutboxError> {
        let call = self.inner.record_success(id);
        self.around.around("record_success", call).await
    }

    async fn drain_exceeded(&self, threshold: u32) -> Result<Vec<DlqEntry>, OutboxError> {
        let call = self.inner.drain_exceeded(threshold);
        self.around.around("drain_exceeded", call).await
    }

    async fn record_failures(&self, failures: &[FailedAttempt]) -> Result<(), OutboxError> {
        let call = self.inner.record_failures(failures);
        self.around.around("record_failures", call).await
    }

    async fn forget(&self, ids: &[EventId]) -> Result<(), OutboxError> {
        self.around.around("forget", self.inner.forget(ids)).await
    }

    async fn lease_exceeded(
        &self,
        threshold: u32,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<DlqEntry>, OutboxError> {
        let call = self.inner.lease_exceeded(threshold, limit, lease);
        self.around.around("lease_exceeded", call).await
    }

    async fn size(&self) -> Result<Option<HeapSize>, OutboxError> {
        self.around.around("size", self.inner.size()).await
    }

    async fn prune(&self, age: Duration, limit: usize) -> Result<usize, OutboxError> {
        let call = self.inner.prune(age, limit);
        self.around.around("prune", call).await
    }
}

#[async_trait]
impl<S: OutboxStorage + ?Sized, A: Around> OutboxStorage for Decorated<S, A> {
    async fn claim(&self, limit: ClaimLimit, lease: Duration) -> Result<Claim, OutboxError> {
        let call = self.inner.claim(limit, lease);
        self.around.around("claim", call).await
    }

    async fn settle(&self, token: ClaimToken, all: &[Settlement]) -> Result<(), OutboxError> {
        let call = self.inner.settle(token, all);
        self.around.around("settle", call).await
    }

    async fn resume(&self, destination: &str, limit: usize) -> Result<usize, OutboxError> {
        let call = self.inner.resume(destination, limit);
        self.around.around("resume", call).await
    }

    async fn quarantine_events(
        &self,
        entries: &[DlqEntry],
    ) -> Result<Vec<QuarantineOutcome>, OutboxError> {
        let call = self.inner.quarantine_events(entries);
        self.around.around("quarantine_events", call).await
    }

    fn blocks_key_on_dead_letter(&self) -> bool {
        self.inner.blocks_key_on_dead_letter()
    }

    async fn wait_for_work(&self, at_most: Duration) -> Result<(), OutboxError> {
        let call = self.inner.wait_for_work(at_most);
        self.around.around("wait_for_work", call).await
    }

    async fn backlog(&self) -> Result<Backlog, OutboxError> {
        self.around.around("backlog", self.inner.backlog()).await
    }

    async fn clean_up(&self, limit: usize) -> Result<usize, OutboxError> {
        let call = self.inner.clean_up(limit);
        self.around.around("clean_up", call).await
    }
}

#[async_trait]
impl<S: DeadLetters + ?Sized, A: Around> DeadLetters for Decorated<S, A> {
    async fn list(
        &self,
        filter: &DeadLetterFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, OutboxError> {
        let call = self.inner.list(filter, after, limit);
        self.around.around("list", call).await
    }

    async fn find(&self, id: EventId) -> Result<Option<(DeadLetter, Event)>, OutboxError> {
        self.around.around("find", self.inner.find(id)).await
    }

    async fn export(
        &self,
        filter: &DeadLetterFilter,
        after: Option<u64>,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<(DeadLetter, Event)>, OutboxError> {
        let call = self.inner.export(filter, after, limit, bytes);
        self.around.around("export", call).await
    }

    async fn replay(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<EventId>, OutboxError> {
        let call = self.inner.replay(filter, limit);
        self.around.around("replay", call).await
    }

    async fn purge(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<EventId>, OutboxError> {
        let call = self.inner.purge(filter, limit);
        self.around.around("purge", call).await
    }

    async fn statistics(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<DeadLetterGroup>, OutboxError> {
        let call = self.inner.statistics(filter, limit);
        self.around.around("statistics", call).await
    }
}

/// When [`Faulty`] makes a call fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Fails {
    /// The heap or store never sees it: a request that was lost.
    Before,
    /// It was applied, and its answer was lost.
    After,
}

/// Makes calls fail as [`Unavailable`](ErrorKind::Unavailable) while a test wants it.
#[derive(Debug, Default)]
pub struct Faulty {
    failing: Mutex<Option<Fails>>,
    failed: AtomicU64,
}

impl Faulty {
    /// Lets each call fail from now on.
    pub fn fail(&self, when: Fails) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = Some(when);
    }

    /// Lets the calls through from now on.
    pub fn mend(&self) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Calls that failed so far.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(SeqCst)
    }
}

impl Around for Faulty {
    async fn around<T: Send>(
        &self,
        _: &'static str,
        call: impl Future<Output = Result<T, OutboxError>> + Send,
    ) -> Result<T, OutboxError> {
        let failing = *self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let operation = match failing {
            None => return call.await,
            Some(Fails::Before) => "send",
            Some(Fails::After) => {
                call.await?;
                "answer"
            }
        };
        self.failed.fetch_add(1, SeqCst);
        let kind = ErrorKind::Unavailable;
        Err(OutboxError::new(kind, "faulty", operation))
    }
}

/// Waits before each call and after it, by tokio's clock.
#[derive(Debug)]
pub struct Slow(pub Duration);

impl Around for Slow {
    async fn around<T: Send>(
        &self,
        _: &'static str,
        call: impl Future<Output = Result<T, OutboxError>> + Send,
    ) -> Result<T, OutboxError> {
        tokio::time::sleep(self.0).await;
        let result = call.await;
        tokio::time::sleep(self.0).await;
        result
    }
}
