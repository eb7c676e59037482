//! What the tests of the whole system share: events with keys, a small heap, and assertions.

pub mod brokers;
mod heaps;
pub mod place;
pub mod swap;

pub use heaps::SeedHeap;

use outbox_core::{Event, EventId, OutboxStorage};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

#[doc = include_str!("../../README.md")]
#[cfg(doctest)]
pub struct Readme;

#[doc = include_str!("../../docs/embedding.md")]
#[cfg(doctest)]
pub struct Embedding;

/// `per_key` events for each of `keys` keys. The keys take turns, and the payload is the number of the
/// event within its key.
#[must_use]
pub fn keyed_events(keys: usize, per_key: usize) -> Vec<Event> {
    (0..per_key)
        .flat_map(|number| {
            (0..keys).map(move |key| {
                Event::new("test.numbered", number.to_string()).ordering_key(format!("key {key}"))
            })
        })
        .collect()
}

/// The ids of events.
#[must_use]
pub fn ids(events: &[Event]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

/// Asserts that the `expected` events arrived, each once, and no others.
///
/// # Panics
///
/// If an event is missing, arrived twice, or was not expected.
pub fn assert_each_once(received: &[Event], expected: &[Event]) {
    let arrived: HashSet<EventId> = received.iter().map(|event| event.id).collect();
    assert_eq!(
        arrived.len(),
        received.len(),
        "an event was delivered twice"
    );
    let expected: HashSet<EventId> = expected.iter().map(|event| event.id).collect();
    assert_eq!(arrived, expected);
}

/// Asserts that the first arrivals of each key are in ascending order of their numbers.
///
/// # Panics
///
/// If they are not.
pub fn assert_ordered_per_key(received: &[Event]) {
    let mut seen = HashSet::new();
    let mut latest: BTreeMap<String, u64> = BTreeMap::new();
    for event in received.iter().filter(|event| seen.insert(event.id)) {
        let key = event.ordering_key.clone().unwrap_or_default();
        let text = String::from_utf8_lossy(&event.payload);
        let number: u64 = text.parse().unwrap_or_else(|_| panic!("payload {text:?}"));
        let before = latest.insert(key.clone(), number);
        assert!(
            before.is_none_or(|before| before < number),
            "{key}: {number} after {before:?}"
        );
    }
}

/// Waits until no event is pending.
///
/// # Panics
///
/// If that takes longer than a minute, or if the store returns an error.
pub async fn drained(store: &Arc<dyn OutboxStorage>) {
    let wait = async {
        while store
            .backlog()
            .await
            .unwrap_or_else(|error| panic!("{error}"))
            .pending
            > 0
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
    assert!(waited.is_ok(), "still pending: {:?}", store.backlog().await);
}
