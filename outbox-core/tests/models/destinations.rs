//! A destination that fails and works again: calls, probes, events that are held, and their resumption
//! (`outbox-core/src/processor/destinations.rs`).
//!
//! The transport names the destination of each event, or only its errors do. Then the worker learns the
//! destination of an event from its first error, and sends it without asking the breaker before.
//!
//! Each event is claimed and published by itself, and several claims are open at the same time. The
//! delays of held events never end here, so only a resumption makes them due.

use crate::check::{breaks, holds, soak};
use stateright::{Model, Property};

/// A mistake in the protocol, which the model must find.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// The worker does not look whether the destination works by the time an event is held.
    NoLookAfterHold,
    /// The end of a probe that says nothing is not noted.
    ProbeNeverEnds,
    /// The store is asked for a probe once after each pause.
    AsksOnce,
    /// The end of a call that hung resumes nothing.
    HungCallResumesNothing,
    /// Events are sent although a probe is running.
    ManyProbes,
    /// Events are sent although a call hangs.
    IgnoresHungCalls,
    /// An answer to a call from before the end of the latest pause counts.
    LateAnswersCount,
    /// The worker does not remember the destination that an error named.
    LearnsNothing,
    /// An error of a call that was made without a destination counts only if it is the first.
    LaterErrorsAreIgnored,
}

