//! The clauses for every transport.

use super::TransportFixture;
use super::call::{check_all_ok, check_taken, ids, keyed, publish};
use crate::check::{check, check_eq, joined};
use outbox_core::Event;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Barrier;

fn events(count: usize) -> Vec<Event> {
    (0..count)
        .map(|number| Event::new("conformance.delivery", format!("payload {number}")))
        .collect()
}

/// T1: a call with nothing to publish is answered with nothing, and nothing arrives.
pub async fn an_empty_call_is_answered_empty<F: TransportFixture>(fixture: F) {
    let answers = fixture.transport().await.publish(&[]).await;
    check!(
        answers.is_empty(),
        "expected no answer to no event, came {answers:?}"
    );
    check_eq!(ids(&fixture.received().await), [], "events that arrived");
}

/// T1: as many answers as events.
pub async fn every_event_is_answered_in_order<F: TransportFixture>(fixture: F) {
    let transport = fixture.transport().await;
    for count in [1, 2, 100] {
        let answers = transport.publish(&events(count)).await;
        check_eq!(answers.len(), count, "the number of answers");
        for (number, answer) in answers.iter().enumerate() {
            check!(
                answer.is_ok(),
                "expected Ok for event {number} of {count}, came {answer:?}"
            );
        }
    }
}

/// T2: each event that was answered Ok can be read back.
pub async fn what_is_answered_ok_is_at_the_broker<F: TransportFixture>(fixture: F) {
    let transport = fixture.transport().await;
    let sent = events(50);
    let answers = transport.publish(&sent).await;
    let arrived: HashSet<_> = ids(&fixture.received().await).into_iter().collect();
    for (event, answer) in sent.iter().zip(&answers) {
        check!(
            answer.is_ok(),
            "expected Ok for {}, came {answer:?}",
            event.id
        );
        check!(
            arrived.contains(&event.id),
            "expected {} at the broker after Ok, came only {arrived:?}",
            event.id
        );
    }
}

/// T3: each field of an event arrives unchanged, `created_at` and line breaks in header values
/// among them.
pub async fn an_event_arrives_unchanged<F: TransportFixture>(fixture: F) {
    let made = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_225_600_123);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let sent = vec![
        Event::new("conformance.text", "{\n \"naïve\": \"日本\"\r\n}")
            .content_type("application/json")
            .created_at(made)
            .ordering_key("clé \"1\"")
            .header("traceparent", trace)
            .header("Odd-Name", "line\nbreaks\r\n, \"quotes\" and ünïcode"),
        Event::new("conformance.bytes", vec![0, 159, 146, 150, 10, 255]).created_at(made),
        Event::new("conformance.empty", "")
            .content_type("application/json")
            .created_at(made),
        Event::new("conformance.broken", "{not json")
            .content_type("application/json")
            .created_at(made),
    ];
    for (event, answer) in sent
        .iter()
        .zip(fixture.transport().await.publish(&sent).await)
    {
        check!(
            answer.is_ok(),
            "expected Ok for {}, came {answer:?}",
            event.event_type
        );
    }
    let mut arrived = fixture.received().await;
    arrived.sort_by_key(|event| event.id);
    for (before, after) in sent.iter().zip(&arrived) {
        let of = &before.event_type;
        check_eq!(after.id, before.id, "id of {of}");
        check_eq!(after.event_type, before.event_type, "type of {of}");
        check_eq!(after.ordering_key, before.ordering_key, "key of {of}");
        check_eq!(after.headers, before.headers, "headers of {of}");
        check_eq!(
            after.content_type,
            before.content_type,
            "content type of {of}"
        );
        check_eq!(after.created_at, before.created_at, "created_at of {of}");
        check_eq!(unbroken(after), unbroken(before), "payload of {of}");
    }
    check_eq!(
        arrived.len(),
        sent.len(),
        "the number of events that arrived"
    );
}

/// A payload for comparison. Line breaks in JSON text are white space, and a transport of lines may
/// write blanks in their place.
fn unbroken(event: &Event) -> Vec<u8> {
    let text = event.event_type == "conformance.text";
    let blank = |byte: u8| {
        if text && matches!(byte, b'\n' | b'\r') {
            b' '
        } else {
            byte
        }
    };
    event.payload.iter().map(|&byte| blank(byte)).collect()
}

/// T5: order per key rests on this: an event that is sent after another's answer arrives after it.
pub async fn calls_one_after_another_keep_their_order<F: TransportFixture>(fixture: F) {
    let transport = fixture.transport().await;
    let sent: Vec<Event> = events(30)
        .into_iter()
        .map(|event| event.ordering_key("k"))
        .collect();
    for event in &sent {
        let answers = transport.publish(std::slice::from_ref(event)).await;
        check_all_ok(&answers);
    }
    check_eq!(
        ids(&fixture.received().await),
        ids(&sent),
        "events in the order of arrival"
    );
}

/// T2: several transports at once lose nothing and mix nothing up.
pub async fn concurrent_calls_all_arrive<F: TransportFixture>(fixture: F) {
    const TASKS: usize = 4;
    for _round in 0..10 {
        let before = fixture.received().await.len();
        let barrier = Arc::new(Barrier::new(TASKS));
        let mut tasks = Vec::new();
        for _ in 0..TASKS {
            let (transport, barrier) = (fixture.transport().await, Arc::clone(&barrier));
            tasks.push(tokio::spawn(async move {
                let sent = events(10);
                barrier.wait().await;
                let answers = transport.publish(&sent).await;
                check_all_ok(&answers);
                ids(&sent)
            }));
        }
        let mut sent = HashSet::new();
        for task in tasks {
            sent.extend(joined(task).await);
        }
        let arrived: HashSet<_> = ids(&fixture.received().await[before..])
            .into_iter()
            .collect();
        check_eq!(arrived, sent, "events that arrived");
    }
}

/// T10: an event that the broker has is accepted again, also in a call with new events.
pub async fn an_event_that_is_published_again_is_accepted<F: TransportFixture>(fixture: F) {
    let transport = fixture.transport().await;
    let events = keyed(&*transport, "again", 6);
    for again in [3, 6, 6] {
        let answers = publish(&fixture, &*transport, &events[..again]).await;
        check_all_ok(&answers);
        check_taken(&fixture, &events[..again], &answers).await;
    }
}

/// T1, T2, T14: a thousand events.
pub async fn a_call_with_a_thousand_events_is_published<F: TransportFixture>(fixture: F) {
    let transport = fixture.transport().await;
    let events = keyed(&*transport, "thousand", 1000);
    let answers = publish(&fixture, &*transport, &events).await;
    check_all_ok(&answers);
    check_taken(&fixture, &events, &answers).await;
}

/// T2, T3, T14: 256 events of 64 KiB.
pub async fn a_call_with_16_mebibytes_is_published<F: TransportFixture>(fixture: F) {
    let transport = fixture.transport().await;
    let mut events = keyed(&*transport, "mebibytes", 256);
    for (fill, event) in (0..=u8::MAX).zip(&mut events) {
        event.payload = vec![fill; 1 << 16].into();
    }
    let answers = publish(&fixture, &*transport, &events).await;
    check_all_ok(&answers);
    check_taken(&fixture, &events, &answers).await;
    for event in fixture.received().await {
        let fill = events.iter().position(|sent| sent.id == event.id);
        let is_whole = fill.is_some_and(|number| event.payload == events[number].payload);
        check!(
            is_whole,
            "expected the payload of {} unchanged, came {} bytes",
            event.id,
            event.payload.len()
        );
    }
}
