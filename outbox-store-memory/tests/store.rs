//! What the suite cannot test with every store.

use outbox_core::{ClaimLimit, Event, OutboxStorage, Outcome, Settlement};
use outbox_store_memory::MemoryStore;
use std::time::Duration;

#[tokio::test]
async fn the_longest_times_are_accepted() {
    let store = MemoryStore::new();
    let events = [Event::new("a", "1"), Event::new("b", "2")];
    store.append(&events).expect("appended");
    let claim = store
        .claim(ClaimLimit::events(10), Duration::MAX)
        .await
        .expect("claimed");
    let delay = Duration::MAX;
    let retry = Outcome::Retry {
        delay,
        error: "no route".into(),
    };
    let settlements = [
        Settlement::new(events[0].id, retry),
        Settlement::new(events[1].id, Outcome::Released { delay }),
    ];
    let settled = store.settle(claim.token, &settlements).await;
    settled.expect("settled");
    let next = store
        .claim(ClaimLimit::events(10), Duration::MAX)
        .await
        .expect("claimed");
    assert!(next.events.is_empty(), "{next:?}");
}
