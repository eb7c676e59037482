//! A simulated connection: a request is a piece for each event, and its reply is two bytes.

use super::Fault;
use super::traps::Answers;
use async_trait::async_trait;
use outbox_conformance::Wire;
use outbox_conformance::transport::MemoryBroker;
use outbox_core::{Event, PublishError, PublishErrorKind, Transport};
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::yield_now;

const REPLY: usize = 2;

/// How long the client waits for a reply.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Link(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    trouble: Trouble,
    has_cut: bool,
    has_held: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Trouble {
    #[default]
    None,
    CutRequest(usize),
    CutReply(usize),
    HoldReplies,
    HoldAll,
}

/// What happens to a request and to its reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Passes,
    RequestIsCut,
    ReplyIsCut,
    RequestIsHeld,
    ReplyIsHeld,
}

impl Link {
    fn next(&self) -> Fate {
        let mut state = self.state();
        let (left, fate) = match state.trouble {
            Trouble::None => (Trouble::None, Fate::Passes),
            Trouble::CutRequest(0) => (Trouble::None, Fate::RequestIsCut),
            Trouble::CutRequest(pieces) => (Trouble::CutRequest(pieces - 1), Fate::Passes),
            Trouble::CutReply(bytes) if bytes < REPLY => (Trouble::None, Fate::ReplyIsCut),
            Trouble::CutReply(bytes) => (Trouble::CutReply(bytes - REPLY), Fate::Passes),
            Trouble::HoldReplies => (Trouble::HoldReplies, Fate::ReplyIsHeld),
            Trouble::HoldAll => (Trouble::HoldAll, Fate::RequestIsHeld),
        };
        state.trouble = left;
        state.has_cut |= matches!(fate, Fate::RequestIsCut | Fate::ReplyIsCut);
        state.has_held |= fate == Fate::ReplyIsHeld;
        fate
    }

    fn is_sound(&self) -> bool {
        matches!(self.state().trouble, Trouble::None)
    }

