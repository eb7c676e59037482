//! Whether some order of the calls on one event explains all their answers: linearizability.
//!
//! The search of Wing and Gong (1993) with the memory of Lowe (2017): it walks the starts and ends
//! of calls in the order of time. At each step it keeps the set of possible worlds: a state of the
//! event, and which of the open calls have taken effect. A call takes effect no later than at its
//! end; if no possible world has the effect of a call that ends, no order explains the history. The
//! set is small (few calls are open at once, and few states differ), so the work grows with the
//! length of the history only.
//!
//! The event is the unit (Herlihy and Wing: a history is linearizable if it is so for each object):
//! the contract asks that a drain be atomic for each event, not across events.

use super::model::Tracked;
use outbox_core::{DlqEntry, ErrorText};
use std::collections::HashSet;
use std::time::Duration;

/// What a call does to one event.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// So many failures, with their errors.
    Fail(Vec<Option<ErrorText>>),
    Forget,
    Drain {
        threshold: u32,
        got: Got,
    },
    Lease {
        threshold: u32,
        lease: Duration,
        got: Got,
        /// A lease is bounded, and passes over what another call holds.
        may_skip: bool,
    },
    /// It is not known which entries a prune forgot.
    Prune {
        age: Duration,
        /// It forgot nothing at all.
        forgot_nothing: bool,
    },
    /// The clock moves on by so much.
    Elapse(Duration),
}

/// What a drain or a lease returned of the event.
#[derive(Clone, Debug)]
pub(crate) enum Got {
    Entry(DlqEntry),
    Nothing,
    /// The call never returned.
    Unknown,
}

/// A call on one event. Moments are places in the order of all starts and ends.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) began: u64,
    /// `None`: it never returned, so it takes effect at any later time or never.
    pub(crate) ended: Option<u64>,
    pub(crate) effect: Effect,
}

/// The calls that no order explains, by their place in the history. Before them the event had no
/// entry and no call was under way; those that make no difference are left out.
#[derive(Debug)]
pub(crate) struct Stuck(pub(crate) Vec<usize>);

/// A possible world: a state, and the open calls that have taken effect.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
struct World {
    event: Tracked,
    done: Vec<usize>,
}

/// A time at which the event had no entry and no call was under way: the moment and the clock.
#[derive(Clone, Copy, Default)]
struct Quiet {
    at: u64,
    now: Duration,
}

/// Where the walk stopped, and the last quiet time before.
struct Dead {
    at: u64,
    quiet: Quiet,
}

/// Looks for an order of the calls, of which the first finds no entry.
pub(crate) fn explain(spans: &[Span]) -> Result<(), Stuck> {
    let all: Vec<usize> = (0..spans.len()).collect();
    let Err(dead) = walk(spans, &all, Quiet::default()) else {
        return Ok(());
    };
    let begun = |call: &usize| (dead.quiet.at..=dead.at).contains(&spans[*call].began);
    let mut calls: Vec<usize> = all.into_iter().filter(begun).collect();
    for call in calls.clone() {
        let fewer: Vec<usize> = calls.iter().copied().filter(|one| *one != call).collect();
        if spans[call].is_dispensable() && walk(spans, &fewer, dead.quiet).is_err() {
            calls = fewer;
        }
    }
    Err(Stuck(calls))
}

impl Span {
    /// Whether a history without the call has no fewer explanations, as it changed nothing.
    fn is_dispensable(&self) -> bool {
        match &self.effect {
            Effect::Drain { got, .. } | Effect::Lease { got, .. } => matches!(got, Got::Nothing),
            Effect::Prune { forgot_nothing, .. } => *forgot_nothing,
            Effect::Fail(_) | Effect::Forget | Effect::Elapse(_) => false,
        }
    }
}

fn walk(spans: &[Span], calls: &[usize], from: Quiet) -> Result<(), Dead> {
    let mut moments: Vec<(u64, usize)> = Vec::new();
    for &call in calls {
        moments.push((spans[call].began, call));
        moments.extend(spans[call].ended.map(|ended| (ended, call)));
    }
    moments.sort_unstable();
    let nothing = HashSet::from([World::default()]);
    let (mut worlds, mut open) = (nothing.clone(), Vec::new());
    let (mut quiet, mut now) = (from, from.now);
    for (at, call) in moments {
        if open.is_empty() && worlds == nothing {
            quiet = Quiet { at, now };
        }
        if let Effect::Elapse(time) = spans[call].effect {
            // What never returns may have taken effect before.
            worlds = reach(spans, &open, worlds, now, None);
            now += time;
        } else if spans[call].began == at {
            open.push(call);
        } else {
            worlds = reach(spans, &open, worlds, now, Some(call));
            open.retain(|other| *other != call);
            if worlds.is_empty() {
                return Err(Dead { at, quiet });
            }
        }
    }
    Ok(())
}

/// The possible worlds when `ending` ends, with any open calls that took effect before it; without
/// `ending`, the possible worlds now.
fn reach(
    spans: &[Span],
    open: &[usize],
    worlds: HashSet<World>,
    now: Duration,
    ending: Option<usize>,
) -> HashSet<World> {
    let mut known = worlds;
    let mut todo: Vec<World> = known.iter().cloned().collect();
    let mut reached = HashSet::new();
    while let Some(world) = todo.pop() {
        let ended = ending.and_then(|ending| world.done.binary_search(&ending).ok());
        if let Some(place) = ended {
            let mut world = world;
            world.done.remove(place);
            reached.insert(world);
            continue;
        }
        for &call in open {
            let Err(place) = world.done.binary_search(&call) else {
                continue;
            };
            for event in spans[call].effect.on(&world.event, now) {
                let mut next = World {
                    event,
                    done: world.done.clone(),
                };
                next.done.insert(place, call);
                if known.insert(next.clone()) {
                    todo.push(next);
                }
            }
        }
        if ending.is_none() {
            reached.insert(world);
        }
    }
    reached
}

impl Effect {
    /// What the event may be afterwards; nothing if the call cannot have been answered so.
    fn on(&self, event: &Tracked, now: Duration) -> Vec<Tracked> {
        let mut after = event.clone();
        match self {
            Self::Fail(errors) => {
                for error in errors {
                    after.fail(error.as_ref(), now);
                }
            }
            Self::Forget => after.forget(),
            Self::Drain { threshold, got } => {
                let due = event.is_due(*threshold, now);
                if !got.fits(event, due) {
                    return Vec::new();
                }
                if due {
                    after.forget();
                }
            }
            Self::Lease {
                threshold,
                lease,
                got,
                may_skip,
            } => {
                let due = event.is_due(*threshold, now);
                let skipped = *may_skip && matches!(got, Got::Nothing);
                if !skipped && !got.fits(event, due) {
                    return Vec::new();
                }
                if due && !skipped {
                    after.leased_until = now + *lease;
                }
            }
            Self::Prune {
                age,
                forgot_nothing,
            } if !forgot_nothing && event.is_older(*age, now) => {
                after.forget();
                return vec![event.clone(), after];
            }
            Self::Prune { .. } | Self::Elapse(_) => {}
        }
        vec![after]
    }
}

impl Got {
    fn fits(&self, event: &Tracked, due: bool) -> bool {
        match self {
            Self::Entry(entry) => due && event.counts_as(entry),
            Self::Nothing => !due,
            Self::Unknown => true,
        }
    }
}

#[cfg(test)]
#[path = "linear_tests.rs"]
mod tests;
