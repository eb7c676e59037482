//! Claims of lanes: `claim_events.sql`, `claim_retries.sql`, `claim_suspect.sql`, `settle_lanes.sql`
//! the take-over of a lost claim (`upkeep/lost_claims.rs`), and kept events (`keep.rs`).
//!
//! Each statement or transaction is one step, because the locks of its lanes make it atomic. A claim
//! consists of several. At first all events are in the log. The end of a lease is a separate step that
//! can come at any moment, so the runs include clocks that are fast, slow, stopped or set back. The windows
//! have a separate model. The delay of a retry has always passed when a claim looks.

mod kept;
mod properties;
mod steps;

use crate::check::{breaks, holds, soak};
use stateright::{Model, Property};

/// A fault of the protocol that the model must find.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// A settlement ignores the token.
    NoFence,
    /// A take-over moves the cursor and parks nothing.
    LostIsSkipped,
    /// A take-over releases the lane unchanged, and parks nothing.
    LostIsReadAgain,
    /// No worker takes over a lost claim.
    LostIsLeft,
    /// A settlement releases the lanes in a first step, and changes the events in a second.
    LanesGivenBackFirst,
    /// A take-over counts a failure of each event of the lost claim.
    AllAreBlamed,
    /// A claim that lost a lane takes further lanes.
    LostClaimGoesOn,
    /// A claim continues after a settlement whose reply was lost.
    SettledClaimGoesOn,
    /// Events of the log are given although earlier events of their key wait.
    WaitingIsOvertaken,
    /// The next event of a key becomes due although a dead letter blocks the key.
    HeldIsDue,
    /// A kept event is due at once.
    KeptIsDue,
    /// After its lease, a kept event is claimed with others.
    KeptIsNoSuspect,
    /// No claim takes a kept event after its lease.
    KeptIsLeft,
    /// Events of the log are given although a kept event of their key waits.
    KeptIsOvertaken,
    /// A late settlement ignores that another claim has taken a kept event.
    KeptIsNotFenced,
    /// A late settlement believes after its lease that a missing event was deleted by hand.
    MissingIsDeleted,
}

/// Events as bits.
type Set = u16;

#[derive(Clone)]
struct Lanes {
    workers: usize,
    count: usize,
    /// Lane and key of each event, in the order of their commits.
    events: &'static [(usize, u8)],
    limit: usize,
    /// How many crashes, lost replies, and leases that end before their worker.
    faults: u8,
    /// Events that the broker refuses.
    refusals: u8,
    /// Events that can never succeed: each becomes a dead letter that blocks its key.
    deaths: u8,
    /// Calls that have not answered when the claim is settled.
    hangs: u8,
    fault: Fault,
}

#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
struct Lane {
    /// How many events of its log are consumed.
    position: usize,
    token: Option<u8>,
    lapsed: bool,
    /// How many events of the log the claim has.
    reads: usize,
    /// The events that the claim has from the retries.
    held: Vec<usize>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Waiting {
    event: usize,
    due: bool,
    suspect: bool,
    worker_lost: bool,
    kept: Option<Kept>,
}

/// The claim that keeps an event.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Kept {
    token: u8,
    lapsed: bool,
}

/// The knowledge of a worker about its claim.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
struct Claim {
    token: u8,
    /// Its lanes, and how far it read their logs.
    lanes: Vec<(usize, usize)>,
    given: Vec<usize>,
    behind: Vec<usize>,
    waited: Set,
    /// How many of the given events were offered to the broker.
    tried: usize,
    failed: Set,
    dead: Set,
    /// Events whose calls hang. A settlement keeps them.
    hung: Set,
    /// It has only the events that a settlement kept.
    rest: Option<Rest>,
    /// It takes no more events: it has a suspect, a statement failed, or its settlement started.
    full: bool,
    /// Only with `LanesGivenBackFirst`: the first half of the settlement is done.
    closing: bool,
}

