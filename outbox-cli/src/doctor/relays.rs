//! What the relays of a store do, and what waits although they run.

use crate::status::{SILENT, longest_pauses};
use crate::terminal::counted;
use crate::wiring::Finding;
use humantime::{FormattedDuration, format_duration};
use outbox_core::{Backlog, BlockedKey, OpenClaim, Overview, RelayRecord};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// How many destinations a finding names.
const NAMED: usize = 5;

/// `max_age`: the longest time for which an event may be due while relays run.
pub(super) fn examine(backlog: &Backlog, overview: &Overview, max_age: Duration) -> Vec<Finding> {
    let ago = |time: SystemTime| overview.now.duration_since(time).unwrap_or_default();
    let relays = overview.relays.iter();
    let (live, silent): (Vec<_>, Vec<_>) = relays.partition(|relay| ago(relay.heard) <= SILENT);
    let due = backlog.oldest_due;
    let waits = match due {
        Some(due) if live.is_empty() => (due > SILENT).then(|| without_relay(due)),
        Some(due) => (due > max_age).then(|| behind(due, max_age, live.len() as u64)),
        None => None,
    };
    let abandoned = overview.claims.iter();
    let abandoned = abandoned.filter(|claim| ago(claim.until) > SILENT);
    waits
        .into_iter()
        .chain(destinations(&live))
        .chain(pauses(&live))
        .chain(silent.iter().map(|relay| silence(relay, ago(relay.heard))))
        .chain(abandoned.map(|claim| lost(claim, ago(claim.until))))
        .chain(blocked(&overview.blocked, ago))
        .collect()
}

fn without_relay(due: Duration) -> Finding {
    Finding::error(
        "relays",
        format!(
            "no relay runs, and an event has been due for {}",
            whole(due)
        ),
        "start outbox relay with this configuration, and look why it ended",
    )
}

fn behind(due: Duration, max_age: Duration, relays: u64) -> Finding {
    let relays = match relays {
        1 => "a relay runs".to_owned(),
        more => format!("{more} relays run"),
    };
    Finding::warning(
        "progress",
        format!(
            "an event has been due for {}, longer than {} (health-max-age), although {relays}",
            whole(due),
            format_duration(max_age)
        ),
        "repair what the other findings name. If there is none, look at the log of the relay; if events are \
         published, they come faster than the relay publishes: raise concurrency, or run a second relay",
    )
}

/// Relays that publish to different places. One that does not say where it publishes to is passed over.
fn destinations(live: &[&RelayRecord]) -> Option<Finding> {
    let mut first: BTreeMap<&str, &RelayRecord> = BTreeMap::new();
    for relay in live {
        if let Some(destination) = relay.program.destination() {
            first.entry(destination).or_insert(relay);
        }
    }
    let places = first.iter().take(NAMED);
    let places = places.map(|(to, relay)| format!("{} to {to}", named(relay)));
    let places: Vec<String> = places.collect();
    let more = match first.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(", and others to {more} more"),
    };
    (first.len() > 1).then(|| {
        let places = places.join(", ");
        Finding::warning(
            "different-destinations",
            format!("relays of this store publish to different destinations: {places}{more}"),
            "each event goes to only one of them. Stop the relays with the wrong destination, or give all of \
             them the same --to and --template, written alike. A relay that was killed counts for 30 seconds",
        )
    })
}

/// A relay, for a person.
fn named(relay: &RelayRecord) -> String {
    let program = &relay.program;
    format!("process {} on {}", program.process(), program.host())
}

/// What the relays have said of their destinations. This machine may reach one that they do not.
fn pauses(live: &[&RelayRecord]) -> Vec<Finding> {
    let pauses = live.iter().flat_map(|relay| &relay.pauses);
    let by_destination =
        longest_pauses(pauses, |pause| (pause.destination.as_deref(), &*pause.kind));
    let found = by_destination.into_values().map(|(relays, pause)| {
        let destination = pause.destination.as_deref().unwrap_or("the whole broker");
        let relays = match relays {
            1 => "a relay sends".to_owned(),
            more => format!("{more} relays send"),
        };
        let (kind, error, lasts) = (&pause.kind, &pause.error, whole(pause.lasts));
        Finding::error(
            "pauses",
            format!("for {lasts} {relays} no events to {destination} ({kind}): {error}"),
            "repair what the error names; outbox check on the machine of the relay says whether it works. \
             The relay continues by itself",
        )
    });
    found.collect()
}

fn silence(relay: &RelayRecord, heard: Duration) -> Finding {
    let (relay, heard) = (named(relay), whole(heard));
    Finding::warning(
        "relays",
        format!("the relay of {relay} has been silent for {heard}"),
        "look whether the process still runs. If it was killed, other relays have its events when its \
         leases end, and its row is removed after a day",
    )
}

fn lost(claim: &OpenClaim, over: Duration) -> Finding {
    let (events, over) = (counted(claim.events, "event"), whole(over));
    Finding::error(
        "relays",
        format!("the lease of a claim of {events} ran out {over} ago, and no relay takes it over"),
        "start a relay. If one runs, it makes no claims: look at its log",
    )
}

fn blocked(keys: &[BlockedKey], ago: impl Fn(SystemTime) -> Duration) -> Option<Finding> {
    let first = keys.first()?;
    Some(Finding::warning(
        "blocked-keys",
        format!(
            "dead letters block the later events of {}, the longest since {}: the key {:?} waits for {}",
            counted(keys.len() as u64, "key"),
            whole(ago(first.since)),
            first.ordering_key,
            first.dead_letter
        ),
        format!(
            "outbox dlq show {} has the error: repair its cause, then replay or purge it",
            first.dead_letter
        ),
    ))
}

/// The time in whole seconds, for a person.
fn whole(time: Duration) -> FormattedDuration {
    format_duration(Duration::from_secs(time.as_secs()))
}
