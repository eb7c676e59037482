//! The answer to the first question: does it work?

use super::report::Report;
use super::table::age;
use crate::terminal::{counted, line};
use std::time::Duration;

/// A relay that passes more rarely while an event is due does not publish.
const STUCK: Duration = Duration::from_secs(60);

/// One line, such as `2 relays, publishing; oldest due event 3s`.
pub(super) fn headline(report: &Report) -> String {
    let live = report.live().count() as u64;
    let due = match report.backlog.oldest_due {
        Some(due) => format!("oldest due event {}", age(due)),
        None => "nothing is due".to_owned(),
    };
    if live == 0 {
        return without_relays(report, &due);
    }
    let state = match &*state(report) {
        "" => String::new(),
        state => format!(", {state}"),
    };
    let silent = report.overview.relays.len() as u64 - live;
    let silent = match silent {
        0 => String::new(),
        count => format!(", {count} silent"),
    };
    format!("{}{state}{silent}; {due}", counted(live, "relay"))
}

fn without_relays(report: &Report, due: &str) -> String {
    let has_lease = |until| report.until(until).is_some();
    let pending = events(report);
    if report
        .overview
        .claims
        .iter()
        .any(|claim| has_lease(claim.until))
    {
        let held =
            "no relay reports, but events are claimed: a relay has died lately, or reports nothing";
        return format!("{held}; {pending}; {due}");
    }
    match report.backlog.pending {
        0 => "no relay runs; nothing is pending".to_owned(),
        _ if report.backlog.oldest_due.is_some() => {
            format!("NO RELAY RUNS: {pending}; {due}")
        }
        _ => format!("no relay runs: {pending}; {due}"),
    }
}

fn events(report: &Report) -> String {
    let more = if report.backlog.pending_is_capped {
        "more than "
    } else {
        ""
    };
    let count = report.backlog.pending;
    let verb = if count == 1 { "event is" } else { "events are" };
    format!("{more}{} {verb} pending", grouped(count))
}

/// What the relays do. Empty if there is nothing to do.
fn state(report: &Report) -> String {
    let total = report.live().count();
    let whole = report.live().filter_map(|relay| {
        let mut pauses = relay.pauses.iter();
        pauses.find(|pause| pause.destination.is_none())
    });
    let whole: Vec<_> = whole.collect();
    if let Some(pause) = whole.first().filter(|_| whole.len() == total) {
        let lasts = age(pause.lasts);
        return format!("NOT PUBLISHING: broker {} for {lasts}", line(&pause.kind));
    }
    let mut paused: Vec<&str> = report
        .live()
        .flat_map(|relay| &relay.pauses)
        .filter_map(|pause| pause.destination.as_deref())
        .collect();
    paused.sort_unstable();
    paused.dedup();
    if !paused.is_empty() {
        let count = counted(paused.len() as u64, "destination");
        let verb = if paused.len() == 1 { "gets" } else { "get" };
        return format!("{count} {verb} no events");
    }
    let Some(due) = report.backlog.oldest_due else {
        return String::new();
    };
    let passes = report.live().filter_map(|relay| relay.last_pass);
    let last = passes.map(|pass| report.ago(pass)).min();
    match last {
        Some(last) if last <= STUCK || due <= STUCK => "publishing".to_owned(),
        None if due <= STUCK => "starting".to_owned(),
        _ => "NOT PUBLISHING".to_owned(),
    }
}

/// `1,204`
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_are_grouped() {
        let numbers = [0, 999, 1204, 1_000_000].map(grouped);
        assert_eq!(numbers, ["0", "999", "1,204", "1,000,000"]);
    }
}
