//! What must hold in every state.

use super::{COMPLETE, ENDED_ONCE, EXCLUSIVE, HELD, ISOLATED, LONE_BLAMED, LOST, ORDER, TWICE};
use super::{Claim, Lanes, State, bit, kept_event};
use stateright::Property;

pub(super) fn all() -> Vec<Property<Lanes>> {
    vec![
        Property::always(LOST, |model: &Lanes, state: &State| {
            (0..model.events.len()).all(|event| {
                let lane = model.events[event].0;
                let ahead = &model.log(lane)[state.lanes[lane].position..];
                (state.delivered | state.dead_letters | state.purged) & bit(event) != 0
                    || ahead.contains(&event)
                    || state.waiting.iter().any(|waiting| waiting.event == event)
            })
        }),
        Property::always(ORDER, |model: &Lanes, state: &State| {
            let delivered = |event: usize| state.delivered & bit(event) != 0;
            let gone = |event: usize| (state.delivered | state.purged) & bit(event) != 0;
            (0..model.events.len()).all(|event| {
                !delivered(event)
                    || (0..event)
                        .all(|earlier| model.key(earlier) != model.key(event) || gone(earlier))
            })
        }),
        Property::always(EXCLUSIVE, |_, state: &State| {
            let mut held = 0;
            let events = live(state).flat_map(|claim| claim.given.iter().chain(&claim.behind));
            events.into_iter().all(|event| {
                let first = held & bit(*event) == 0;
                held |= bit(*event);
                first
            })
        }),
        Property::always(ISOLATED, |_, state: &State| {
            live(state).all(|claim| {
                let lost = |event: &usize| state.lost & bit(*event) != 0;
                claim.given.len() < 2 || claim.rest.is_some() || !claim.given.iter().any(lost)
            })
        }),
        Property::always(HELD, |model: &Lanes, state: &State| {
            let mut given = live(state).flat_map(|claim| &claim.given);
            given.all(|event| !model.is_held(state, *event))
        }),
        Property::always(COMPLETE, |model: &Lanes, state: &State| {
            model.is_complete(state) || !model.steps(state).is_empty()
        }),
        Property::always(ENDED_ONCE, |_, state: &State| {
            state.wrong != Some(ENDED_ONCE)
        }),
        Property::always(LONE_BLAMED, |_, state: &State| {
            state.wrong != Some(LONE_BLAMED)
        }),
        Property::always(TWICE, |_, state: &State| state.wrong != Some(TWICE)),
    ]
}

/// The claims that are neither settled nor taken over.
fn live(state: &State) -> impl Iterator<Item = &Claim> {
    let lives = |claim: &&Claim| {
        let ended = |part: usize| state.ended.contains(&(claim.token, part));
        let is_taken = |event: &usize| claim.rest.is_some() && ended(kept_event(*event));
        !claim.lanes.iter().any(|(lane, _)| ended(*lane)) && !claim.given.iter().any(is_taken)
    };
    state.workers.iter().flatten().filter(lives)
}
