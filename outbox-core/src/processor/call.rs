//! One call of the transport, with a timeout and with its panics caught.

use super::destinations::{Target, label};
use super::spans::Traces;
use crate::object::{ErrorText, Event};
use crate::shutdown::Stop;
use crate::transport::{PublishError, PublishErrorKind, Transport};
use futures_util::FutureExt;
use std::any::Any;
use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::{Duration, Instant, sleep};
use tracing::Instrument;

/// The result of publishing one event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    Published,
    Rejected(ErrorText),
    Permanent {
        event_type: String,
        reason: ErrorText,
    },
    /// The broker, or one destination, cannot be reached or is misconfigured.
    Unavailable {
        destination: Option<Arc<str>>,
        kind: PublishErrorKind,
        error: ErrorText,
    },
    Throttled {
        destination: Option<Arc<str>>,
        after: Duration,
        error: ErrorText,
    },
    /// Not sent, because its destination pauses.
    Paused(Arc<str>),
    /// Not sent: a worker was lost while it held this event alone.
    Lost(ErrorText),
    /// Not sent, or cancelled at shutdown.
    Untried,
}

/// When the running call of the transport was made.
#[derive(Clone, Debug)]
pub(super) struct Started(Arc<Mutex<Instant>>);

impl Started {
    pub(super) fn now() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    pub(super) fn at(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn again(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// Publishes events of one destination.
#[derive(Clone, Debug)]
pub(super) struct Publisher<'w> {
    pub(super) transport: &'w dyn Transport,
    pub(super) timeout: Duration,
    /// The most bytes of one call with several events.
    pub(super) bytes: usize,
    /// When the lease of the claim runs out.
    pub(super) lease_end: Instant,
    pub(super) stop: Stop,
}

enum Answer {
    Results(Vec<Result<(), PublishError>>),
    /// The call failed as a whole: it panicked, or its answers do not fit its events.
    Broken(ErrorText),
    TimedOut,
    Stopped,
}

/// The verdicts so far of the events of one destination.
struct Judgement<'e> {
    target: Target,
    verdicts: Vec<Verdict>,
    /// The keys of which an event was not accepted.
    closed: HashSet<&'e str>,
    /// No further call makes sense.
    halted: bool,
}

impl Publisher<'_> {
    /// One verdict per event. A call that fails as a whole is split until the culprit is alone, and so
    /// is one with an event behind another of its key that was not taken.
    pub(super) async fn publish(
        mut self,
        events: &[Event],
        target: Target,
        started: Started,
        traces: Traces,
    ) -> Vec<Verdict> {
        let mut judgement = Judgement {
            target,
            verdicts: Vec::with_capacity(events.len()),
            closed: HashSet::new(),
            halted: false,
        };
        let mut parts = within(events, self.bytes);
        parts.reverse();
        while let Some(part) = parts.pop() {
            if judgement.halted || !self.may_call() {
                judgement.halted = true;
                judgement.all(part, &Verdict::Untried);
            } else if part.iter().any(|event| judgement.is_closed(event)) {
                match part {
                    [_] => judgement.all(part, &Verdict::Untried),
                    part => parts.extend(halves(part)),
                }
            } else {
                started.again();
                let spans = traces.call(part, &judgement.target);
                let first = judgement.verdicts.len();
                match self.call(part).instrument(spans.call()).await {
                    Answer::Broken(_) if part.len() > 1 => parts.extend(halves(part)),
                    answer => judgement.add(part, answer, self.timeout),
                }
                spans.end(&judgement.verdicts[first..]);
            }
        }
        judgement.verdicts
    }

    /// A call must be able to time out before another worker may take the claim over.
    pub(super) fn may_call(&self) -> bool {
        !self.stop.requested() && Instant::now() + self.timeout < self.lease_end
    }

    async fn call(&mut self, events: &[Event]) -> Answer {
        let transport = self.transport;
        // A panic may leave the transport in an inconsistent state, which its author must handle. The
        // worker changes no state during the call.
        let publish = AssertUnwindSafe(async { transport.publish(events).await }).catch_unwind();
        tokio::select! {
            biased;
            results = publish => match results {
                Ok(results) if results.len() == events.len() => Answer::Results(results),
                Ok(results) => Answer::Broken(ErrorText::new(&format!(
                    "the transport gave {} answers for {} events", results.len(), events.len()
                ))),
                Err(panic) => Answer::Broken(panic_text(&*panic)),
            },
            () = sleep(self.timeout) => Answer::TimedOut,
            () = self.stop.grace_over() => Answer::Stopped,
        }
    }
}