/// What a claim is after a settlement that kept events.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
struct Rest {
    /// It had one event.
    lone: bool,
    /// The lease of its kept events is over.
    over: bool,
    /// It repeats a late settlement whose reply was lost.
    repeats: bool,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct State {
    lanes: Vec<Lane>,
    waiting: Vec<Waiting>,
    workers: Vec<Option<Claim>>,
    faults: u8,
    refusals: u8,
    deaths: u8,
    hangs: u8,
    tokens: u8,
    /// The dead letters. Each blocks its key until it is purged.
    dead_letters: Set,
    // Only the properties use these:
    delivered: Set,
    purged: Set,
    /// Events of lost claims that were not counted or published since.
    lost: Set,
    /// Pairs of token and lane, or token and [`kept_event`], that were settled or taken over.
    ended: Vec<(u8, usize)>,
    wrong: Option<&'static str>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Action {
    ReadLog {
        worker: usize,
        lane: usize,
        count: usize,
        answered: bool,
    },
    TakeRetries {
        worker: usize,
        lane: usize,
        count: usize,
        answered: bool,
    },
    TakeSuspect {
        worker: usize,
        lane: usize,
        answered: bool,
    },
    Publish(usize, Answer),
    Settle {
        worker: usize,
        answered: bool,
    },
    Lapse(usize),
    LapseKept(u8),
    TakeBack(u8),
    Purge(usize),
    Crash(usize),
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Answer {
    Taken,
    Refused,
    /// Refused permanently.
    Dead,
    /// The broker has it, but the worker believes that it was refused.
    ReplyLost,
    /// No answer yet. The event is delivered by a later answer, or not.
    Hangs,
}

const LOST: &str = "no event is lost";
const ORDER: &str = "first deliveries keep the order of their key";
const EXCLUSIVE: &str = "no two claims hold an event";
const ENDED_ONCE: &str =
    "a claim ends once in each of its lanes and for each kept event, settled or taken over";
const ISOLATED: &str = "an event of a lost claim is claimed alone";
const LONE_BLAMED: &str = "only an event that was alone in a lost claim is charged";
const HELD: &str = "no event is claimed behind a dead letter of its key";
const TWICE: &str = "without a fault nothing is delivered twice";
const COMPLETE: &str = "no run ends before all is published";

fn bit(event: usize) -> Set {
    1 << event
}

/// A kept event among the parts of a claim that end, behind the lanes.
fn kept_event(event: usize) -> usize {
    8 + event
}

impl Lanes {
    fn small(fault: Fault) -> Self {
        Self {
            workers: 2,
            count: 2,
            events: &[(0, 0), (0, 0), (1, 1)],
            limit: 2,
            faults: soak(2, 3),
            refusals: 1,
            deaths: 0,
            hangs: 0,
            fault,
        }
    }

    /// With dead letters that block their keys.
    fn holding(fault: Fault) -> Self {
        Self {
            workers: 1,
            count: 1,
            events: &[(0, 0), (0, 0), (0, 0)],
            limit: 3,
            faults: soak(1, 2),
            deaths: 2,
            ..Self::small(fault)
        }
    }

    /// With calls that hang.
    fn keeping(fault: Fault) -> Self {
        Self {
            count: 1,
            events: &[(0, 0), (0, 1), (0, 0)],
            limit: 2,
            faults: soak(1, 2),
            hangs: 2,
            ..Self::small(fault)
        }
    }
}

impl Model for Lanes {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            lanes: vec![Lane::default(); self.count],
            waiting: Vec::new(),
            workers: vec![None; self.workers],
            faults: self.faults,
            refusals: self.refusals,
            deaths: self.deaths,
            hangs: self.hangs,
            tokens: 0,
            dead_letters: 0,
            delivered: 0,
            purged: 0,
            lost: 0,
            ended: Vec::new(),
            wrong: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(self.steps(state));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::ReadLog {
                worker,
                lane,
                count,
                answered,
            } => {
                let claim = Self::take(&mut state, worker, lane);
                state.lanes[lane].reads = count;
                let took = self.read(&state, lane);
                if answered {
                    self.add(&mut state, worker, claim, lane, &took);
                } else {
                    Self::fail(&mut state, worker);
                }
            }
            Action::TakeRetries {
                worker,
                lane,
                count,
                answered,
            } => {
                let took = self.due(&state, lane, count);
                self.hold(&mut state, worker, lane, &took, answered);
            }
            Action::TakeSuspect {
                worker,
                lane,
                answered,
            } => {
                let took: Vec<usize> = self.suspect(&state, lane).into_iter().collect();
                self.hold(&mut state, worker, lane, &took, answered);
                if let Some(claim) = state.workers[worker].as_mut().filter(|_| answered) {
                    claim.full = true;
                }
            }
            Action::Publish(worker, answer) => {
                self.publish(&mut state, worker, answer);
                match answer {
                    Answer::Taken => {}
                    Answer::Refused => state.refusals -= 1,
                    Answer::Dead => state.deaths -= 1,
                    Answer::ReplyLost => state.faults -= 1,
                    Answer::Hangs => state.hangs -= 1,
                }
            }
            Action::Settle { worker, answered } => {
                state.faults -= u8::from(!answered);
                self.settle(&mut state, worker, answered);
            }
            Action::Lapse(lane) => {
                let lapsed = state.lanes[lane].token;
                let lives = lapsed.is_some_and(|token| Self::has_worker(&state, token, lane));
                state.faults -= u8::from(lives);
                state.lanes[lane].lapsed = true;
            }
            Action::LapseKept(token) => Self::lapse_kept(&mut state, token),
            Action::TakeBack(token) => self.take_back(&mut state, token),
            Action::Purge(event) => {
                state.dead_letters &= !bit(event);
                state.purged |= bit(event);
                self.promote(&mut state);
            }
            Action::Crash(worker) => {
                state.faults -= 1;
                state.workers[worker] = None;
            }
        }
        // A worker that is gone needs no state.
        let known: Vec<u8> = tokens(&state).collect();
        state.ended.retain(|(token, _)| known.contains(token));
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

/// The tokens that a lane or a worker still has.
fn tokens(state: &State) -> impl Iterator<Item = u8> {
    let lanes = state.lanes.iter().filter_map(|lane| lane.token);
    lanes.chain(state.workers.iter().flatten().map(|claim| claim.token))
}

#[test]
fn the_model_of_lanes_loses_nothing_and_publishes_all() {
    holds("lanes", Lanes::small(Fault::None));
}

#[test]
fn dead_letters_block_their_keys_and_lose_nothing() {
    holds("lanes_holding", Lanes::holding(Fault::None));
}

#[test]
fn kept_events_come_back_and_lose_nothing() {
    holds("lanes_keeping", Lanes::keeping(Fault::None));
}

#[test]
fn the_model_rejects_a_kept_event_that_is_due_during_its_lease() {
    breaks(Lanes::keeping(Fault::KeptIsDue), TWICE);
}

#[test]
fn the_model_rejects_a_kept_event_that_is_not_a_suspect() {
    breaks(Lanes::keeping(Fault::KeptIsNoSuspect), ISOLATED);
}

#[test]
fn the_model_rejects_a_kept_event_that_is_never_taken_over() {
    breaks(Lanes::keeping(Fault::KeptIsLeft), COMPLETE);
}

#[test]
fn the_model_rejects_an_event_that_overtakes_a_kept_one() {
    breaks(Lanes::keeping(Fault::KeptIsOvertaken), ORDER);
}

#[test]
fn the_model_rejects_a_late_settlement_that_ignores_another_claim() {
    breaks(Lanes::keeping(Fault::KeptIsNotFenced), ENDED_ONCE);
    breaks(Lanes::keeping(Fault::MissingIsDeleted), ENDED_ONCE);
}

#[test]
fn the_model_rejects_a_blocked_event_that_becomes_due() {
    breaks(Lanes::holding(Fault::HeldIsDue), HELD);
}

#[test]
fn the_model_rejects_a_settlement_that_ignores_the_token() {
    breaks(Lanes::small(Fault::NoFence), ENDED_ONCE);
}

#[test]
fn the_model_rejects_a_take_over_that_skips_events() {
    breaks(Lanes::small(Fault::LostIsSkipped), LOST);
}

#[test]
fn the_model_rejects_a_take_over_that_parks_nothing() {
    breaks(Lanes::small(Fault::LostIsReadAgain), ISOLATED);
}

#[test]
fn the_model_rejects_lanes_released_before_the_settlement() {
    breaks(Lanes::small(Fault::LanesGivenBackFirst), EXCLUSIVE);
    breaks(Lanes::small(Fault::LanesGivenBackFirst), TWICE);
}

#[test]
fn the_model_rejects_charging_neighbours() {
    breaks(Lanes::small(Fault::AllAreBlamed), LONE_BLAMED);
}

#[test]
fn the_model_rejects_a_lost_claim_that_takes_further_lanes() {
    breaks(Lanes::small(Fault::LostClaimGoesOn), ENDED_ONCE);
}

#[test]
fn the_model_rejects_an_event_that_overtakes_its_key() {
    breaks(Lanes::small(Fault::WaitingIsOvertaken), ORDER);
}

#[test]
fn the_model_rejects_a_claim_that_continues_after_its_settlement() {
    breaks(Lanes::small(Fault::SettledClaimGoesOn), ENDED_ONCE);
}

#[test]
fn the_model_rejects_a_lost_claim_that_is_never_taken_over() {
    breaks(Lanes::small(Fault::LostIsLeft), COMPLETE);
}
