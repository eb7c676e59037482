//! A report for a person.

use super::failing::failing;
use super::headline::headline;
use super::report::Report;
use super::table::{Table, age};
use crate::terminal::line;
use humantime::format_duration;
use outbox_core::{OpenClaim, RelayRecord, WaitingEvent};
use std::io::{self, IsTerminal};
use std::time::Duration;

/// Nothing that is empty is shown.
pub(super) fn report(report: &Report, limit: usize, is_alone: bool) -> String {
    let width = width();
    let name = if is_alone {
        String::new()
    } else {
        format!("{}: ", line(&report.name))
    };
    let mut text = format!("{name}{}\n\n{}", headline(report), counts(report));
    for table in [
        relays(report, limit),
        claims(report, limit),
        waiting(report, limit),
        blocked(report, limit),
        fails(report, limit),
    ] {
        text.push_str(&table.text(width));
    }
    text
}

/// A store that cannot be read.
pub(super) fn failed(name: &str, error: &str) -> String {
    format!("{}: CANNOT BE READ: {}\n", line(name), line(error))
}

/// As wide as the terminal; without one, lines are not cut to a width.
fn width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let (terminal_size::Width(width), _) = terminal_size::terminal_size()?;
    Some(usize::from(width))
}

fn counts(report: &Report) -> String {
    let backlog = &report.backlog;
    let more = if backlog.pending_is_capped {
        "more than "
    } else {
        ""
    };
    let oldest = report
        .age
        .map(|oldest| format!("{} ago", format_duration(oldest)));
    let due = backlog.oldest_due.map(|due| format!("for {}", age(due)));
    let dead = match backlog.oldest_dead_letter {
        Some(oldest) => format!("{}, oldest {} ago", backlog.dead_letters, age(oldest)),
        None => backlog.dead_letters.to_string(),
    };
    let counts = [
        ("pending", Some(format!("{more}{}", backlog.pending))),
        ("oldest", oldest),
        ("due", due),
        ("in flight", Some(backlog.in_flight.to_string())),
        ("waiting keys", Some(backlog.waiting.to_string())),
        ("heap entries", Some(report.heap.entries.to_string())),
        ("dead letters", Some(dead)),
    ];
    let shown = counts
        .into_iter()
        .filter_map(|(name, count)| Some((name, count?)));
    let lines: Vec<String> = shown
        .map(|(name, count)| format!("{name:<12}  {count}\n"))
        .collect();
    lines.concat()
}

fn relays(report: &Report, limit: usize) -> Table {
    let headings = &[
        "HOST",
        "PROCESS",
        "VERSION",
        "SINCE",
        "HEARD",
        "LAST PASS",
        "TO",
        "STATE",
    ];
    Table::new("relays", headings).rows(&report.overview.relays, limit, |relay| {
        let ago = |time| format!("{} ago", age(report.ago(time)));
        vec![
            relay.program.host().to_owned(),
            relay.program.process().to_string(),
            relay.program.version().to_owned(),
            ago(relay.since),
            ago(relay.heard),
            relay.last_pass.map_or_else(|| "never".to_owned(), ago),
            relay.program.destination().unwrap_or("-").to_owned(),
            state(report, relay),
        ]
    })
}

fn state(report: &Report, relay: &RelayRecord) -> String {
    if report.is_silent(relay) {
        return "SILENT".to_owned();
    }
    let pauses = relay.pauses.iter().map(|pause| {
        let destination = pause.destination.as_deref().unwrap_or("the broker");
        format!("{destination} {}", pause.kind)
    });
    let pauses: Vec<String> = pauses.collect();
    let error = relay.last_error.as_ref().map(|(error, at)| {
        let ago = age(report.ago(*at));
        format!("last error {ago} ago: {error}")
    });
    match (pauses.is_empty(), error) {
        (false, _) => format!("paused: {}", pauses.join(", ")),
        (true, Some(error)) => error,
        (true, None) => "works".to_owned(),
    }
}

fn claims(report: &Report, limit: usize) -> Table {
    let headings = &["RELAY", "EVENTS", "LEASE ENDS", "LANES"];
    Table::new("claims", headings).rows(&report.overview.claims, limit, |claim| {
        let lanes: Vec<String> = claim.lanes.iter().map(u16::to_string).collect();
        vec![
            relay_of(report, claim),
            claim.events.to_string(),
            match report.until(claim.until) {
                Some(rest) => format!("in {}", age(rest)),
                None => format!("ENDED {} ago", age(report.ago(claim.until))),
            },
            lanes.join(","),
        ]
    })
}

pub(super) fn relay_of(report: &Report, claim: &OpenClaim) -> String {
    match report.overview.relay_of(claim) {
        Some(relay) => format!("{}/{}", relay.program.host(), relay.program.process()),
        None => "unknown".to_owned(),
    }
}

fn waiting(report: &Report, limit: usize) -> Table {
    let headings = &[
        "KEY",
        "ID",
        "TYPE",
        "CREATED",
        "DUE",
        "ATTEMPTS",
        "WAITS FOR",
    ];
    Table::new("waiting: the first event of each key", headings).rows(
        &report.overview.waiting,
        limit,
        |event| {
            vec![
                event.ordering_key.clone().unwrap_or_else(|| "-".to_owned()),
                event.id.to_string(),
                event.event_type.clone(),
                format!(
                    "{} ago",
                    age(super::since(event.created_at, report.overview.now))
                ),
                due(report.until(event.due_at)),
                event.attempts.to_string(),
                reason(event, report.until(event.due_at).is_some()),
            ]
        },
    )
}

fn due(rest: Option<Duration>) -> String {
    rest.map_or_else(|| "now".to_owned(), |rest| format!("in {}", age(rest)))
}

fn reason(event: &WaitingEvent, is_delayed: bool) -> String {
    match (&event.held_for, &event.last_error) {
        (Some(destination), _) => format!("the destination {destination}"),
        (None, Some(error)) => format!("a retry after: {error}"),
        (None, None) if is_delayed => "its time".to_owned(),
        (None, None) => "a relay".to_owned(),
    }
}

fn blocked(report: &Report, limit: usize) -> Table {
    let headings = &["KEY", "DEAD LETTER", "SINCE", "LAST ERROR"];
    Table::new("keys that a dead letter blocks", headings).rows(
        &report.overview.blocked,
        limit,
        |key| {
            vec![
                key.ordering_key.clone(),
                key.dead_letter.to_string(),
                format!("{} ago", age(report.ago(key.since))),
                key.last_error.as_deref().unwrap_or("-").to_owned(),
            ]
        },
    )
}

fn fails(report: &Report, limit: usize) -> Table {
    let headings = &["WHAT", "OF", "EXTENT", "ERROR"];
    let all = failing(report);
    Table::new("fails now", headings).rows(&all, limit, |failing| {
        vec![
            failing.kind.replace('_', " "),
            failing.what.clone(),
            failing.extent.clone(),
            failing.error.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    })
}