impl<'e> Judgement<'e> {
    fn add(&mut self, part: &'e [Event], answer: Answer, timeout: Duration) {
        match answer {
            Answer::Results(results) => {
                for (event, result) in part.iter().zip(results) {
                    let verdict = self.judge(event, result);
                    self.verdicts.push(verdict);
                }
            }
            Answer::Broken(text) => {
                let keys = part
                    .iter()
                    .filter_map(|event| event.ordering_key.as_deref());
                self.closed.extend(keys);
                self.all(part, &Verdict::Rejected(text));
            }
            Answer::TimedOut => {
                self.halted = true;
                let verdict = Verdict::Unavailable {
                    destination: self.target.name().cloned(),
                    kind: PublishErrorKind::Unavailable,
                    error: ErrorText::new(&format!("no answer within {timeout:?}")),
                };
                self.all(part, &verdict);
            }
            Answer::Stopped => {
                self.halted = true;
                self.all(part, &Verdict::Untried);
            }
        }
    }

    fn all(&mut self, part: &[Event], verdict: &Verdict) {
        self.verdicts.extend(part.iter().map(|_| verdict.clone()));
    }

    fn is_closed(&self, event: &Event) -> bool {
        let key = event.ordering_key.as_deref();
        key.is_some_and(|key| self.closed.contains(key))
    }

    /// The destination that an error is about. If the transport has named it, the error may give it
    /// another name.
    fn destination_of(&self, error: &PublishError) -> Option<Arc<str>> {
        let name = error.destination()?;
        match &self.target {
            Target::Named(named) => Some(Arc::clone(named)),
            Target::Learnt(_) | Target::Unknown => Some(label(name)),
        }
    }

    /// The verdict of an answer. An error after an event of the same key that was not accepted is
    /// ignored.
    fn judge(&mut self, event: &'e Event, result: Result<(), PublishError>) -> Verdict {
        let Err(error) = result else {
            return Verdict::Published;
        };
        if self.is_closed(event) {
            return Verdict::Untried;
        }
        self.closed.extend(event.ordering_key.as_deref());
        let destination = self.destination_of(&error);
        let text = ErrorText::from_error(&error);
        match error.kind() {
            PublishErrorKind::Rejected => Verdict::Rejected(text),
            PublishErrorKind::Permanent => Verdict::Permanent {
                event_type: event.event_type.clone(),
                reason: text,
            },
            kind @ (PublishErrorKind::Unavailable | PublishErrorKind::Misconfigured) => {
                self.halted = true;
                Verdict::Unavailable {
                    destination,
                    kind,
                    error: text,
                }
            }
            PublishErrorKind::Throttled(after) => {
                self.halted = true;
                Verdict::Throttled {
                    destination,
                    after,
                    error: text,
                }
            }
        }
    }
}

/// Both halves, the second one first, because the parts are a stack.
fn halves(part: &[Event]) -> [&[Event]; 2] {
    let (first, second) = part.split_at(part.len() / 2);
    [second, first]
}

/// Cuts `events` into parts that have at most `bytes` each, or are a single event.
fn within(mut events: &[Event], bytes: usize) -> Vec<&[Event]> {
    let mut parts = Vec::new();
    while !events.is_empty() {
        let mut size = 0_usize;
        let fits = |event: &&Event| {
            size = size.saturating_add(event.size());
            size <= bytes
        };
        let count = events.iter().take_while(fits).count().max(1);
        let (part, rest) = events.split_at(count);
        parts.push(part);
        events = rest;
    }
    parts
}

fn panic_text(panic: &(dyn Any + Send)) -> ErrorText {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    ErrorText::new(&format!("the transport panicked: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_as_many_events_as_fit_but_at_least_one() {
        let sizes = [3, 3, 4, 11, 10, 0, 1, 9];
        let events = sizes.map(|size| Event::new("x", vec![0; size]));
        let parts: Vec<Vec<usize>> = within(&events, 10)
            .into_iter()
            .map(|part| part.iter().map(Event::size).collect())
            .collect();
        assert_eq!(parts, [vec![3, 3, 4], vec![11], vec![10, 0], vec![1, 9]]);
        assert!(within(&[], 10).is_empty());
    }
}
