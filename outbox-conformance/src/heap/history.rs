//! Histories of concurrent calls: recorded, checked, and printed so that a person can read them.

use super::call::{Answer, Call};
use super::linear::{Effect, Got, Span, Stuck, explain};
use crate::check::refuse;
use async_trait::async_trait;
use outbox_core::{DlqEntry, DlqHeap, EventId, FailedAttempt, HeapSize, OutboxError};
use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The calls of the clients of one heap, and when each started and ended.
///
/// ```
/// # use outbox_conformance::{ManualClock, heap::History};
/// # use outbox_core::{DlqHeap, EventId};
/// # use outbox_dlq_memory::MemoryDlqHeap;
/// # use std::sync::Arc;
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let (history, heap) = (History::default(), Arc::new(MemoryDlqHeap::new()));
/// let (one, two) = (history.client(heap.clone()), history.client(heap));
/// let id = EventId::new();
/// let (failed, drained) = tokio::join!(one.record_failure(id), two.drain_exceeded(1));
/// (failed.unwrap(), drained.unwrap());
/// history.assert_linearizable();
/// # });
/// ```
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<Log>>);

#[derive(Debug, Default)]
struct Log {
    moments: u64,
    clients: usize,
    items: Vec<Item>,
}

#[derive(Debug)]
struct Item {
    began: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Elapsed(Duration),
    Called {
        client: usize,
        call: Call,
        /// When it ended, and with what.
        answer: Option<(u64, Answer)>,
    },
}

/// One client's handle to a heap, whose calls are kept in a [`History`].
///
/// A call that fails, or whose future is dropped, is kept as one that never returned: it may have
/// been applied, and may be applied later.
pub struct Recording {
    heap: Arc<dyn DlqHeap>,
    history: History,
    client: usize,
}

/// What is wrong with a history: calls on one event whose answers no order explains.
#[derive(Clone, Debug)]
pub struct Violation(String);

impl History {
    /// A handle whose calls are kept here, for the next client.
    #[must_use]
    pub fn client(&self, heap: Arc<dyn DlqHeap>) -> Recording {
        let mut log = self.lock();
        log.clients += 1;
        Recording {
            heap,
            history: self.clone(),
            client: log.clients,
        }
    }

    /// Notes that the heap's clock was moved on, while no call is under way. Leases run out by this
    /// time alone, so a lease must be longer than the test runs.
    pub fn elapsed(&self, time: Duration) {
        self.lock().begin(What::Elapsed(time));
    }

    /// How many calls were recorded.
    #[must_use]
    pub fn len(&self) -> usize {
        let log = self.lock();
        let calls = log.items.iter().filter(|item| item.called().is_some());
        calls.count()
    }

    /// Whether no call was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks for each event that some order of the calls explains every answer, if the heap was
    /// empty at first, and that no drain or lease returned an event twice. A drain or a lease
    /// counts as a call on every event, and a batch as one call on each of its events.
    ///
    /// # Errors
    ///
    /// The calls on one event that no order explains.
    pub fn check(&self) -> Result<(), Violation> {
        let log = self.lock();
        let calls = || log.items.iter().filter_map(Item::called);
        let ids: BTreeSet<EventId> = calls()
            .flat_map(|(_, call, answer)| ids(call, answer))
            .collect();
        for id in ids {
            log.check(id)?;
        }
        Ok(())
    }

