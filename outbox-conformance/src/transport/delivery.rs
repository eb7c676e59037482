//! What every transport must do.

use super::TransportFixture;
use outbox_core::{Event, EventId};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Barrier;

fn events(count: usize) -> Vec<Event> {
    (0..count)
        .map(|number| Event::new("conformance.delivery", format!("payload {number}")))
        .collect()
}

fn ids(events: &[Event]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

/// T1: a call with nothing to publish is answered with nothing, and nothing arrives.
pub async fn an_empty_call_is_answered_empty<F: TransportFixture>(fixture: F) {
    let answers = fixture.transport().await.publish(&[]).await;
    assert!(answers.is_empty(), "answers to no event: {answers:?}");
    assert_eq!(ids(&fixture.received().await), [], "something arrived");
}

/// T1: as many answers as events.
pub async fn every_event_is_answered_in_order<F: TransportFixture>(fixture: F) {
    let transport = fixture.transport().await;
    for count in [1, 2, 100] {
        let answers = transport.publish(&events(count)).await;
        assert_eq!(answers.len(), count, "answers to {count} events");
        for (number, answer) in answers.iter().enumerate() {
            assert!(answer.is_ok(), "event {number} of {count}: {answer:?}");
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
        assert!(
            answer.is_ok(),
            "a healthy broker refused {}: {answer:?}",
            event.id
        );
        assert!(
            arrived.contains(&event.id),
            "{} was Ok but did not arrive",
            event.id
        );
    }
}

/// T3: nothing about an event is changed on its way.
pub async fn an_event_arrives_unchanged<F: TransportFixture>(fixture: F) {
    let made = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_225_600_123);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let sent = vec![
        Event::new("conformance.text", "{\n \"naïve\": \"日本\"\r\n}")
            .content_type("application/json")
            .created_at(made)
            .ordering_key("clé \"1\"")
            .header("traceparent", trace)
            .header("Odd-Name", "line\nbreak, \"quotes\" and ünïcode"),
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
        assert!(answer.is_ok(), "{}: {answer:?}", event.event_type);
    }
    let mut arrived = fixture.received().await;
    arrived.sort_by_key(|event| event.id);
    for (before, after) in sent.iter().zip(&arrived) {
        assert_eq!(before.id, after.id);
        assert_eq!(before.event_type, after.event_type);
        assert_eq!(
            before.ordering_key, after.ordering_key,
            "{}",
            before.event_type
        );
        assert_eq!(before.headers, after.headers, "{}", before.event_type);
        assert_eq!(
            before.content_type, after.content_type,
            "{}",
            before.event_type
        );
        assert_eq!(before.created_at, after.created_at, "{}", before.event_type);
        let (before_bytes, after_bytes) = (unbroken(before), unbroken(after));
        assert_eq!(
            before_bytes, after_bytes,
            "payload of {}",
            before.event_type
        );
    }
    assert_eq!(sent.len(), arrived.len());
}

/// A payload for comparison. Line breaks in JSON text are white space, and a transport of lines
/// may write blanks in their place.
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
        assert!(answers[0].is_ok(), "{answers:?}");
    }
    assert_eq!(ids(&fixture.received().await), ids(&sent));
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
                assert!(answers.iter().all(Result::is_ok), "{answers:?}");
                ids(&sent)
            }));
        }
        let mut sent = HashSet::new();
        for task in tasks {
            sent.extend(
                task.await
                    .unwrap_or_else(|error| panic!("a task failed: {error}")),
            );
        }
        let arrived: HashSet<_> = ids(&fixture.received().await[before..])
            .into_iter()
            .collect();
        assert_eq!(arrived, sent);
    }
}
