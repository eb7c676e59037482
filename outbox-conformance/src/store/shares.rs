//! Claims that leave work to other keys and to other workers (S12).

use super::{
    Store, StoreFixture, append, claim, event_ids, ids, keyed, publish_all, settle, sorted,
};
use crate::check::{check, check_eq, ok};
use outbox_core::{EventId, Outcome};
use std::collections::HashSet;
use std::sync::Arc;

/// Publishes claims of `limit` events, up to `claims` of them, and returns the events in order.
async fn publish(store: &Arc<dyn Store>, limit: usize, claims: usize) -> Vec<EventId> {
    let mut published = Vec::new();
    for _ in 0..claims {
        let claim = claim(store, limit).await;
        if claim.events.is_empty() {
            break;
        }
        settle(store, &claim, &Outcome::Published).await;
        published.extend(ids(&claim.events));
    }
    published
}

/// S12: the first events of other keys are claimed before much of a key that has many, whichever
/// keys they are, and the many keep their order.
pub async fn a_key_with_many_events_does_not_delay_the_others<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let (many, few) = (keyed("many", 1000), [0; 20].map(|_| EventId::new()));
    append(&fixture, &many);
    let few: Vec<_> = few
        .iter()
        .map(|id| keyed(&format!("key {id}"), 1).remove(0))
        .collect();
    append(&fixture, &few);
    let mut published = publish(&store, 50, 12).await;
    let seen: HashSet<EventId> = published.iter().copied().collect();
    let late = event_ids(&few)
        .iter()
        .filter(|id| !seen.contains(id))
        .count();
    check_eq!(late, 0, "late events of the {} of other keys", few.len());
    published.extend(publish_all(&store).await);
    let is_of_few = |id: &EventId| few.iter().any(|event| event.id == *id);
    published.retain(|id| !is_of_few(id));
    check_eq!(published, event_ids(&many));
}

/// S12: while a worker has a claim of many keys, others find events too, until the lease runs out.
pub async fn an_open_claim_leaves_work_to_others<F: StoreFixture>(fixture: F) {
    let events: Vec<_> = (0..400)
        .map(|number| keyed(&format!("key {number}"), 1).remove(0))
        .collect();
    append(&fixture, &events);
    let (stuck, other) = (fixture.handle().await, fixture.handle().await);
    let held = claim(&stuck, 100).await;
    check!(
        !held.events.is_empty(),
        "expected events in a first claim, came none"
    );
    let mut seen = ids(&held.events);
    let found = publish(&other, 100, 20).await;
    check!(
        found.len() >= 100,
        "expected 100 events or more for another worker, came {} next to a claim of {}",
        found.len(),
        seen.len()
    );
    seen.extend(found);
    settle(&stuck, &held, &Outcome::Published).await;
    seen.extend(publish_all(&stuck).await);
    check_eq!(sorted(seen), sorted(event_ids(&events)));
    check_eq!(ok(stuck.backlog().await).pending, 0);
}
