//! Each clause of the transport's contract is broken once, and the case that names it says so.

use crate::harness::{Trial, block_on};
use async_trait::async_trait;
use outbox_conformance::transport::{
    CASES, LimitedBroker, ManyDestinations, MemoryBroker, RemovableDestination, StoppableBroker,
    TransportFixture, checks, clauses, delivery, destinations, limits, missing, order, outage,
};
use outbox_core::{Event, EventId, PublishError, PublishErrorKind, Transport, TransportCheck};
use std::borrow::Cow;
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
    ResendsOneEventOfACall,
    SendsTheRestWithoutARefusedFirstEvent,
    SendsWhatItAnswersAsRefused,
    SendsTheRestWithTheNextCall,
    IsPermanentWithoutADestination,
    IsUnavailableWithoutADestination,
    IsOkWithoutADestination,
    NamesNoDestination,
    NamesAnotherDestination,
    RemembersThatADestinationIsMissing,
    FailsAllDestinations,
    HasOneDestination,
    ChecksNothing,
    NamesNoDestinationInACheck,
    ChecksAsUnavailable,
    FindsAProblemAlways,
    PublishesInACheck,
    RemembersTheFirstCheck,
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
    (
        Fault::ResendsOneEventOfACall,
        "events_of_one_key_in_a_call_keep_their_order",
    ),
    (
        Fault::SendsTheRestWithoutARefusedFirstEvent,
        "no_event_is_taken_after_a_refused_one_of_its_key",
    ),
    (
        Fault::SendsWhatItAnswersAsRefused,
        "no_event_is_taken_after_a_refused_one_of_its_key",
    ),
    (
        Fault::SendsTheRestWithTheNextCall,
        "no_event_is_taken_after_a_refused_one_of_its_key",
    ),
    (Fault::IsPermanentWithoutADestination, MISSING),
    (Fault::IsUnavailableWithoutADestination, MISSING),
    (Fault::IsOkWithoutADestination, MISSING),
    (Fault::NamesNoDestination, MISSING),
    (Fault::NamesAnotherDestination, MISSING),
    (Fault::RemembersThatADestinationIsMissing, MISSING),
    (Fault::AnswersTooFew, MISSING),
    (Fault::FailsAllDestinations, ANOTHER),
    (Fault::HasOneDestination, ANOTHER),
    (Fault::NamesNoDestination, ANOTHER),
    (Fault::ChecksNothing, "a_check_names_a_missing_destination"),
    (
        Fault::NamesNoDestinationInACheck,
        "a_check_names_a_missing_destination",
    ),
    (
        Fault::ChecksAsUnavailable,
        "a_check_names_a_missing_destination",
    ),
    (
        Fault::RemembersTheFirstCheck,
        "a_check_names_a_missing_destination",
    ),
    (Fault::FindsAProblemAlways, SOUND),
    (Fault::PublishesInACheck, SOUND),
];

const MISSING: &str = "a_missing_destination_is_misconfigured_until_it_is_restored";
const ANOTHER: &str = "a_missing_destination_does_not_affect_another";
const SOUND: &str = "a_check_of_a_sound_destination_finds_no_problem";

#[derive(Clone, Debug)]
struct Saboteur {
    broker: MemoryBroker,
    fault: Fault,
    waiting: Arc<tokio::sync::Mutex<Vec<Event>>>,
    inside: Arc<std::sync::atomic::AtomicUsize>,
    away: Arc<std::sync::atomic::AtomicBool>,
    checked: Arc<tokio::sync::OnceCell<TransportCheck>>,
}

