//! Transports that fall into a trap: a broker that blocks, is full, has an event already, closes a
//! channel, or whose caller goes away.

use super::Fault;
use super::saboteur::Saboteur;
use outbox_conformance::transport::MemoryBroker;
use outbox_core::{Event, PublishError, PublishErrorKind, Transport};
use std::collections::HashSet;
use std::future::pending;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use tokio::task::yield_now;

pub(super) type Answers = Vec<Result<(), PublishError>>;

/// More events than a faulty transport takes in a call.
const MANY: usize = 500;

/// More bytes than a faulty transport takes in a call.
const MANY_BYTES: usize = 8 << 20;

/// How often a call lets others run before it looks whether its channel was closed.
const TURNS: usize = 10;

/// What a faulty transport remembers of earlier calls.
#[derive(Debug, Default)]
pub(super) struct Trap {
    is_busy: AtomicBool,
    has_failed: AtomicBool,
    /// How many channels have been closed.
    closed: AtomicUsize,
    answers: Mutex<Answers>,
    events: Mutex<Vec<Event>>,
    first: Mutex<Option<PublishError>>,
}

impl Trap {
    fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().expect("no panic"))
    }
}

fn all(events: &[Event], kind: PublishErrorKind) -> Answers {
    PublishError::new(kind).for_all(events.len())
}

fn all_ok(events: &[Event]) -> Answers {
    events.iter().map(|_| Ok(())).collect()
}

fn kind(answer: &Result<(), PublishError>) -> Option<PublishErrorKind> {
    answer.as_ref().err().map(PublishError::kind)
}

impl Saboteur {
    /// The answers of a transport with a fault of this module.
    pub(super) async fn trapped(&self, events: &[Event]) -> Option<Answers> {
        match self.fault {
            Fault::RejectsADuplicate
            | Fault::IsPermanentForADuplicate
            | Fault::DeduplicatesByContent
            | Fault::TakesACallWithADuplicateForADuplicate => Some(self.duplicates(events).await),
            Fault::RefusesTheRestOfALargeCall
            | Fault::LosesTheRestOfALargeCall
            | Fault::RefusesACallOfManyBytes
            | Fault::LosesTheRestOfACallOfManyBytes => self.large(events).await,
            Fault::StaysBusyAfterADroppedCall
            | Fault::FailsAfterADroppedCall
            | Fault::TakesEventsOfADroppedCallForPublished
            | Fault::SendsTheEndOfADroppedCallFirst
            | Fault::GivesALaterCallTheAnswersOfADroppedOne => Some(self.dropped(events).await),
            Fault::HangsWhileBlocked | Fault::RejectsWhileBlocked | Fault::IsOkWhileBlocked => {
                Some(self.blocked(events).await)
            }
            Fault::KeepsTheRestOfAFailedCall => Some(self.keeping(events).await),
            Fault::RejectsWhenFull
            | Fault::IsPermanentWhenFull
            | Fault::IsUnavailableWhenFull
            | Fault::IsOkWhenFull
            | Fault::ThrottlesForNoTime
            | Fault::TakesLaterEventsOfAKeyWhenFull => Some(self.full(events).await),
            Fault::RemembersItsFirstAnswer => Some(self.first(events).await),
            Fault::BlamesTheNeighbours
            | Fault::HangsWhenAChannelCloses
            | Fault::IsOkForWhatAClosedChannelLost
            | Fault::OpensNoOtherChannel
            | Fault::NeverRecoversAfterARefusal
            | Fault::IsUnavailableForTheCulprit => Some(self.on_a_channel(events).await),
            _ => None,
        }
    }

