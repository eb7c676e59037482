//! What the whole-system tests share: a shop of keyed events, a small heap, and checks.

mod heaps;
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

/// `per_key` events for each of `keys` keys, taken in turn; the payload is the number in the key.
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

/// Asserts that exactly the `expected` events arrived, each once.
///
/// # Panics
///
/// If one is missing, came twice, or is strange.
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

/// Asserts that the numbers of each key arrived in ascending order, each first arrival counted.
///
/// # Panics
///
/// If a key is out of order.
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

/// Returns when nothing is pending.
///
/// # Panics
///
/// If that takes longer than a minute, or the store fails.
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
