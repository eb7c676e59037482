//! The fields of an event, appended alone and in a batch.

use super::Step::Append;
use super::{AppendFixture, appear, commit};
use crate::store::keyed;
use outbox_core::{Event, EventId};
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// A7: odd names, unicode, bytes that are no text, empty values next to missing ones, and odd times.
pub async fn odd_fields_arrive_unchanged<F: AppendFixture>(fixture: F) {
    alone_and_together(&fixture, odd_events).await;
}

/// A7: a large payload, with bytes of all values, next to small ones.
pub async fn a_payload_of_16_mb_arrives_unchanged<F: AppendFixture>(fixture: F) {
    let bytes: Vec<u8> = (0..=u8::MAX).collect();
    let large = bytes.repeat((16 << 20) / bytes.len());
    alone_and_together(&fixture, || {
        let mut events = keyed("large", 3);
        events[1].payload = large.clone().into();
        events
    })
    .await;
}

/// A7: each of a thousand events keeps its fields, and its place.
pub async fn a_thousand_events_arrive_unchanged<F: AppendFixture>(fixture: F) {
    let mut events = keyed("many", 1000);
    for (number, event) in (0..).zip(&mut events) {
        event.created_at += Duration::from_micros(number);
        event.headers.insert("number".into(), number.to_string());
        event.idempotency_token = (number % 3 == 0).then(|| format!("token {number}"));
        event.available_at = (number % 5 == 0).then_some(event.created_at);
    }
    commit(&fixture, &[Append(events.clone())]).await;
    appear(&fixture, &events).await;
}

/// Appends each event with its own call, and then such events with one call.
async fn alone_and_together<F: AppendFixture>(fixture: &F, make: impl Fn() -> Vec<Event>) {
    let events = make();
    let alone: Vec<_> = events
        .iter()
        .map(|event| Append(vec![event.clone()]))
        .collect();
    commit(fixture, &alone).await;
    appear(fixture, &events).await;
    let mut others = make();
    for (number, event) in others.iter_mut().enumerate() {
        // Against the order of the ids, which a layer could sort by.
        event.id = EventId::from(Uuid::from_u128(u128::MAX - number as u128));
        if let Some(token) = &mut event.idempotency_token {
            token.push_str(" again");
        }
    }
    commit(fixture, &[Append(others.clone())]).await;
    appear(fixture, &others).await;
}

/// Each with another key, except for the one without a key.
fn odd_events() -> Vec<Event> {
    let at = |micros| SystemTime::UNIX_EPOCH + Duration::from_micros(micros);
    let made = at(1_700_000_000_123_456);
    vec![
        Event::new("odd.\"type\"; 'DROP'", vec![0, 159, 146, 150, 255])
            .content_type("text/x; charset=\"ü\"")
            .header("Odd Name: \"'\\", "line\nbreak\ttab")
            .header("", "")
            .header("日本", "{\"json\": [null]}")
            .ordering_key("clé 'x' \\ \"日本\" {a,NULL}")
            .idempotency_token("token 'x', \"y\" \\")
            .available_at(at(1_600_000_000_000_001))
            .created_at(made),
        Event::new("empty", "")
            .ordering_key("")
            .idempotency_token("")
            .created_at(at(1_700_000_000_999_999)),
        Event::new("bare", "NULL").created_at(at(946_684_799_999_999)),
        Event::new("early", "\\x00")
            .ordering_key("NULL")
            .available_at(at(400_000_000_000_001))
            .created_at(at(400_000_000_000_001)),
    ]
}
