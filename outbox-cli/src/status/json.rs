//! A report for a program: one object on a line.

use super::failing::failing;
use super::headline::headline;
use super::report::Report;
use crate::time::micros;
use outbox_core::{BlockedKey, OpenClaim, RelayPause, RelayRecord, WaitingEvent};
use serde_json::{Value, json};
use std::time::Duration;

pub(super) fn report(report: &Report, limit: usize) -> String {
    let (backlog, overview) = (&report.backlog, &report.overview);
    let seconds = |age: Option<Duration>| age.map(|age| age.as_secs_f64());
    let object = json!({
        "store": report.name,
        "summary": headline(report),
        "time": micros(overview.now),
        "pending": backlog.pending,
        "pending_is_capped": backlog.pending_is_capped,
        "oldest_pending_seconds": seconds(report.age),
        "oldest_due_seconds": seconds(backlog.oldest_due),
        "in_flight": backlog.in_flight,
        "waiting_keys": backlog.waiting,
        "heap_entries": report.heap.entries,
        "dead_letters": backlog.dead_letters,
        "oldest_dead_letter_seconds": seconds(backlog.oldest_dead_letter),
        "relays": all(&overview.relays, limit, |one| relay(report, one)),
        "claims": all(&overview.claims, limit, |one| claim(report, one)),
        "waiting": all(&overview.waiting, limit, waiting),
        "blocked_keys": all(&overview.blocked, limit, blocked),
        "failing": all(&failing(report), limit, |one| json!({
            "kind": one.kind,
            "of": one.what,
            "extent": one.extent,
            "error": one.error,
        })),
    });
    format!("{object}\n")
}

/// A store that cannot be read.
pub(super) fn failed(name: &str, error: &str) -> String {
    format!("{}\n", json!({ "store": name, "error": error }))
}

fn all<T>(items: &[T], limit: usize, object: impl Fn(&T) -> Value) -> Vec<Value> {
    items.iter().take(limit).map(object).collect()
}

fn relay(report: &Report, relay: &RelayRecord) -> Value {
    let error = relay.last_error.as_ref();
    json!({
        "id": relay.id.to_string(),
        "host": relay.program.host(),
        "process": relay.program.process(),
        "version": relay.program.version(),
        "destination": relay.program.destination(),
        "since": micros(relay.since),
        "heard_at": micros(relay.heard),
        "is_silent": report.is_silent(relay),
        "last_pass_at": relay.last_pass.map(micros),
        "last_error": error.map(|(text, _)| text.as_str()),
        "last_error_at": error.map(|(_, at)| micros(*at)),
        "pauses": relay.pauses.iter().map(pause).collect::<Vec<Value>>(),
    })
}

fn pause(pause: &RelayPause) -> Value {
    json!({
        "destination": pause.destination,
        "kind": pause.kind,
        "error": pause.error,
        "seconds": pause.lasts.as_secs(),
    })
}

fn claim(report: &Report, claim: &OpenClaim) -> Value {
    json!({
        "token": claim.token.as_uuid().to_string(),
        "relay": report.overview.relay_of(claim).map(|relay| relay.id.to_string()),
        "events": claim.events,
        "until": micros(claim.until),
        "is_lost": report.until(claim.until).is_none(),
        "lanes": claim.lanes,
    })
}

fn waiting(event: &WaitingEvent) -> Value {
    json!({
        "id": event.id.to_string(),
        "type": event.event_type,
        "key": event.ordering_key,
        "created_at": micros(event.created_at),
        "due_at": micros(event.due_at),
        "attempts": event.attempts,
        "last_error": event.last_error.as_deref(),
        "held_for": event.held_for.as_deref(),
    })
}

fn blocked(key: &BlockedKey) -> Value {
    json!({
        "key": key.ordering_key,
        "dead_letter": key.dead_letter.to_string(),
        "since": micros(key.since),
        "last_error": key.last_error.as_deref(),
    })
}
