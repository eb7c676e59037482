//! Each clause of the transport's contract is broken once, and the case that names it says so.

use crate::harness::{Trial, block_on};
use async_trait::async_trait;
use outbox_conformance::transport::{
    CASES, LimitedBroker, MemoryBroker, StoppableBroker, TransportFixture, clauses, delivery,
    limits, order, outage,
};
use outbox_core::{Event, EventId, PublishError, PublishErrorKind, Transport};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    None,
    AnswersNoEvent,
    AnswersTooFew,
    RefusesTheLast,
    DropsTheLast,
    LosesHeaders,
    LosesTheKey,
    ChangesTheType,
    ChangesWhenItWasMade,
    LosesLineBreaksInHeaders,
    ChangesTheId,
    ChangesTheContentType,
    CutsThePayload,
    ReversesEachPair,
    LosesInAnInterleaving,
    RejectsInAnOutage,
    IsOkInAnOutage,
    NeverComesBack,
    RejectsTheTooLarge,
    FailsTheNeighbours,
    AnswersInReverse,
    AnswersNothingInAnOutage,
    ReversesACall,
    AcceptsEventsAfterARefusedOne,
    AnswersOkAfterARefusedEvent,
}

/// Which case refuses which fault.
const REFUSALS: &[(Fault, &str)] = &[
    (Fault::AnswersNoEvent, "an_empty_call_is_answered_empty"),
    (Fault::AnswersTooFew, "every_event_is_answered_in_order"),
    (Fault::RefusesTheLast, "every_event_is_answered_in_order"),
    (Fault::DropsTheLast, "what_is_answered_ok_is_at_the_broker"),
    (Fault::LosesHeaders, "an_event_arrives_unchanged"),
    (Fault::LosesTheKey, "an_event_arrives_unchanged"),
    (Fault::ChangesTheType, "an_event_arrives_unchanged"),
    (Fault::ChangesWhenItWasMade, "an_event_arrives_unchanged"),
    (
        Fault::LosesLineBreaksInHeaders,
        "an_event_arrives_unchanged",
    ),
    (Fault::ChangesTheId, "an_event_arrives_unchanged"),
    (Fault::ChangesTheContentType, "an_event_arrives_unchanged"),
    (Fault::CutsThePayload, "an_event_arrives_unchanged"),
    (
        Fault::ReversesEachPair,
        "calls_one_after_another_keep_their_order",
    ),
    (Fault::LosesInAnInterleaving, "concurrent_calls_all_arrive"),
    (
        Fault::RejectsInAnOutage,
        "an_outage_is_unavailable_and_ends",
    ),
    (Fault::IsOkInAnOutage, "an_outage_is_unavailable_and_ends"),
    (Fault::NeverComesBack, "an_outage_is_unavailable_and_ends"),
    (
        Fault::AnswersNothingInAnOutage,
        "an_outage_is_unavailable_and_ends",
    ),
    (
        Fault::RejectsTheTooLarge,
        "a_too_large_event_is_permanent_and_its_neighbours_arrive",
    ),
    (
        Fault::FailsTheNeighbours,
        "a_too_large_event_is_permanent_and_its_neighbours_arrive",
    ),
    (
        Fault::AnswersInReverse,
        "a_too_large_event_is_permanent_and_its_neighbours_arrive",
    ),
    (
        Fault::ReversesACall,
        "events_of_one_key_in_a_call_keep_their_order",
    ),
    (
        Fault::AcceptsEventsAfterARefusedOne,
        "no_event_is_taken_after_a_refused_one_of_its_key",
    ),
    (
        Fault::AnswersOkAfterARefusedEvent,
        "no_event_is_taken_after_a_refused_one_of_its_key",
    ),
];

#[derive(Clone, Debug)]
struct Saboteur {
    broker: MemoryBroker,
    fault: Fault,
    waiting: Arc<tokio::sync::Mutex<Option<Event>>>,
    inside: Arc<std::sync::atomic::AtomicUsize>,
    away: Arc<std::sync::atomic::AtomicBool>,
}

impl Saboteur {
    fn new(fault: Fault) -> Self {
        Self {
            broker: match fault {
                Fault::AcceptsEventsAfterARefusedOne => MemoryBroker::new(),
                _ => MemoryBroker::new().keeping_order(),
            },
            fault,
            waiting: Arc::default(),
            inside: Arc::default(),
            away: Arc::default(),
        }
    }