#[derive(Clone)]
struct Destinations {
    events: usize,
    /// Only errors name the destination.
    names_late: bool,
    /// How often the worker forgets the destination of an event.
    lapses: u8,
    failures: u8,
    hangs: u8,
    /// How often another worker, for which the destination pauses, takes the event that was to be the
    /// probe, holds it again and ends.
    others: u8,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Event {
    Due,
    Called {
        /// The call was made after the end of the latest pause.
        counts: bool,
        probe: bool,
        hangs: bool,
        /// The call was made for the destination.
        named: bool,
    },
    /// Its settlement is on the way.
    Holding,
    Held,
    Published,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "as many as the state of the code has"
)]
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
struct Breaker {
    problem: bool,
    failing: bool,
    pauses: bool,
    probing: bool,
    /// A second probe is larger than the first.
    grown: bool,
    asked: bool,
    hung: u8,
    resume: bool,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct State {
    events: Vec<Event>,
    /// Whether the worker knows the destination of the event.
    known: Vec<bool>,
    breaker: Breaker,
    lapses: u8,
    failures: u8,
    hangs: u8,
    others: u8,
    /// The property that a call broke.
    wrong: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Answer {
    Works,
    Fails,
    /// The call was cancelled.
    Nothing,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Action {
    Claim(usize),
    Ends(usize, Answer),
    Hangs(usize),
    Settle(usize),
    PauseEnds,
    Resume,
    AskForProbe,
    AskAgain,
    OtherWorkerHolds(usize),
    /// The worker forgets the destination of the event, as others were learnt since.
    Lapse(usize),
}

const COMPLETE: &str = "no run ends before all events are published";
const ONE_PROBE: &str = "while a destination fails, it has one call at a time";
const PATIENT: &str = "no call starts while another hangs";
const PAUSED: &str = "a pause ends no earlier than it should, and starts once";
const GROWS: &str = "a destination that fails after a pause pauses again";
const RECOVERS: &str = "the last event that is published shows that its destination works";

impl State {
    fn is_done(&self) -> bool {
        self.events.iter().all(|it| *it == Event::Published)
    }
}

impl Breaker {
    fn works(&self) -> bool {
        !self.failing && !self.pauses && self.hung == 0
    }

    fn recover(&mut self) {
        self.resume |= self.problem;
        self.asked = false;
        (self.problem, self.failing, self.pauses, self.grown) = (false, false, false, false);
    }

    fn answer(&mut self, answer: Answer, hangs: bool) {
        match answer {
            Answer::Works if self.hung > u8::from(hangs) => {}
            Answer::Works if self.failing && !self.grown => {
                (self.grown, self.pauses) = (true, false);
            }
            Answer::Works => self.recover(),
            Answer::Fails => {
                (self.problem, self.failing, self.pauses) = (true, true, true);
                (self.resume, self.asked, self.grown) = (false, false, false);
            }
            Answer::Nothing => {}
        }
    }
}

impl Destinations {
    fn small(fault: Fault) -> Self {
        Self {
            events: 3,
            names_late: false,
            lapses: 0,
            failures: soak(3, 4),
            hangs: soak(1, 2),
            others: 1,
            fault,
        }
    }

    fn named_late(fault: Fault) -> Self {
        Self {
            names_late: true,
            lapses: 1,
            ..Self::small(fault)
        }
    }

    fn claim(&self, state: &mut State, event: usize) {
        let breaker = &mut state.breaker;
        if !state.known[event] {
            state.events[event] = Event::Called {
                counts: !breaker.pauses,
                probe: false,
                hangs: false,
                named: false,
            };
            return;
        }
        let hung = breaker.hung > 0 && self.fault != Fault::IgnoresHungCalls;
        let probing = breaker.probing && self.fault != Fault::ManyProbes;
        if hung || breaker.pauses || probing {
            state.events[event] = Event::Holding;
            return;
        }
        let probe = breaker.failing;
        if breaker.hung > 0 {
            state.wrong = Some(PATIENT);
        }
        if probe && breaker.probing {
            state.wrong = Some(ONE_PROBE);
        }
        breaker.probing |= probe;
        state.events[event] = Event::Called {
            counts: true,
            probe,
            hangs: false,
            named: true,
        };
    }

    fn end(&self, state: &mut State, event: usize, answer: Answer) {
        let Event::Called {
            counts,
            probe,
            hangs,
            named,
        } = state.events[event]
        else {
            return;
        };
        self.hear(state, event, answer);
        let breaker = &mut state.breaker;
        if probe && self.fault != Fault::ProbeNeverEnds {
            (breaker.probing, breaker.asked) = (false, false);
        }
        if probe || (hangs && named) {
            breaker.hung -= u8::from(hangs);
            if breaker.works() && self.fault != Fault::HungCallResumesNothing {
                (breaker.resume, breaker.problem) = (true, false);
            }
        }
        if answer == Answer::Fails && counts && !state.breaker.pauses {
            state.wrong = Some(GROWS);
        }
        state.events[event] = match answer {
            Answer::Works => Event::Published,
            Answer::Fails => Event::Holding,
            Answer::Nothing => Event::Due,
        };
    }

    /// A call without a destination that hangs says nothing about one.
    fn hang(state: &mut State, event: usize) {
        state.hangs -= 1;
        if let Event::Called { hangs, named, .. } = &mut state.events[event] {
            *hangs = true;
            state.breaker.hung += u8::from(*named);
            state.breaker.problem |= *named;
        }
    }

    /// Applies what an answer says about the destination. Only an error names it to a call that was made
    /// without one.
    fn hear(&self, state: &mut State, event: usize, answer: Answer) {
        let Event::Called {
            counts,
            hangs,
            named,
            ..
        } = state.events[event]
        else {
            return;
        };
        let fails = answer == Answer::Fails;
        if !named && !fails {
            return;
        }
        let breaker = &mut state.breaker;
        let before = (breaker.pauses, breaker.clone());
        let ignores = self.fault == Fault::LaterErrorsAreIgnored && !named && breaker.failing;
        if !ignores && (counts || self.fault == Fault::LateAnswersCount) {
            breaker.answer(answer, hangs);
        }
        if !counts && before.0 && *breaker != before.1 {
            state.wrong = Some(PAUSED);
        }
        if fails && breaker.pauses && *breaker != before.1 {
            for other in &mut state.events {
                if let Event::Called { counts, .. } = other {
                    *counts = false;
                }
            }
        }
        state.known[event] |= fails && self.fault != Fault::LearnsNothing;
    }

    /// Makes up to `limit` held events due, and returns whether there were as many.
    fn make_due(state: &mut State, limit: usize) -> bool {
        let held = state.events.iter_mut().filter(|it| **it == Event::Held);
        held.take(limit).map(|it| *it = Event::Due).count() == limit
    }

    fn ask(state: &mut State) {
        state.breaker.asked = true;
        let limit = if state.breaker.grown { 2 } else { 1 };
        let full = Self::make_due(state, limit);
        if !full && state.breaker.grown {
            state.breaker.recover();
        }
    }

    /// The worker forgets a destination that has no problem, and what its errors named.
    fn forget(&self, state: &mut State) {
        state.known = vec![!self.names_late; self.events];
        for event in &mut state.events {
            if let Event::Called { counts, .. } = event {
                *counts = true;
            }
        }
    }

    fn steps(&self, state: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        for (event, place) in state.events.iter().enumerate() {
            match place {
                Event::Due => {
                    actions.push(Action::Claim(event));
                    if state.others > 0 && state.breaker.asked {
                        actions.push(Action::OtherWorkerHolds(event));
                    }
                }
                Event::Called { hangs, .. } => {
                    actions.push(Action::Ends(event, Answer::Works));
                    if state.failures > 0 {
                        actions.push(Action::Ends(event, Answer::Fails));
                        actions.push(Action::Ends(event, Answer::Nothing));
                    }
                    if !hangs && state.hangs > 0 {
                        actions.push(Action::Hangs(event));
                    }
                }
                Event::Holding => actions.push(Action::Settle(event)),
                Event::Held if state.lapses > 0 && state.known[event] => {
                    actions.push(Action::Lapse(event));
                }
                Event::Held | Event::Published => {}
            }
        }
        self.breaker_steps(&state.breaker, &mut actions);
        actions
    }

    fn breaker_steps(&self, breaker: &Breaker, actions: &mut Vec<Action>) {
        if breaker.pauses {
            actions.push(Action::PauseEnds);
        }
        if breaker.resume {
            actions.push(Action::Resume);
        } else if breaker.failing && !breaker.pauses && !breaker.probing && breaker.hung == 0 {
            match (breaker.asked, self.fault) {
                (false, _) => actions.push(Action::AskForProbe),
                (true, Fault::AsksOnce) => {}
                (true, _) => actions.push(Action::AskAgain),
            }
        }
    }
}

impl Model for Destinations {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            events: vec![Event::Due; self.events],
            known: vec![!self.names_late; self.events],
            lapses: self.lapses,
            breaker: Breaker::default(),
            failures: self.failures,
            hangs: self.hangs,
            others: self.others,
            wrong: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(self.steps(state));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Claim(event) => self.claim(&mut state, event),
            Action::Ends(event, answer) => {
                state.failures -= u8::from(answer != Answer::Works);
                self.end(&mut state, event, answer);
            }
            Action::Hangs(event) => Self::hang(&mut state, event),
            Action::Settle(event) => {
                state.events[event] = Event::Held;
                if state.breaker.works() && self.fault != Fault::NoLookAfterHold {
                    state.breaker.resume = true;
                }
            }
            Action::PauseEnds => state.breaker.pauses = false,
            Action::Resume => {
                Self::make_due(&mut state, self.events + 1);
                state.breaker.resume = false;
                if state.breaker.works() {
                    self.forget(&mut state);
                }
            }
            Action::AskForProbe => Self::ask(&mut state),
            Action::AskAgain => state.breaker.asked = false,
            Action::OtherWorkerHolds(event) => {
                state.others -= 1;
                state.events[event] = Event::Held;
            }
            Action::Lapse(event) => {
                state.lapses -= 1;
                state.known[event] = false;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(COMPLETE, |model: &Self, state: &State| {
                state.is_done() || !model.steps(state).is_empty()
            }),
            Property::always(RECOVERS, |model: &Self, state: &State| {
                let undisturbed = (state.lapses, state.hangs) == (model.lapses, model.hangs);
                !state.is_done() || !undisturbed || !state.breaker.failing || state.breaker.grown
            }),
            Property::always(GROWS, |_, state: &State| state.wrong != Some(GROWS)),
            Property::always(ONE_PROBE, |_, state: &State| state.wrong != Some(ONE_PROBE)),
            Property::always(PATIENT, |_, state: &State| state.wrong != Some(PATIENT)),
            Property::always(PAUSED, |_, state: &State| state.wrong != Some(PAUSED)),
        ]
    }
}

#[test]
fn every_event_of_a_destination_that_works_again_is_published() {
    holds("destinations", Destinations::small(Fault::None));
}

#[test]
fn every_event_of_a_destination_that_only_errors_name_is_published() {
    holds(
        "destinations that errors name",
        Destinations::named_late(Fault::None),
    );
}

#[test]
fn the_model_rejects_a_worker_that_does_not_learn_from_errors() {
    breaks(Destinations::named_late(Fault::LearnsNothing), RECOVERS);
}

#[test]
fn the_model_rejects_a_worker_that_ignores_later_errors() {
    let model = Destinations::named_late(Fault::LaterErrorsAreIgnored);
    breaks(model, GROWS);
}

#[test]
fn the_model_rejects_a_hold_without_a_look_afterwards() {
    breaks(Destinations::small(Fault::NoLookAfterHold), COMPLETE);
}

#[test]
fn the_model_rejects_a_probe_that_never_ends() {
    breaks(Destinations::small(Fault::ProbeNeverEnds), COMPLETE);
}

#[test]
fn the_model_rejects_a_store_that_is_asked_once() {
    breaks(Destinations::small(Fault::AsksOnce), COMPLETE);
}

#[test]
fn the_model_rejects_a_call_that_hung_and_resumes_nothing() {
    breaks(Destinations::small(Fault::HungCallResumesNothing), COMPLETE);
}

#[test]
fn the_model_rejects_several_probes() {
    breaks(Destinations::small(Fault::ManyProbes), ONE_PROBE);
}

#[test]
fn the_model_rejects_calls_while_another_hangs() {
    breaks(Destinations::small(Fault::IgnoresHungCalls), PATIENT);
}

#[test]
fn the_model_rejects_answers_from_before_a_failure() {
    breaks(Destinations::small(Fault::LateAnswersCount), PAUSED);
}
