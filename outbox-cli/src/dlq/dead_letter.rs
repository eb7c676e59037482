//! A dead letter as JSON.

use crate::ndjson::event_json;
use crate::time::micros;
use outbox_core::{DeadLetter, Event};
use serde::Serialize;
use serde_json::value::RawValue;
use std::io;

/// The event as the relay writes it, and what became of it.
#[derive(Serialize)]
struct Line<'a> {
    position: u64,
    event: Box<RawValue>,
    idempotency_token: Option<&'a str>,
    available_at: Option<String>,
    failure_count: u32,
    last_error: Option<&'a str>,
    first_failed_at: String,
    last_failed_at: String,
    quarantined_at: String,
    replays: u32,
}

/// A dead letter without its payload and headers, with the names of [`Line`].
#[derive(Serialize)]
struct Summary<'a> {
    position: u64,
    event: EventSummary<'a>,
    failure_count: u32,
    last_error: Option<&'a str>,
    first_failed_at: String,
    last_failed_at: String,
    quarantined_at: String,
    replays: u32,
}

#[derive(Serialize)]
struct EventSummary<'a> {
    id: String,
    #[serde(rename = "type")]
    event_type: &'a str,
    key: Option<&'a str>,
    created_at: String,
    content_type: &'a str,
    payload_size: u64,
}

/// What is known of the dead letter, on one line, without the line break.
pub(super) fn summary_json(dead_letter: &DeadLetter) -> io::Result<String> {
    let event = EventSummary {
        id: dead_letter.id.to_string(),
        event_type: &dead_letter.event_type,
        key: dead_letter.ordering_key.as_deref(),
        created_at: micros(dead_letter.created_at),
        content_type: &dead_letter.content_type,
        payload_size: dead_letter.payload_size,
    };
    let summary = Summary {
        position: dead_letter.position,
        event,
        failure_count: dead_letter.failure_count,
        last_error: dead_letter.last_error.as_deref(),
        first_failed_at: micros(dead_letter.first_failed_at),
        last_failed_at: micros(dead_letter.last_failed_at),
        quarantined_at: micros(dead_letter.quarantined_at),
        replays: dead_letter.replays,
    };
    Ok(serde_json::to_string(&summary)?)
}

/// The dead letter with its event on one line, without the line break.
pub(super) fn json(dead_letter: &DeadLetter, event: &Event) -> io::Result<String> {
    let line = Line {
        position: dead_letter.position,
        event: event_json(event)?,
        idempotency_token: event.idempotency_token.as_deref(),
        available_at: event.available_at.map(micros),
        failure_count: dead_letter.failure_count,
        last_error: dead_letter.last_error.as_deref(),
        first_failed_at: micros(dead_letter.first_failed_at),
        last_failed_at: micros(dead_letter.last_failed_at),
        quarantined_at: micros(dead_letter.quarantined_at),
        replays: dead_letter.replays,
    };
    Ok(serde_json::to_string(&line)?)
}