    /// Fails with the calls that no order explains.
    pub fn assert_linearizable(&self) {
        if let Err(violation) = self.check() {
            refuse!("{violation}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The events that a call names or returned.
fn ids(call: &Call, answer: Option<&Answer>) -> Vec<EventId> {
    let mut ids = match call {
        Call::RecordFailure(id) | Call::RecordSuccess(id) => vec![*id],
        Call::RecordFailures(failures) => failures.iter().map(|failure| failure.id).collect(),
        Call::Forget(ids) => ids.clone(),
        _ => Vec::new(),
    };
    if let Some(Answer::Entries(entries)) = answer {
        ids.extend(entries.iter().map(|entry| entry.id));
    }
    ids
}

impl Log {
    fn begin(&mut self, what: What) -> usize {
        self.moments += 1;
        let began = self.moments;
        self.items.push(Item { began, what });
        self.items.len() - 1
    }

    fn end(&mut self, call: usize, with: Answer) {
        self.moments += 1;
        if let What::Called { answer, .. } = &mut self.items[call].what {
            *answer = Some((self.moments, with));
        }
    }

    fn check(&self, id: EventId) -> Result<(), Violation> {
        let seen: Vec<(&Item, Span)> = self
            .items
            .iter()
            .filter_map(|item| Some((item, item.span(id)?)))
            .collect();
        let twice = |(item, _): &&(&Item, Span)| item.returned(id) > 1;
        if let Some((item, _)) = seen.iter().find(twice) {
            return Err(Violation(format!("event {id} was returned twice:\n{item}")));
        }
        let mut spans: Vec<Span> = seen.iter().map(|(_, span)| span.clone()).collect();
        for call in 0..spans.len() {
            let quiet = !overlapped(&spans, call);
            if let Effect::Lease { may_skip, .. } = &mut spans[call].effect
                && quiet
            {
                *may_skip = seen[call].0.is_full();
            }
        }
        explain(&spans).map_err(|stuck| text_of(id, &seen, &stuck))
    }
}

/// Whether another call on the event was under way at the same time.
fn overlapped(spans: &[Span], call: usize) -> bool {
    let end = |span: &Span| span.ended.unwrap_or(u64::MAX);
    let this = &spans[call];
    spans.iter().enumerate().any(|(other, span)| {
        other != call
            && !matches!(span.effect, Effect::Elapse(_))
            && span.began < end(this)
            && this.began < end(span)
    })
}

fn text_of(id: EventId, seen: &[(&Item, Span)], stuck: &Stuck) -> Violation {
    let mut text = String::new();
    for call in &stuck.0 {
        let (item, span) = &seen[*call];
        let got = match &span.effect {
            Effect::Drain { got, .. } | Effect::Lease { got, .. } => got.to_string(),
            _ => String::new(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{item}{got}");
    }
    let text = text.replace(&id.to_string(), "it");
    Violation(format!(
        "event {id} had no entry, and no order of these calls explains it:\n{text}\
         (in brackets, the places of begin and end among all begins and ends)"
    ))
}

type Called<'i> = (usize, &'i Call, Option<&'i Answer>);

impl Item {
    fn called(&self) -> Option<Called<'_>> {
        match &self.what {
            What::Elapsed(_) => None,
            What::Called {
                client,
                call,
                answer,
            } => {
                let answer = answer.as_ref().map(|(_, answer)| answer);
                Some((*client, call, answer))
            }
        }
    }

    fn ended(&self) -> Option<u64> {
        match &self.what {
            What::Elapsed(_) => None,
            What::Called { answer, .. } => answer.as_ref().map(|(ended, _)| *ended),
        }
    }

    /// How often the call returned the event.
    fn returned(&self, id: EventId) -> usize {
        match self.called() {
            Some((_, _, Some(Answer::Entries(entries)))) => {
                entries.iter().filter(|entry| entry.id == id).count()
            }
            _ => 0,
        }
    }

    /// Whether a lease returned as many entries as it may.
    fn is_full(&self) -> bool {
        matches!(
            self.called(),
            Some((_, Call::Lease { limit, .. }, Some(Answer::Entries(entries))))
                if entries.len() >= *limit
        )
    }

    /// The call as one event sees it.
    fn span(&self, id: EventId) -> Option<Span> {
        let effect = match self.called() {
            Some((_, call, answer)) => effect(call, answer, id)?,
            None => Effect::Elapse(self.elapsed()),
        };
        Some(Span {
            began: self.began,
            ended: self.ended(),
            effect,
        })
    }

    fn elapsed(&self) -> Duration {
        match self.what {
            What::Elapsed(time) => time,
            What::Called { .. } => Duration::ZERO,
        }
    }
}

fn effect(call: &Call, answer: Option<&Answer>, id: EventId) -> Option<Effect> {
    let got = || match answer {
        None => Got::Unknown,
        Some(answer) => answer
            .entry(id)
            .map_or(Got::Nothing, |entry| Got::Entry(entry.clone())),
    };
    let effect = match call {
        Call::RecordFailure(one) if *one == id => Effect::Fail(vec![None]),
        Call::RecordFailures(failures) => {
            let of_it = failures.iter().filter(|failure| failure.id == id);
            let errors: Vec<_> = of_it.map(|failure| failure.error.clone()).collect();
            if errors.is_empty() {
                return None;
            }
            Effect::Fail(errors)
        }
        Call::RecordSuccess(one) if *one == id => Effect::Forget,
        Call::Forget(ids) if ids.contains(&id) => Effect::Forget,
        Call::Drain { threshold } => Effect::Drain {
            threshold: *threshold,
            got: got(),
        },
        Call::Lease {
            threshold, lease, ..
        } => Effect::Lease {
            threshold: *threshold,
            lease: *lease,
            got: got(),
            may_skip: true,
        },
        Call::Prune { age, .. } => Effect::Prune {
            age: *age,
            forgot_nothing: answer == Some(&Answer::Pruned(0)),
        },
        _ => return None,
    };
    Some(effect)
}

impl Recording {
    async fn around<T: Clone + Into<Answer>>(
        &self,
        call: Call,
        running: impl Future<Output = Result<T, OutboxError>>,
    ) -> Result<T, OutboxError> {
        let client = self.client;
        let called = What::Called {
            client,
            call,
            answer: None,
        };
        let call = self.history.lock().begin(called);
        let result = running.await?;
        self.history.lock().end(call, result.clone().into());
        Ok(result)
    }
}

#[async_trait]
impl DlqHeap for Recording {
    async fn record_failure(&self, id: EventId) -> Result<(), OutboxError> {
        let running = self.heap.record_failure(id);
        self.around(Call::RecordFailure(id), running).await
    }

    async fn record_success(&self, id: EventId) -> Result<(), OutboxError> {
        let running = self.heap.record_success(id);
        self.around(Call::RecordSuccess(id), running).await
    }

    async fn drain_exceeded(&self, threshold: u32) -> Result<Vec<DlqEntry>, OutboxError> {
        let running = self.heap.drain_exceeded(threshold);
        self.around(Call::Drain { threshold }, running).await
    }

    async fn record_failures(&self, failures: &[FailedAttempt]) -> Result<(), OutboxError> {
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
        lease: Duration,
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

    async fn prune(&self, age: Duration, limit: usize) -> Result<usize, OutboxError> {
        let running = self.heap.prune(age, limit);
        self.around(Call::Prune { age, limit }, running).await
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Recording");
        debug.field("client", &self.client).finish_non_exhaustive()
    }
}

impl Display for Item {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Elapsed(time) => write!(
                f,
                "  [{:5}]        the clock moves on by {time:?}",
                self.began
            ),
            What::Called { client, call, .. } => {
                let ended = self.ended();
                let ended = ended.map_or_else(|| "never".to_owned(), |ended| ended.to_string());
                write!(
                    f,
                    "  [{:5}, {ended:>5}] client {client}: {call}",
                    self.began
                )
            }
        }
    }
}

impl Display for Got {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str(" -> not it"),
            Self::Unknown => f.write_str(" -> no answer"),
            Self::Entry(entry) => {
                write!(f, " -> count {}", entry.failure_count)?;
                match &entry.last_error {
                    Some(error) => write!(f, " {:?}", error.as_str()),
                    None => Ok(()),
                }
            }
        }
    }
}

impl Display for Violation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Violation {}
