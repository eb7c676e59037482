//! A transport with one fault, and its broker.

use super::Fault;
use super::link::{Client, Link};
use super::traps::Trap;
use async_trait::async_trait;
use outbox_conformance::Wire;
use outbox_conformance::transport::{
    BlockingBroker, ClosingBroker, LimitedBroker, ManyDestinations, MemoryBroker,
    RemovableDestination, RestrictedBroker, RoutingBroker, StoppableBroker, ThrottlingBroker,
    TransportFixture, WireFixture,
};
use outbox_core::{Event, EventId, PublishError, PublishErrorKind, Transport, TransportCheck};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[derive(Clone, Debug)]
pub(super) struct Saboteur {
    pub(super) broker: MemoryBroker,
    pub(super) fault: Fault,
    pub(super) trap: Arc<Trap>,
    link: Arc<Link>,
    waiting: Arc<tokio::sync::Mutex<Vec<Event>>>,
    inside: Arc<std::sync::atomic::AtomicUsize>,
    away: Arc<std::sync::atomic::AtomicBool>,
    checked: Arc<tokio::sync::OnceCell<TransportCheck>>,
}

impl Saboteur {
    pub(super) fn new(fault: Fault) -> Self {
        let broker = MemoryBroker::new().keeping_order().with_destinations();
        Self {
            broker: match fault {
                // What it sends twice must show.
                Fault::DeliversADuplicate | Fault::SendsTheRestWithTheNextCall => broker,
                _ => broker.deduplicating(),
            },
            fault,
            trap: Arc::default(),
            link: Arc::default(),
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
            Fault::RejectsWithoutADestination => *error = as_kind(PublishErrorKind::Rejected),
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
        if let Some(answers) = self.trapped(events).await {
            return answers;
        }
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

#[async_trait]
impl BlockingBroker for Saboteur {
    async fn block(&self) {
        self.broker.block().await;
    }

    async fn unblock(&self) {
        if self.fault != Fault::StaysBlocked {
            self.broker.unblock().await;
        }
    }
}

#[async_trait]
impl ThrottlingBroker for Saboteur {
    async fn fill(&self, events: usize) {
        self.broker.fill(events).await;
    }

    async fn make_room(&self) {
        if self.fault != Fault::StaysFull {
            self.broker.make_room().await;
        }
    }
}

#[async_trait]
impl RoutingBroker for Saboteur {
    async fn unroutable(&self) -> Event {
        self.broker.unroutable().await
    }
}

#[async_trait]
impl RestrictedBroker for Saboteur {
    async fn forbidden(&self) -> Event {
        self.broker.forbidden().await
    }
}

#[async_trait]
impl ClosingBroker for Saboteur {
    async fn closing(&self) -> (Event, PublishErrorKind) {
        self.broker.closing().await
    }
}

#[async_trait]
impl WireFixture for Saboteur {
    async fn wired(&self) -> Arc<dyn Transport> {
        let link = Arc::clone(&self.link);
        Arc::new(Client::new(self.broker.clone(), link, self.fault))
    }

    fn wire(&self) -> &dyn Wire {
        &*self.link
    }
}
