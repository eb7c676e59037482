//! A store that is restored from an older copy.

use super::{LEASE, RestoreFixture, append, claim, event_ids, keyed, publish_all, retry, settle};
use crate::check::{check_eq, ok};
use outbox_core::{DeadLetterFilter, EventId, Outcome};

/// S1: events that were published since the copy come again in order, events that were claimed or
/// waiting in the copy come too, and no later event is skipped.
pub async fn a_restored_store_delivers_again_and_skips_nothing<F: RestoreFixture>(fixture: F) {
    let (events, flying, waiting) = (keyed("k", 5), keyed("flying", 2), keyed("waiting", 2));
    let store = fixture.handle().await;
    append(&fixture, &waiting);
    settle(&store, &claim(&store, 2).await, &retry(10)).await;
    append(&fixture, &flying);
    check_eq!(claim(&store, 2).await.events.len(), 2);
    append(&fixture, &events[..3]);
    settle(&store, &claim(&store, 1).await, &Outcome::Published).await;
    fixture.back_up().await;

    // After the copy all events are published, also new ones.
    append(&fixture, &events[3..]);
    fixture.elapse(LEASE).await;
    check_eq!(publish_all(&store).await.len(), 8);
    drop(store);

    fixture.restore().await;
    let (store, later) = (fixture.handle().await, keyed("k", 2));
    append(&fixture, &later);
    let mut delivered = publish_all(&store).await;
    fixture.elapse(LEASE).await;
    delivered.extend(publish_all(&store).await);
    let expected = [&events[1..3], &later, &flying, &waiting];
    for key in expected.map(event_ids) {
        let of_key: Vec<EventId> = delivered
            .iter()
            .filter(|id| key.contains(id))
            .copied()
            .collect();
        check_eq!(of_key, key, "delivered events of a key");
    }
    check_eq!(
        delivered.len(),
        8,
        "events delivered after the restore: {delivered:?}"
    );
    check_eq!(ok(store.replay(&DeadLetterFilter::all(), 10).await), []);
}
