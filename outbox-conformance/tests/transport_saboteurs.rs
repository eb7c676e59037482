//! Each clause of the transport's contract is broken once, and the case that names it says so.

use async_trait::async_trait;
use outbox_conformance::transport::{
    CASES, LimitedBroker, MemoryBroker, StoppableBroker, TransportFixture, delivery, limits, outage,
};
use outbox_core::{Event, EventId, PublishError, PublishErrorKind, Transport};
use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

const RUNS: usize = 200;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    None,
    AnswersNoEvent,
    AnswersTooFew,
    RefusesTheLast,
    DropsTheLast,
    LosesHeaders,
    LosesTheKey,
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
}

/// Which case refuses which fault.
const REFUSALS: &[(Fault, &str)] = &[
    (Fault::AnswersNoEvent, "an_empty_call_is_answered_empty"),
    (Fault::AnswersTooFew, "every_event_is_answered_in_order"),
    (Fault::RefusesTheLast, "every_event_is_answered_in_order"),
    (Fault::DropsTheLast, "what_is_answered_ok_is_at_the_broker"),
    (Fault::LosesHeaders, "an_event_arrives_unchanged"),
    (Fault::LosesTheKey, "an_event_arrives_unchanged"),
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
        Fault::RejectsTheTooLarge,
        "a_too_large_event_is_permanent_and_its_neighbours_arrive",
    ),
    (
        Fault::FailsTheNeighbours,
        "a_too_large_event_is_permanent_and_its_neighbours_arrive",
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
            broker: MemoryBroker::new(),
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
            Fault::IsOkInAnOutage if away => return events.iter().map(|_| Ok(())).collect(),
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
            Fault::AnswersTooFew => drop(answers.pop()),
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

/// Whether the case passes. Two tasks on one thread interleave at each await, the same way always.
fn passes(case: &str, fault: Fault) -> bool {
    let fixture = Saboteur::new(fault);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let run = async {
        match case {
            "an_empty_call_is_answered_empty" => {
                delivery::an_empty_call_is_answered_empty(fixture).await;
            }
            "every_event_is_answered_in_order" => {
                delivery::every_event_is_answered_in_order(fixture).await;
            }
            "what_is_answered_ok_is_at_the_broker" => {
                delivery::what_is_answered_ok_is_at_the_broker(fixture).await;
            }
            "an_event_arrives_unchanged" => delivery::an_event_arrives_unchanged(fixture).await,
            "calls_one_after_another_keep_their_order" => {
                delivery::calls_one_after_another_keep_their_order(fixture).await;
            }
            "concurrent_calls_all_arrive" => delivery::concurrent_calls_all_arrive(fixture).await,
            "an_outage_is_unavailable_and_ends" => {
                outage::an_outage_is_unavailable_and_ends(fixture).await;
            }
            "a_too_large_event_is_permanent_and_its_neighbours_arrive" => {
                limits::a_too_large_event_is_permanent_and_its_neighbours_arrive(fixture).await;
            }
            other => panic!("no case is called {other}"),
        }
    };
    std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(run))).is_ok()
}

#[test]
fn every_fault_is_refused_in_every_run() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for &(fault, case) in REFUSALS {
        let refused = (0..RUNS).filter(|_| !passes(case, fault)).count();
        if refused < RUNS {
            missed.push(format!(
                "{case} refused {fault:?} in {refused} of {RUNS} runs"
            ));
        }
    }
    for (_, case) in CASES {
        if !passes(case, Fault::None) {
            missed.push(format!("{case} refuses a sound transport"));
        }
    }
    drop(std::panic::take_hook());
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn every_case_refuses_a_fault() {
    let refusing: HashSet<&str> = REFUSALS.iter().map(|(_, case)| *case).collect();
    let listed: HashSet<&str> = CASES.iter().map(|(_, case)| *case).collect();
    assert_eq!(refusing, listed);
}
