//! Transports that keep order (T7).

use super::call::check_all_ok;
use super::{LimitedBroker, TransportFixture};
use crate::check::{check, check_eq};
use outbox_core::{Event, EventId};

fn of_key(key: &str, count: usize) -> Vec<Event> {
    let event = |number: usize| Event::new("conformance.order", number.to_string());
    (0..count)
        .map(|number| event(number).ordering_key(key))
        .collect()
}

/// The ids of the events of a key, in their order.
fn of(events: &[Event], key: &str) -> Vec<EventId> {
    let is_of = |event: &&Event| event.ordering_key.as_deref() == Some(key);
    events.iter().filter(is_of).map(|event| event.id).collect()
}

/// T7: a call with many events of a few keys, several times.
pub async fn events_of_one_key_in_a_call_keep_their_order<F: TransportFixture>(fixture: F) {
    let transport = fixture.transport().await;
    check!(
        transport.keeps_order(),
        "expected a transport that keeps order, came one that does not"
    );
    let mut sent = Vec::new();
    for _call in 0..10 {
        let keys = ["a", "b", "c"].map(|key| of_key(key, 20));
        let mut events = Vec::new();
        for number in 0..20 {
            events.extend(keys.iter().map(|key| key[number].clone()));
        }
        let answers = transport.publish(&events).await;
        check_all_ok(&answers);
        sent.extend(events);
    }
    let received = fixture.received().await;
    for key in ["a", "b", "c"] {
        check_eq!(
            of(&received, key),
            of(&sent, key),
            "events of the key {key} in the order of arrival"
        );
    }
}

/// T7: after a refused event of a key, at any place of the call, no later one of the key is accepted
/// in the same call. The next call accepts them, and other keys are not affected.
pub async fn no_event_is_taken_after_a_refused_one_of_its_key<F: LimitedBroker>(fixture: F) {
    let transport = fixture.transport().await;
    for large in 0..4 {
        let key = format!("key {large}");
        let other = format!("other {large}");
        let (mut events, others) = (of_key(&key, 4), of_key(&other, 2));
        events[large] = fixture.too_large().await.ordering_key(&*key);
        let call = [&others[..1], &events[..], &others[1..]].concat();
        let answers = transport.publish(&call).await;
        let taken: Vec<bool> = answers.iter().map(Result::is_ok).collect();
        let expected: Vec<bool> = (0..6).map(|at| at <= large || at == 5).collect();
        check_eq!(taken, expected, "which events are answered Ok");
        let ids: Vec<_> = events.iter().map(|event| event.id).collect();
        let received = fixture.received().await;
        check_eq!(of(&received, &key), ids[..large]);
        check_eq!(of(&received, &other), of(&others, &other));
        check_all_ok(&transport.publish(&events[large + 1..]).await);
        let order = [&ids[..large], &ids[large + 1..]].concat();
        check_eq!(of(&fixture.received().await, &key), order);
    }
}
