//! A destination that fails and works again: calls, probes, events that are held, and their resumption
//! (`outbox-core/src/processor/destinations.rs`).
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
    /// An answer to a call from before the latest failure counts.
    LateAnswersCount,
}

#[derive(Clone)]
struct Destinations {
    events: usize,
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
        generation: u8,
        probe: bool,
        hangs: bool,
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
    generation: u8,
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
    breaker: Breaker,
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
}

const COMPLETE: &str = "no run ends before all events are published";
const ONE_PROBE: &str = "while a destination fails, it has one call at a time";
const PATIENT: &str = "no call starts while another hangs";
const PAUSED: &str = "a pause ends no earlier than it should";

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
                self.generation += 1;
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
            failures: soak(3, 4),
            hangs: soak(1, 2),
            others: 1,
            fault,
        }
    }

    fn claim(&self, state: &mut State, event: usize) {
        let breaker = &mut state.breaker;
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
            generation: breaker.generation,
            probe,
            hangs: false,
        };
    }

    fn end(&self, state: &mut State, event: usize, answer: Answer) {
        let Event::Called {
            generation,
            probe,
            hangs,
        } = state.events[event]
        else {
            return;
        };
        let breaker = &mut state.breaker;
        let paused = breaker.pauses;
        let late = generation != breaker.generation;
        if !late || self.fault == Fault::LateAnswersCount {
            breaker.answer(answer, hangs);
        }
        if late && paused && !breaker.pauses {
            state.wrong = Some(PAUSED);
        }
        if probe && self.fault != Fault::ProbeNeverEnds {
            (breaker.probing, breaker.asked) = (false, false);
        }
        if probe || hangs {
            breaker.hung -= u8::from(hangs);
            if breaker.works() && self.fault != Fault::HungCallResumesNothing {
                (breaker.resume, breaker.problem) = (true, false);
            }
        }
        state.events[event] = match answer {
            Answer::Works => Event::Published,
            Answer::Fails => Event::Holding,
            Answer::Nothing => Event::Due,
        };
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
                Event::Held | Event::Published => {}
            }
        }
        let breaker = &state.breaker;
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
        actions
    }
}

impl Model for Destinations {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            events: vec![Event::Due; self.events],
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
            Action::Hangs(event) => {
                state.hangs -= 1;
                if let Event::Called { hangs, .. } = &mut state.events[event] {
                    *hangs = true;
                }
                state.breaker.hung += 1;
                state.breaker.problem = true;
            }
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
            }
            Action::AskForProbe => Self::ask(&mut state),
            Action::AskAgain => state.breaker.asked = false,
            Action::OtherWorkerHolds(event) => {
                state.others -= 1;
                state.events[event] = Event::Held;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(COMPLETE, |model: &Self, state: &State| {
                let all = state.events.iter().all(|it| *it == Event::Published);
                all || !model.steps(state).is_empty()
            }),
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