    /// A broker that has some of the events.
    async fn duplicates(&self, events: &[Event]) -> Answers {
        let kept = self.broker.events();
        let is_kept = |event: &Event| kept.iter().any(|other| other.id == event.id);
        let is_like = |event: &Event| {
            let mut others = kept.iter().filter(|other| other.id != event.id);
            others.any(|other| other.payload == event.payload)
        };
        if self.fault == Fault::TakesACallWithADuplicateForADuplicate && events.iter().any(is_kept)
        {
            return all_ok(events);
        }
        if self.fault == Fault::DeduplicatesByContent {
            let others = events.iter().filter(|event| !is_like(event)).cloned();
            self.broker.publish(&others.collect::<Vec<_>>()).await;
            return all_ok(events);
        }
        let refused = match self.fault {
            Fault::RejectsADuplicate => PublishErrorKind::Rejected,
            _ => PublishErrorKind::Permanent,
        };
        let mut answers = self.broker.publish(events).await;
        for (event, answer) in events.iter().zip(&mut answers) {
            if is_kept(event) {
                *answer = Err(PublishError::new(refused));
            }
        }
        answers
    }

    /// A call that is too large for the transport.
    async fn large(&self, events: &[Event]) -> Option<Answers> {
        let sizes = events.iter().scan(0, |sum, event| {
            *sum += event.payload.len();
            Some(*sum)
        });
        let fitting = match self.fault {
            Fault::RefusesTheRestOfALargeCall | Fault::LosesTheRestOfALargeCall => MANY,
            _ => sizes.take_while(|sum| *sum <= MANY_BYTES).count(),
        };
        let (taken, rest) = events
            .split_at_checked(fitting)
            .filter(|(_, rest)| !rest.is_empty())?;
        if self.fault == Fault::RefusesACallOfManyBytes {
            return Some(all(events, PublishErrorKind::Permanent));
        }
        let mut answers = self.broker.publish(taken).await;
        answers.extend(match self.fault {
            Fault::RefusesTheRestOfALargeCall => all(rest, PublishErrorKind::Rejected),
            _ => all_ok(rest),
        });
        Some(answers)
    }

    /// A caller that may go away during the call.
    async fn dropped(&self, events: &[Event]) -> Answers {
        let was_busy = self.trap.is_busy.swap(true, SeqCst);
        if was_busy && self.fault == Fault::SendsTheEndOfADroppedCallFirst {
            let end = self.trap.take_events().pop();
            self.broker.publish(end.as_slice()).await;
        }
        if was_busy && self.fault == Fault::StaysBusyAfterADroppedCall {
            pending::<()>().await;
        }
        if was_busy && self.fault == Fault::FailsAfterADroppedCall {
            return all(events, PublishErrorKind::Unavailable);
        }
        let answers = match self.fault {
            Fault::GivesALaterCallTheAnswersOfADroppedOne => {
                let answers = self.broker.publish(events).await;
                self.trap.answers.lock().expect("no panic").extend(answers);
                yield_now().await;
                let mut answers = self.trap.answers.lock().expect("no panic");
                answers.drain(..events.len()).collect()
            }
            Fault::TakesEventsOfADroppedCallForPublished => {
                let fresh = self.fresh(events);
                yield_now().await;
                self.broker.publish(&fresh).await;
                all_ok(events)
            }
            _ => {
                *self.trap.events.lock().expect("no panic") = events.to_vec();
                yield_now().await;
                self.broker.publish(events).await
            }
        };
        self.trap.is_busy.store(false, SeqCst);
        answers
    }

    /// The events that come for the first time.
    fn fresh(&self, events: &[Event]) -> Vec<Event> {
        let mut known = self.trap.events.lock().expect("no panic");
        let ids: HashSet<_> = known.iter().map(|event| event.id).collect();
        let fresh = events.iter().filter(|event| !ids.contains(&event.id));
        let fresh: Vec<Event> = fresh.cloned().collect();
        known.extend(fresh.iter().cloned());
        fresh
    }

    /// A broker that may be blocked.
    async fn blocked(&self, events: &[Event]) -> Answers {
        let answers = self.broker.publish(events).await;
        if answers.iter().all(Result::is_ok) {
            return answers;
        }
        match self.fault {
            Fault::HangsWhileBlocked => pending().await,
            Fault::RejectsWhileBlocked => all(events, PublishErrorKind::Rejected),
            _ => all_ok(events),
        }
    }