impl Saboteur {
    fn new(fault: Fault) -> Self {
        Self {
            broker: MemoryBroker::new().keeping_order().with_destinations(),
            fault,
            waiting: Arc::default(),
            inside: Arc::default(),
            away: Arc::default(),
            checked: Arc::default(),
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

    async fn one_by_one(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        let mut answers = Vec::new();
        for event in events {
            answers.extend(self.broker.publish(std::slice::from_ref(event)).await);
        }
        answers
    }

    /// Sends the events behind a refused one of their key.
    async fn send_the_rest(&self, events: &[Event], answers: &mut [Result<(), PublishError>]) {
        let is_permanent = |answer: &Result<(), PublishError>| {
            let kind = answer.as_ref().err().map(PublishError::kind);
            kind == Some(PublishErrorKind::Permanent)
        };
        let Some(refused) = answers.iter().position(is_permanent) else {
            return;
        };
        let key = &events[refused].ordering_key;
        let is_first = !events[..refused]
            .iter()
            .any(|event| event.ordering_key == *key);
        for (event, answer) in events.iter().zip(answers).skip(refused + 1) {
            if event.ordering_key != *key || key.is_none() {
                continue;
            }
            match self.fault {
                Fault::SendsTheRestWithoutARefusedFirstEvent if is_first => {
                    *answer = self.one_by_one(std::slice::from_ref(event)).await.remove(0);
                }
                Fault::SendsWhatItAnswersAsRefused => {
                    self.one_by_one(std::slice::from_ref(event)).await;
                }
                Fault::SendsTheRestWithTheNextCall => {
                    self.waiting.lock().await.push(event.clone());
                }
                _ => {}
            }
        }
    }

    /// Changes an error about a missing destination.
    fn alter(&self, answer: &mut Result<(), PublishError>) {
        let Err(error) = answer else { return };
        if error.kind() != PublishErrorKind::Misconfigured {
            return;
        }
        let as_kind = |kind| {
            let name = error.destination().unwrap_or_default();
            PublishError::new(kind).with_destination(name)
        };
        match self.fault {
            Fault::IsPermanentWithoutADestination => *error = as_kind(PublishErrorKind::Permanent),
            Fault::IsUnavailableWithoutADestination | Fault::ChecksAsUnavailable => {
                *error = as_kind(PublishErrorKind::Unavailable);
            }
            Fault::IsOkWithoutADestination => *answer = Ok(()),
            Fault::NamesNoDestination | Fault::NamesNoDestinationInACheck => {
                *error = PublishError::new(error.kind());
            }
            Fault::NamesAnotherDestination => *error = error.clone().with_destination("another"),
            _ => {}
        }
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
            Fault::ResendsOneEventOfACall if sent.len() > 7 => {
                let resent = sent.remove(7);
                sent.push(resent);
            }
            Fault::AcceptsEventsAfterARefusedOne => return self.one_by_one(&sent).await,
            Fault::SendsTheRestWithTheNextCall => {
                let waiting = std::mem::take(&mut *self.waiting.lock().await);
                self.one_by_one(&waiting).await;
            }
            Fault::DropsTheLast => {
                sent.pop();
                self.broker.publish(&sent).await;
                return events.iter().map(|_| Ok(())).collect();
            }
            Fault::ReversesEachPair => {
                let mut waiting = self.waiting.lock().await;
                sent.append(&mut waiting);
                if events.len() == 1 && sent.len() == 1 {
                    waiting.append(&mut sent);
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
        self.send_the_rest(&sent, &mut answers).await;
        for answer in &mut answers {
            self.alter(answer);
        }
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

    fn destination<'a>(&'a self, event: &'a Event) -> Option<Cow<'a, str>> {
        match self.fault {
            Fault::HasOneDestination => Some("conformance".into()),
            _ => self.broker.destination(event),
        }
    }

    async fn check(&self) -> TransportCheck {
        let found = || self.broker.check();
        let mut check = match self.fault {
            Fault::ChecksNothing => TransportCheck::default(),
            Fault::RemembersTheFirstCheck => self.checked.get_or_init(found).await.clone(),
            _ => found().await,
        };
        for problem in &mut check.problems {
            let mut answer = Err(problem.clone());
            self.alter(&mut answer);
            if let Err(altered) = answer {
                *problem = altered;
            }
        }
        match self.fault {
            Fault::FindsAProblemAlways => {
                check.problem(PublishError::new(PublishErrorKind::Rejected))
            }
            Fault::PublishesInACheck => {
                self.broker
                    .publish(&[Event::new("conformance.check", "")])
                    .await;
                check
            }
            _ => check,
        }
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
impl RemovableDestination for Saboteur {
    async fn remove(&self, event: &Event) {
        self.broker.remove(event).await;
        self.broker
            .set_missing("elsewhere", self.fault == Fault::FailsAllDestinations);
    }

    async fn restore(&self, event: &Event) {
        if self.fault != Fault::RemembersThatADestinationIsMissing {
            self.broker.restore(event).await;
        }
    }
}

#[async_trait]
impl ManyDestinations for Saboteur {
    async fn elsewhere(&self) -> Event {
        self.broker.elsewhere().await
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