    fn change(&self, mut event: Event) -> Event {
        match self.fault {
            Fault::LosesHeaders => event.headers.clear(),
            Fault::LosesTheKey => event.ordering_key = None,
            Fault::ChangesTheType => event.event_type.make_ascii_uppercase(),
            // A broker that keeps whole seconds.
            Fault::ChangesWhenItWasMade => {
                let since = event.created_at.duration_since(SystemTime::UNIX_EPOCH);
                let seconds = since.expect("a time after 1970").as_secs();
                event.created_at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            }
            Fault::LosesLineBreaksInHeaders => event
                .headers
                .iter_mut()
                .for_each(|(_, value)| *value = value.replace(['\r', '\n'], " ")),
            Fault::ChangesTheId => event.id = EventId::new(),
            Fault::ChangesTheContentType => event.content_type.push_str("; charset=utf-8"),
            Fault::CutsThePayload => event.payload.truncate(3),
            _ => {}
        }
        event
    }
}

#[async_trait]
impl Transport for Saboteur {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        use std::sync::atomic::Ordering::SeqCst;
        let fail = |kind| Err(PublishError::new(kind));
        let away = self.away.load(SeqCst);
        let mut sent: Vec<Event> = events
            .iter()
            .cloned()
            .map(|event| self.change(event))
            .collect();
        match self.fault {
            Fault::AnswersNoEvent if events.is_empty() => return vec![Ok(())],
            Fault::RejectsInAnOutage if away => {
                return events
                    .iter()
                    .map(|_| fail(PublishErrorKind::Rejected))
                    .collect();
            }
            Fault::AnswersNothingInAnOutage if away => return Vec::new(),
            Fault::IsOkInAnOutage if away => return events.iter().map(|_| Ok(())).collect(),
            Fault::ReversesACall => sent.reverse(),
            Fault::DropsTheLast => {
                sent.pop();
                self.broker.publish(&sent).await;
                return events.iter().map(|_| Ok(())).collect();
            }
            Fault::ReversesEachPair => {
                let mut waiting = self.waiting.lock().await;
                sent.extend(waiting.take());
                if events.len() == 1 && sent.len() == 1 {
                    *waiting = sent.pop();
                    return vec![Ok(())];
                }
            }
            Fault::LosesInAnInterleaving => {
                self.inside.fetch_add(1, SeqCst);
                tokio::task::yield_now().await;
                if self.inside.load(SeqCst) > 1 {
                    sent.pop();
                }
                self.broker.publish(&sent).await;
                self.inside.fetch_sub(1, SeqCst);
                return events.iter().map(|_| Ok(())).collect();
            }
            _ => {}
        }
        let mut answers = self.broker.publish(&sent).await;
        match self.fault {
            Fault::AnswersOkAfterARefusedEvent => answers
                .iter_mut()
                .filter(|answer| {
                    let kind = answer.as_ref().err().map(PublishError::kind);
                    kind == Some(PublishErrorKind::Unavailable)
                })
                .for_each(|answer| *answer = Ok(())),
            Fault::AnswersTooFew => drop(answers.pop()),
            Fault::AnswersInReverse => answers.reverse(),
            Fault::RefusesTheLast => {
                if let Some(last) = answers.last_mut() {
                    *last = fail(PublishErrorKind::Rejected);
                }
            }
            Fault::RejectsTheTooLarge | Fault::FailsTheNeighbours => {
                if let Some(large) = answers.iter().position(Result::is_err) {
                    if self.fault == Fault::RejectsTheTooLarge {
                        answers[large] = fail(PublishErrorKind::Rejected);
                    } else {
                        answers.fill_with(|| fail(PublishErrorKind::Permanent));
                    }
                }
            }
            _ => {}
        }
        answers
    }

    fn keeps_order(&self) -> bool {
        true
    }
}

#[async_trait]
impl TransportFixture for Saboteur {
    async fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(self.clone())
    }

    async fn received(&self) -> Vec<Event> {
        self.broker.events()
    }
}

#[async_trait]
impl StoppableBroker for Saboteur {
    async fn stop(&self) {
        self.away.store(true, std::sync::atomic::Ordering::SeqCst);
        self.broker.set_stopped(true);
    }

    async fn start(&self) {
        self.away.store(false, std::sync::atomic::Ordering::SeqCst);
        self.broker.set_stopped(self.fault == Fault::NeverComesBack);
    }
}

#[async_trait]
impl LimitedBroker for Saboteur {
    async fn too_large(&self) -> Event {
        self.broker.too_large().await
    }
}

outbox_conformance::transport_suite! { @list runner }

pub(crate) const TRIAL: Trial<Fault> = Trial {
    cases: CASES,
    clauses,
    refusals: REFUSALS,
    sound: Fault::None,
    run: |case, fault| block_on(run(case, || Saboteur::new(fault))),
};

#[test]
fn every_case_refuses_its_faults_in_every_run() {
    TRIAL.judge();
}