    /// Keeps all but the first event of a call that failed, and sends them before the next call.
    async fn keeping(&self, events: &[Event]) -> Answers {
        for event in self.trap.take_events() {
            self.broker.publish(&[event]).await;
        }
        let answers = self.on_a_channel(events).await;
        if !answers.is_empty() && answers.iter().all(Result::is_err) {
            let mut rest = self.trap.events.lock().expect("no panic");
            rest.extend(events.iter().skip(1).cloned());
        }
        answers
    }

    /// A destination that may be full.
    async fn full(&self, events: &[Event]) -> Answers {
        let mut answers = self.broker.publish(events).await;
        let is_throttled = |answer: &Result<(), PublishError>| {
            matches!(kind(answer), Some(PublishErrorKind::Throttled(_)))
        };
        if !answers.iter().any(is_throttled) {
            return answers;
        }
        let as_kind = match self.fault {
            Fault::RejectsWhenFull => PublishErrorKind::Rejected,
            Fault::IsPermanentWhenFull => PublishErrorKind::Permanent,
            Fault::IsUnavailableWhenFull => PublishErrorKind::Unavailable,
            Fault::ThrottlesForNoTime => PublishErrorKind::Throttled(std::time::Duration::ZERO),
            Fault::IsOkWhenFull => return all_ok(events),
            _ => {
                // Room for a later event than the first that was refused.
                self.broker.set_room(None);
                let last = &events[events.len() - 1..];
                self.broker.publish(last).await;
                self.broker.set_room(Some(0));
                return answers;
            }
        };
        for answer in &mut answers {
            if is_throttled(answer) {
                *answer = Err(PublishError::new(as_kind));
            }
        }
        answers
    }

    /// A transport that looks for its destination once.
    async fn first(&self, events: &[Event]) -> Answers {
        let answers = self.broker.publish(events).await;
        let found = answers.first().and_then(|answer| answer.clone().err());
        let is_first = !self.trap.has_failed.swap(true, SeqCst);
        let mut first = self.trap.first.lock().expect("no panic");
        if is_first {
            *first = found;
        }
        first
            .clone()
            .map_or(answers, |error| error.for_all(events.len()))
    }

    /// A channel that all calls share, and that the broker closes.
    async fn on_a_channel(&self, events: &[Event]) -> Answers {
        let channel = self.trap.closed.load(SeqCst);
        if channel > 0 && self.never_opens_again() {
            return all(events, PublishErrorKind::Unavailable);
        }
        let is_wrong = |event: &Event| {
            let large = event.payload.len() > MemoryBroker::MAX_PAYLOAD;
            large || !event.event_type.starts_with("conformance.")
        };
        if events.iter().any(is_wrong) {
            yield_now().await;
            self.trap.closed.fetch_add(1, SeqCst);
            let answers = self.broker.publish(events).await;
            return match self.fault {
                Fault::IsUnavailableForTheCulprit => all(events, PublishErrorKind::Unavailable),
                _ => answers,
            };
        }
        for _turn in 0..TURNS {
            yield_now().await;
        }
        if self.trap.closed.load(SeqCst) == channel {
            return self.broker.publish(events).await;
        }
        match self.fault {
            Fault::BlamesTheNeighbours => all(events, PublishErrorKind::Permanent),
            Fault::HangsWhenAChannelCloses => pending().await,
            Fault::IsOkForWhatAClosedChannelLost => all_ok(events),
            _ => all(events, PublishErrorKind::Unavailable),
        }
    }

    fn never_opens_again(&self) -> bool {
        let faults = [
            Fault::OpensNoOtherChannel,
            Fault::NeverRecoversAfterARefusal,
        ];
        faults.contains(&self.fault)
    }
}