    fn begin(&self, trouble: Trouble) {
        *self.state() = State {
            trouble,
            ..State::default()
        };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Wire for Link {
    fn cut_request(&self, pieces: usize) {
        self.begin(Trouble::CutRequest(pieces));
    }

    fn cut_reply(&self, bytes: usize) {
        self.begin(Trouble::CutReply(bytes));
    }

    fn cut_all(&self) {}

    fn hold_replies(&self) {
        self.begin(Trouble::HoldReplies);
    }

    fn hold_all(&self) {
        self.begin(Trouble::HoldAll);
    }

    fn has_held(&self) -> bool {
        self.state().has_held
    }

    async fn held(&self) {
        while !self.has_held() {
            yield_now().await;
        }
    }

    fn repair(&self) -> bool {
        let mut state = self.state();
        state.trouble = Trouble::None;
        std::mem::take(&mut state.has_cut)
    }
}

/// A transport to a broker behind a link, which sends no event after one that failed.
#[derive(Debug)]
pub(super) struct Client {
    broker: MemoryBroker,
    link: Arc<Link>,
    fault: Fault,
    has_lost_a_connection: AtomicBool,
    is_busy: AtomicBool,
    has_late_answer: AtomicBool,
    rest: Mutex<Vec<Event>>,
}

impl Client {
    pub(super) fn new(broker: MemoryBroker, link: Arc<Link>, fault: Fault) -> Self {
        Self {
            broker,
            link,
            fault,
            has_lost_a_connection: AtomicBool::default(),
            is_busy: AtomicBool::default(),
            has_late_answer: AtomicBool::default(),
            rest: Mutex::default(),
        }
    }

    async fn send(&self, event: &Event) -> Result<(), PublishError> {
        self.connect().await?;
        let takes_late = self.fault == Fault::TakesALateAnswerForItsOwn
            && self.has_late_answer.swap(false, SeqCst);
        let fate = self.link.next();
        let mut answer = unavailable();
        if !matches!(fate, Fate::RequestIsCut | Fate::RequestIsHeld) {
            let answers = self.broker.publish(std::slice::from_ref(event)).await;
            if fate == Fate::Passes {
                answer = answers.into_iter().next().unwrap_or(answer);
            }
        }
        if takes_late {
            return Ok(());
        }
        match fate {
            Fate::Passes => answer,
            Fate::RequestIsCut | Fate::ReplyIsCut => self.after_a_cut(fate),
            Fate::RequestIsHeld | Fate::ReplyIsHeld => self.wait(fate).await,
        }
    }

    /// What a client does that has lost its connection before.
    async fn connect(&self) -> Result<(), PublishError> {
        if self.is_busy.load(SeqCst) && self.fault == Fault::StaysBusyWithoutAnAnswer {
            pending::<()>().await;
        }
        match self.fault {
            _ if !self.has_lost_a_connection.load(SeqCst) => Ok(()),
            Fault::NeverConnectsAgain => unavailable(),
            Fault::HangsAfterACut => pending().await,
            _ => Ok(()),
        }
    }

    fn after_a_cut(&self, fate: Fate) -> Result<(), PublishError> {
        let is_first = !self.has_lost_a_connection.swap(true, SeqCst);
        match self.fault {
            Fault::RejectsAfterACut => rejected(),
            Fault::AnswersOkOnceSent if fate == Fate::RequestIsCut => Ok(()),
            Fault::ForgetsConfirmsAfterACut if !is_first => Ok(()),
            _ => unavailable(),
        }
    }

    /// Waits for a reply until the timeout, and then closes the connection. If the caller drops the
    /// future during the wait, the connection stays open and busy.
    async fn wait(&self, fate: Fate) -> Result<(), PublishError> {
        self.is_busy.store(true, SeqCst);
        self.has_late_answer
            .store(fate == Fate::ReplyIsHeld, SeqCst);
        tokio::time::sleep(TIMEOUT).await;
        self.is_busy.store(false, SeqCst);
        self.has_lost_a_connection.store(true, SeqCst);
        match (self.fault, fate) {
            (Fault::WaitsForAnAnswer, Fate::ReplyIsHeld)
            | (Fault::WaitsForASilentBroker, Fate::RequestIsHeld) => pending().await,
            (Fault::RejectsWithoutAnAnswer, Fate::ReplyIsHeld)
            | (Fault::RejectsWithASilentBroker, Fate::RequestIsHeld) => rejected(),
            (Fault::IsOkWithoutAnAnswer, Fate::ReplyIsHeld) => Ok(()),
            _ => unavailable(),
        }
    }
}

fn unavailable() -> Result<(), PublishError> {
    Err(PublishError::new(PublishErrorKind::Unavailable))
}

fn rejected() -> Result<(), PublishError> {
    Err(PublishError::new(PublishErrorKind::Rejected))
}

#[async_trait]
impl Transport for Client {
    async fn publish(&self, events: &[Event]) -> Answers {
        if self.link.is_sound() {
            let rest = std::mem::take(&mut *self.rest.lock().expect("no panic"));
            for event in rest {
                self.broker.publish(&[event]).await;
            }
        }
        let mut answers = Vec::new();
        for event in events {
            let has_failed = answers.last().is_some_and(Result::is_err);
            if has_failed && self.fault == Fault::SendsTheRestAfterACut {
                self.broker.publish(std::slice::from_ref(event)).await;
            }
            if has_failed && self.fault == Fault::KeepsTheRestOfAFailedCall {
                self.rest.lock().expect("no panic").push(event.clone());
            }
            answers.push(if has_failed {
                unavailable()
            } else {
                self.send(event).await
            });
        }
        let has_begun = answers.first().is_some_and(Result::is_ok);
        if has_begun && self.fault == Fault::TakesOneAnswerForAll {
            return events.iter().map(|_| Ok(())).collect();
        }
        answers
    }

    fn keeps_order(&self) -> bool {
        true
    }
}
