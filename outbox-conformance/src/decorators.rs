//! Heaps around a heap: one that fails on demand, and one that takes its time.

use crate::heap::Call;
use outbox_core::{DlqHeap, ErrorKind, OutboxError};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Writes `DlqHeap` for a type with a field `heap`: each method goes through its method `around`,
/// with the call and the call's future.
macro_rules! decorate {
    ($decorator:ty) => {
        const _: () = {
            use outbox_core::{DlqEntry, DlqHeap, EventId, FailedAttempt, HeapSize, OutboxError};

            #[async_trait::async_trait]
            impl DlqHeap for $decorator {
                async fn record_failure(&self, id: EventId) -> Result<(), OutboxError> {
                    let running = self.heap.record_failure(id);
                    self.around(Call::RecordFailure(id), running).await
                }

                async fn record_success(&self, id: EventId) -> Result<(), OutboxError> {
                    let running = self.heap.record_success(id);
                    self.around(Call::RecordSuccess(id), running).await
                }

                async fn drain_exceeded(
                    &self,
                    threshold: u32,
                ) -> Result<Vec<DlqEntry>, OutboxError> {
                    let running = self.heap.drain_exceeded(threshold);
                    self.around(Call::Drain { threshold }, running).await
                }

                async fn record_failures(
                    &self,
                    failures: &[FailedAttempt],
                ) -> Result<(), OutboxError> {
                    let running = self.heap.record_failures(failures);
                    let call = Call::RecordFailures(failures.to_vec());
                    self.around(call, running).await
                }

                async fn forget(&self, ids: &[EventId]) -> Result<(), OutboxError> {
                    let running = self.heap.forget(ids);
                    self.around(Call::Forget(ids.to_vec()), running).await
                }

                async fn lease_exceeded(
                    &self,
                    threshold: u32,
                    limit: usize,
                    lease: std::time::Duration,
                ) -> Result<Vec<DlqEntry>, OutboxError> {
                    let running = self.heap.lease_exceeded(threshold, limit, lease);
                    let call = Call::Lease {
                        threshold,
                        limit,
                        lease,
                    };
                    self.around(call, running).await
                }

                async fn size(&self) -> Result<Option<HeapSize>, OutboxError> {
                    let running = self.heap.size();
                    self.around(Call::Size, running).await
                }

                async fn prune(
                    &self,
                    age: std::time::Duration,
                    limit: usize,
                ) -> Result<usize, OutboxError> {
                    let running = self.heap.prune(age, limit);
                    self.around(Call::Prune { age, limit }, running).await
                }
            }
        };
    };
}

pub(crate) use decorate;

/// When a call of a [`Faulty`] heap fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Fails {
    /// The heap never sees it: a request that was lost.
    Before,
    /// It was applied, and its answer was lost.
    After,
}

/// A heap whose calls fail as [`Unavailable`](ErrorKind::Unavailable) while a test wants it.
pub struct Faulty {
    heap: Arc<dyn DlqHeap>,
    failing: Mutex<Option<Fails>>,
    failed: AtomicU64,
}

impl Faulty {
    /// A heap that is as good as `heap` until it is told to fail.
    #[must_use]
    pub fn new(heap: Arc<dyn DlqHeap>) -> Self {
        Self {
            heap,
            failing: Mutex::new(None),
            failed: AtomicU64::new(0),
        }
    }

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

    async fn around<T>(
        &self,
        _: Call,
        running: impl Future<Output = Result<T, OutboxError>>,
    ) -> Result<T, OutboxError> {
        let failing = *self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let operation = match failing {
            None => return running.await,
            Some(Fails::Before) => "send",
            Some(Fails::After) => {
                running.await?;
                "answer"
            }
        };
        self.failed.fetch_add(1, SeqCst);
        Err(OutboxError::new(
            ErrorKind::Unavailable,
            "faulty",
            operation,
        ))
    }
}

decorate!(Faulty);

/// A heap that waits before each call and after it, by tokio's clock.
pub struct Slow {
    heap: Arc<dyn DlqHeap>,
    wait: Duration,
}

impl Slow {
    /// A heap that waits for `wait` twice in each call.
    #[must_use]
    pub fn new(heap: Arc<dyn DlqHeap>, wait: Duration) -> Self {
        Self { heap, wait }
    }

    async fn around<T>(
        &self,
        _: Call,
        running: impl Future<Output = Result<T, OutboxError>>,
    ) -> Result<T, OutboxError> {
        tokio::time::sleep(self.wait).await;
        let result = running.await;
        tokio::time::sleep(self.wait).await;
        result
    }
}

decorate!(Slow);

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Faulty");
        debug.field("failing", &self.failing);
        debug.field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl fmt::Debug for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Slow");
        debug.field("wait", &self.wait).finish_non_exhaustive()
    }
}
