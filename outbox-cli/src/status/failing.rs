//! What fails now.

use super::report::Report;
use super::table::age;
use crate::terminal::counted;
use outbox_core::{RelayPause, WaitingEvent};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

/// One thing that fails.
pub(super) struct Failing {
    /// A stable name: `pause`, `silent_relay`, `lost_claim`, `failing_events`, `dead_letters`.
    pub(super) kind: &'static str,
    /// What it is about: a destination, a relay, or a type of events.
    pub(super) what: String,
    /// How much, or for how long.
    pub(super) extent: String,
    pub(super) error: Option<String>,
}

pub(super) fn failing(report: &Report) -> Vec<Failing> {
    let mut all = pauses(report);
    all.extend(silent_relays(report));
    all.extend(lost_claims(report));
    all.extend(failing_events(&report.overview.waiting));
    all.extend(report.recent.iter().map(|group| Failing {
        kind: "dead_letters",
        what: group.event_type.clone(),
        extent: format!(
            "{}, newest {} ago",
            group.count,
            age(report.ago(group.newest))
        ),
        error: group.last_error.as_deref().map(str::to_owned),
    }));
    all
}

fn pauses(report: &Report) -> Vec<Failing> {
    let pauses = report.live().flat_map(|relay| &relay.pauses);
    let by_destination = longest_pauses(pauses, |pause| pause.destination.as_deref());
    let mut all: Vec<Failing> = by_destination
        .into_iter()
        .map(|(destination, (relays, longest))| Failing {
            kind: "pause",
            what: destination.unwrap_or("the broker").to_owned(),
            extent: format!(
                "{} for {}, {}",
                longest.kind,
                age(longest.lasts),
                counted(relays, "relay")
            ),
            error: Some(longest.error.clone()),
        })
        .collect();
    all.sort_by(|one, other| one.what.cmp(&other.what));
    all
}

/// The longest of the pauses that have the same key, and how many there are.
pub(crate) fn longest_pauses<'p, K: Ord>(
    pauses: impl Iterator<Item = &'p RelayPause>,
    key: impl Fn(&'p RelayPause) -> K,
) -> BTreeMap<K, (u64, &'p RelayPause)> {
    let mut groups = BTreeMap::new();
    for pause in pauses {
        let (count, longest) = groups.entry(key(pause)).or_insert((0, pause));
        *count += 1;
        if pause.lasts >= longest.lasts {
            *longest = pause;
        }
    }
    groups
}

fn silent_relays(report: &Report) -> impl Iterator<Item = Failing> {
    let relays = report.overview.relays.iter();
    let silent = relays.filter(|relay| report.is_silent(relay));
    silent.map(|relay| Failing {
        kind: "silent_relay",
        what: format!("{}/{}", relay.program.host(), relay.program.process()),
        extent: format!("not heard for {}", age(report.ago(relay.heard))),
        error: relay.last_error.as_ref().map(|(text, _)| text.to_string()),
    })
}

fn lost_claims(report: &Report) -> impl Iterator<Item = Failing> {
    let overdue = report.overview.claims.iter();
    let overdue = overdue.filter(|claim| report.until(claim.until).is_none());
    overdue.map(|claim| Failing {
        kind: "lost_claim",
        what: super::page::relay_of(report, claim),
        extent: format!(
            "{}, lease ended {} ago",
            counted(claim.events, "event"),
            age(report.ago(claim.until))
        ),
        error: None,
    })
}

/// The events that have failed, by their errors; those with the most attempts first.
fn failing_events(waiting: &[WaitingEvent]) -> Vec<Failing> {
    let mut groups: HashMap<&str, (u32, Vec<&WaitingEvent>)> = HashMap::new();
    for event in waiting.iter().filter(|event| event.attempts > 0) {
        let error = event.last_error.as_deref().unwrap_or_default();
        let (most, events) = groups.entry(error).or_default();
        *most = event.attempts.max(*most);
        events.push(event);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(error, (most, events))| (Reverse(*most), Reverse(events.len()), *error));
    let failing = |(error, (most, events)): (&str, (u32, Vec<&WaitingEvent>))| Failing {
        kind: "failing_events",
        what: events[0].event_type.clone(),
        extent: format!(
            "{}, up to {}",
            counted(events.len() as u64, "event"),
            counted(u64::from(most), "attempt")
        ),
        error: (!error.is_empty()).then(|| error.to_owned()),
    };
    groups.into_iter().map(failing).collect()
}
