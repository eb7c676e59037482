//! The quarantine protocol: `DlqProcessor::tick` (lease, quarantine, forget) in several replicas, while
//! `OutboxProcessor` (claim, publish, settle, report to the heap) publishes the same event.
//!
//! Each call of a store or a heap is one step, because their contracts make it atomic. A lease may run
//! out at any moment, as a separate step. A lost reply is a step that is applied while its caller does
//! not learn so.

use crate::check::{breaks, holds, soak};
use stateright::{Model, Property};

/// A mistake in the protocol, which the model must find.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// A replica drains the heap instead of leasing.
    Drains,
    /// A replica forgets before it quarantines.
    ForgetsFirst,
    /// The store moves an event that is in a claim.
    MovesWhatIsBusy,
    /// The store moves an event that already left the outbox, as if it had kept a copy.
    MovesWhatIsGone,
    /// A settlement does not check the token.
    NoFence,
    /// A lease of the heap never runs out.
    LeasesForever,
    /// A replayed event is moved although it has not failed since the replay.
    OldEntryCounts,
}

#[derive(Clone)]
struct Quarantine {
    workers: usize,
    replicas: usize,
    threshold: u8,
    /// Crashes, lost replies, and leases that run out while their holder is alive.
    faults: u8,
    refusals: u8,
    replays: u8,
    fault: Fault,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Location {
    Waits,
    Claimed { token: u8, lapsed: bool },
    Published,
    Quarantined,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Worker {
    Idle,
    Publishes(u8),
    Settles(u8, bool),
    /// Reports to the heap whether it was published.
    Reports(bool),
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Replica {
    Idle,
    Quarantines,
    Forgets,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct State {
    location: Location,
    /// Failed attempts since the last replay, by the store.
    attempts: u8,
    replayed: bool,
    /// The heap's entry; 0: none.
    count: u8,
    leased: bool,
    workers: Vec<Worker>,
    replicas: Vec<Replica>,
    tokens: u8,
    faults: u8,
    refusals: u8,
    replays: u8,
    // Known to the properties only:
    /// Failures that the heap acknowledged since the event was appended or replayed.
    acknowledged: u8,
    moved: u8,
    /// The property that a move broke.
    wrong: Option<&'static str>,
    /// Where it went when it left the outbox.
    left: Option<Location>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Action {
    Claim { worker: usize, answered: bool },
    Publish { worker: usize, taken: bool },
    Settle(usize),
    Report { worker: usize, answered: bool },
    Lease { replica: usize, answered: bool },
    Move { replica: usize, answered: bool },
    Forget(usize),
    WorkerDies(usize),
    ReplicaDies(usize),
    ClaimLapses,
    LeaseLapses,
    Replay,
}

const COUNTED: &str = "no count is lost while the event waits";
const UNTOUCHED: &str = "an event of a live claim is not moved";
const ONCE: &str = "an event is quarantined at most once, and once more for each replay";
const FAIR: &str = "an event is quarantined only if it failed since its append or replay";
const GONE: &str = "what left the outbox stays out of it until it is replayed";
const COMPLETE: &str = "no run ends before all is published or quarantined, and forgotten";

impl Quarantine {
    fn small(fault: Fault) -> Self {
        Self {
            workers: 2,
            replicas: 2,
            threshold: 2,
            faults: soak(2, 4),
            refusals: soak(3, 5),
            replays: 0,
            fault,
        }
    }

    fn with_replays(fault: Fault) -> Self {
        Self {
            replays: 1,
            ..Self::small(fault)
        }
    }

    fn is_complete(&self, state: &State) -> bool {
        matches!(state.location, Location::Published | Location::Quarantined)
            && state.count < self.threshold
            && state.workers.iter().all(|it| *it == Worker::Idle)
            && state.replicas.iter().all(|it| *it == Replica::Idle)
    }

    fn worker_steps(state: &State, worker: usize, actions: &mut Vec<Action>) {
        let answers = if state.faults > 0 { 2 } else { 1 };
        let answers = [true, false].into_iter().take(answers);
        match &state.workers[worker] {
            Worker::Idle => {
                if matches!(
                    state.location,
                    Location::Waits | Location::Claimed { lapsed: true, .. }
                ) {
                    actions.extend(answers.map(|answered| Action::Claim { worker, answered }));
                }
                return;
            }
            Worker::Publishes(_) => {
                let taken = true;
                actions.push(Action::Publish { worker, taken });
                if state.refusals > 0 {
                    let taken = false;
                    actions.push(Action::Publish { worker, taken });
                }
            }
            Worker::Settles(..) => actions.push(Action::Settle(worker)),
            Worker::Reports(_) => {
                actions.extend(answers.map(|answered| Action::Report { worker, answered }));
            }
        }
        if state.faults > 0 {
            actions.push(Action::WorkerDies(worker));
        }
    }

    fn replica_steps(&self, state: &State, replica: usize, actions: &mut Vec<Action>) {
        let answers = if state.faults > 0 { 2 } else { 1 };
        let answers = [true, false].into_iter().take(answers);
        match &state.replicas[replica] {
            Replica::Idle => {
                if state.count >= self.threshold && !state.leased {
                    actions.extend(answers.map(|answered| Action::Lease { replica, answered }));
                }
                return;
            }
            // The store answers `Busy` and changes nothing; the replica tries again.
            Replica::Quarantines => {
                if !self.is_busy(state) {
                    actions.extend(answers.map(|answered| Action::Move { replica, answered }));
                }
            }
            Replica::Forgets => actions.push(Action::Forget(replica)),
        }
        if state.faults > 0 {
            actions.push(Action::ReplicaDies(replica));
        }
    }

    fn is_busy(&self, state: &State) -> bool {
        matches!(state.location, Location::Claimed { lapsed: false, .. })
            && self.fault != Fault::MovesWhatIsBusy
    }

    fn steps(&self, state: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        for worker in 0..self.workers {
            Self::worker_steps(state, worker, &mut actions);
        }
        for replica in 0..self.replicas {
            self.replica_steps(state, replica, &mut actions);
        }
        if let Location::Claimed { token, lapsed } = state.location
            && !lapsed
            && (state.faults > 0 || !has_worker(state, token))
        {
            actions.push(Action::ClaimLapses);
        }
        let may_lapse = state.faults > 0 || !has_replica(state);
        if state.leased && may_lapse && self.fault != Fault::LeasesForever {
            actions.push(Action::LeaseLapses);
        }
        if state.location == Location::Quarantined && state.replays > 0 {
            actions.push(Action::Replay);
        }
        actions
    }

    fn settle(&self, state: &mut State, worker: usize) {
        let Worker::Settles(token, taken) = state.workers[worker] else {
            return;
        };
        state.workers[worker] = Worker::Idle;
        let owned = matches!(state.location, Location::Claimed { token: own, .. } if own == token);
        if !owned && self.fault != Fault::NoFence {
            return;
        }
        state.workers[worker] = Worker::Reports(taken);
        if taken {
            state.location = Location::Published;
            state.left.get_or_insert(Location::Published);
        } else {
            state.location = Location::Waits;
            state.attempts += 1;
        }
    }

    fn report(state: &mut State, worker: usize, answered: bool) {
        if state.workers[worker] == Worker::Reports(true) {
            forget(state);
        } else {
            state.count += 1;
            if answered && matches!(state.location, Location::Waits | Location::Claimed { .. }) {
                state.acknowledged += 1;
            }
        }
        if answered {
            state.workers[worker] = Worker::Idle;
        }
    }

    fn lease(&self, state: &mut State, replica: usize, answered: bool) {
        match self.fault {
            Fault::Drains => state.count = 0,
            Fault::ForgetsFirst => forget(state),
            _ => state.leased = true,
        }
        if answered {
            state.replicas[replica] = Replica::Quarantines;
        }
    }

    /// One transaction of the store: it moves the event or answers `Missing`.
    fn quarantine(&self, state: &mut State, replica: usize, answered: bool) {
        let begun = !state.replayed || state.attempts > 0;
        let fair = begun || self.fault == Fault::OldEntryCounts;
        let waits = matches!(state.location, Location::Waits | Location::Claimed { .. });
        if fair && (waits || self.fault == Fault::MovesWhatIsGone) {
            if matches!(state.location, Location::Claimed { lapsed: false, .. }) {
                state.wrong = Some(UNTOUCHED);
            }
            if state.attempts == 0 {
                state.wrong = Some(FAIR);
            }
            state.location = Location::Quarantined;
            state.left.get_or_insert(Location::Quarantined);
            state.moved += 1;
            state.acknowledged = 0;
        }
        if answered {
            state.replicas[replica] = Replica::Forgets;
        }
    }
}

fn forget(state: &mut State) {
    state.count = 0;
    state.leased = false;
}

fn has_worker(state: &State, token: u8) -> bool {
    let mut workers = state.workers.iter();
    workers.any(|worker| match worker {
        Worker::Publishes(own) | Worker::Settles(own, _) => *own == token,
        Worker::Idle | Worker::Reports(_) => false,
    })
}

fn has_replica(state: &State) -> bool {
    state.replicas.iter().any(|it| *it != Replica::Idle)
}

impl Model for Quarantine {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            location: Location::Waits,
            attempts: 0,
            replayed: false,
            count: 0,
            leased: false,
            workers: vec![Worker::Idle; self.workers],
            replicas: vec![Replica::Idle; self.replicas],
            tokens: 0,
            faults: self.faults,
            refusals: self.refusals,
            replays: self.replays,
            acknowledged: 0,
            moved: 0,
            wrong: None,
            left: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(self.steps(state));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Claim { worker, answered } => {
                let token = state.tokens;
                let lapsed = false;
                state.location = Location::Claimed { token, lapsed };
                state.tokens += 1;
                if answered {
                    state.workers[worker] = Worker::Publishes(token);
                }
                state.faults -= u8::from(!answered);
            }
            Action::Publish { worker, taken } => {
                if let Worker::Publishes(token) = state.workers[worker] {
                    state.workers[worker] = Worker::Settles(token, taken);
                }
                state.refusals -= u8::from(!taken);
            }
            Action::Settle(worker) => self.settle(&mut state, worker),
            Action::Report { worker, answered } => {
                Self::report(&mut state, worker, answered);
                state.faults -= u8::from(!answered);
            }
            Action::Lease { replica, answered } => {
                self.lease(&mut state, replica, answered);
                state.faults -= u8::from(!answered);
            }
            Action::Move { replica, answered } => {
                self.quarantine(&mut state, replica, answered);
                state.faults -= u8::from(!answered);
            }
            Action::Forget(replica) => {
                forget(&mut state);
                state.replicas[replica] = Replica::Idle;
            }
            Action::WorkerDies(worker) => {
                state.workers[worker] = Worker::Idle;
                state.faults -= 1;
            }
            Action::ReplicaDies(replica) => {
                state.replicas[replica] = Replica::Idle;
                state.faults -= 1;
            }
            Action::ClaimLapses => {
                if let Location::Claimed { token, lapsed } = &mut state.location {
                    *lapsed = true;
                    state.faults -= u8::from(has_worker(last, *token));
                }
            }
            Action::LeaseLapses => {
                state.leased = false;
                state.faults -= u8::from(has_replica(&state));
            }
            Action::Replay => {
                state.location = Location::Waits;
                state.left = None;
                state.attempts = 0;
                state.replayed = true;
                state.replays -= 1;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(COUNTED, |model: &Self, state: &State| {
                let waits = matches!(state.location, Location::Waits | Location::Claimed { .. });
                let kept = state.replicas.contains(&Replica::Quarantines);
                // A late `forget` from before a replay also clears the count after it.
                !waits || kept || model.replays > 0 || state.count >= state.acknowledged
            }),
            Property::always(UNTOUCHED, |_, state: &State| state.wrong != Some(UNTOUCHED)),
            Property::always(ONCE, |model: &Self, state: &State| {
                state.moved <= 1 + (model.replays - state.replays)
            }),
            Property::always(FAIR, |_, state: &State| state.wrong != Some(FAIR)),
            Property::always(GONE, |_, state: &State| {
                state
                    .left
                    .as_ref()
                    .is_none_or(|left| *left == state.location)
            }),
            Property::always(COMPLETE, |model: &Self, state: &State| {
                model.is_complete(state) || !model.steps(state).is_empty()
            }),
        ]
    }
}

#[test]
fn quarantine_loses_nothing_and_every_run_ends() {
    holds("quarantine", Quarantine::small(Fault::None));
}

#[test]
fn a_replayed_event_starts_with_no_failures() {
    holds(
        "quarantine with a replay",
        Quarantine::with_replays(Fault::None),
    );
}

#[test]
fn the_model_rejects_a_drain_instead_of_a_lease() {
    breaks(Quarantine::small(Fault::Drains), COUNTED);
}

#[test]
fn the_model_rejects_forgetting_before_the_quarantine() {
    breaks(Quarantine::small(Fault::ForgetsFirst), COUNTED);
}

#[test]
fn the_model_rejects_a_quarantine_of_a_claimed_event() {
    breaks(Quarantine::small(Fault::MovesWhatIsBusy), UNTOUCHED);
}

#[test]
fn the_model_rejects_a_quarantine_of_an_event_that_left() {
    breaks(Quarantine::small(Fault::MovesWhatIsGone), ONCE);
    breaks(Quarantine::small(Fault::MovesWhatIsGone), GONE);
}

#[test]
fn the_model_rejects_a_settlement_without_a_token_check() {
    breaks(Quarantine::small(Fault::NoFence), GONE);
}

#[test]
fn the_model_rejects_a_lease_that_never_ends() {
    breaks(Quarantine::small(Fault::LeasesForever), COMPLETE);
}

#[test]
fn the_model_rejects_an_entry_from_before_a_replay() {
    breaks(Quarantine::with_replays(Fault::OldEntryCounts), FAIR);
}
