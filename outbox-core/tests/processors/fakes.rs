//! A store, a broker and a heap whose answers are scripted. Without a script all calls succeed.

use async_trait::async_trait;
use outbox_core::{
    Backlog, Claim, ClaimLimit, ClaimToken, ClaimedEvent, DlqEntry, DlqHeap, ErrorKind, Event,
    EventId, FailedAttempt, OutboxError, OutboxStorage, PublishError, PublishErrorKind,
    QuarantineOutcome, Settlement, Transport,
};
use std::collections::VecDeque;
use std::future::pending;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};
use tokio::time::sleep;

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn error(kind: ErrorKind) -> OutboxError {
    OutboxError::new(kind, "store", "claim").with_source("scripted")
}

pub(crate) fn event() -> Event {
    Event::new("order.placed", "{}")
}

#[derive(Debug, Default)]
pub(crate) struct FakeStore(Mutex<VecDeque<Result<Vec<ClaimedEvent>, ErrorKind>>>);

impl FakeStore {
    pub(crate) fn answers(
        answers: impl IntoIterator<Item = Result<Vec<ClaimedEvent>, ErrorKind>>,
    ) -> Self {
        Self(Mutex::new(answers.into_iter().collect()))
    }

    /// One claim for each of `events`.
    pub(crate) fn one_by_one(events: impl IntoIterator<Item = Event>) -> Self {
        Self::after_attempts(0, events)
    }

    /// One claim for each of `events`, which have failed before.
    pub(crate) fn after_attempts(attempts: u32, events: impl IntoIterator<Item = Event>) -> Self {
        let claims = events.into_iter();
        Self::answers(claims.map(|event| Ok(vec![ClaimedEvent::new(event, attempts, false)])))
    }
}

#[async_trait]
impl OutboxStorage for FakeStore {
    async fn claim(&self, _: ClaimLimit, _: Duration) -> Result<Claim, OutboxError> {
        let next = self.0.lock().expect("no panic while locked").pop_front();
        let events = next.unwrap_or_else(|| Ok(Vec::new())).map_err(error)?;
        Ok(Claim::new(ClaimToken::new(), events))
    }

    async fn settle(&self, _: ClaimToken, _: &[Settlement]) -> Result<(), OutboxError> {
        Ok(())
    }

    async fn quarantine_events(
        &self,
        entries: &[DlqEntry],
    ) -> Result<Vec<QuarantineOutcome>, OutboxError> {
        Ok(vec![QuarantineOutcome::Moved; entries.len()])
    }

    async fn wait_for_work(&self, at_most: Duration) -> Result<(), OutboxError> {
        sleep(at_most).await;
        Ok(())
    }

    async fn backlog(&self) -> Result<Backlog, OutboxError> {
        Ok(Backlog::default())
    }
}

/// Answers all events of a call alike.
#[derive(Debug, Default)]
pub(crate) struct FakeBroker(Mutex<VecDeque<Option<PublishErrorKind>>>);

impl FakeBroker {
    pub(crate) fn answers(answers: impl IntoIterator<Item = Option<PublishErrorKind>>) -> Self {
        Self(Mutex::new(answers.into_iter().collect()))
    }
}

#[async_trait]
impl Transport for FakeBroker {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        let next = self.0.lock().expect("no panic while locked").pop_front();
        let answer = |_| match next.flatten() {
            Some(kind) => Err(PublishError::new(kind).with_source("no such topic")),
            None => Ok(()),
        };
        events.iter().map(answer).collect()
    }
}

#[derive(Debug, Default)]
pub(crate) struct FakeHeap {
    /// Calls of the worker that fail before one succeeds.
    pub(crate) failures: AtomicU32,
    /// Calls of the worker so far.
    pub(crate) calls: AtomicU32,
    /// No call is answered.
    pub(crate) is_silent: bool,
    /// What the first lease returns, the second one, and so on.
    pub(crate) leases: Mutex<VecDeque<Vec<DlqEntry>>>,
}

impl FakeHeap {
    pub(crate) fn failing(failures: u32) -> Self {
        Self {
            failures: AtomicU32::new(failures),
            ..Self::default()
        }
    }

    /// A heap that returns `entries` for each of its first `leases`, which have no entry in common.
    pub(crate) fn draining(entries: usize, leases: usize) -> Self {
        let now = SystemTime::now();
        let entry = |_| DlqEntry::new(EventId::new(), 3, now, now).with_error(Some("full".into()));
        let lease = |_| (0..entries).map(entry).collect();
        Self {
            leases: Mutex::new((0..leases).map(lease).collect()),
            ..Self::default()
        }
    }

    async fn answer(&self) -> Result<(), OutboxError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.is_silent {
            pending::<()>().await;
        }
        let left = |failures: u32| failures.checked_sub(1);
        let failed = self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, left);
        match failed {
            Ok(_) => Err(error(ErrorKind::Unavailable)),
            Err(_) => Ok(()),
        }
    }
}

#[async_trait]
impl DlqHeap for FakeHeap {
    async fn record_failure(&self, _: EventId) -> Result<(), OutboxError> {
        self.answer().await
    }

    async fn record_success(&self, _: EventId) -> Result<(), OutboxError> {
        self.answer().await
    }

    async fn drain_exceeded(&self, _: u32) -> Result<Vec<DlqEntry>, OutboxError> {
        let next = self
            .leases
            .lock()
            .expect("no panic while locked")
            .pop_front();
        Ok(next.unwrap_or_default())
    }

    async fn record_failures(&self, _: &[FailedAttempt]) -> Result<(), OutboxError> {
        self.answer().await
    }

    async fn forget(&self, _: &[EventId]) -> Result<(), OutboxError> {
        self.answer().await
    }
}
