//! Large payloads, and keys with many events.

use crate::{Place, entry, keyed};
use outbox_core::{
    ClaimLimit, DeadLetterFilter, DeadLetters, Event, EventId, OutboxStorage, Outcome,
    QuarantineOutcome,
};
use std::time::Duration;

#[tokio::test]
async fn a_quarantine_a_replay_and_a_purge_take_bounded_bytes_and_make_progress() {
    use QuarantineOutcome::{Busy, Moved};
    let place = Place::new().await;
    let events: Vec<_> = (0..3)
        .map(|_| Event::new("large", vec![b'x'; 30 << 20]))
        .collect();
    place.append(&events);
    let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
    let entries: Vec<_> = ids.iter().copied().map(entry).collect();
    let moved = place.store.quarantine_events(&entries).await.unwrap();
    assert_eq!(moved, [Moved, Moved, Busy]);
    let moved = place.store.quarantine_events(&entries[2..]).await.unwrap();
    assert_eq!(moved, [Moved]);
    let all = DeadLetterFilter::all();
    let listed = place.store.list(&all, None, 10).await.unwrap();
    assert!(
        listed
            .iter()
            .all(|dead_letter| dead_letter.payload_size == 30 << 20)
    );
    assert_eq!(place.store.replay(&all, 10).await.unwrap(), ids[..2]);
    assert_eq!(place.store.purge(&all, 10).await.unwrap(), ids[2..]);
    for id in &ids[..2] {
        let claim = place.claim(100).await;
        assert_eq!(
            crate::ids(&claim),
            [*id],
            "an event larger than the budget is alone"
        );
        let reason = "x".into();
        place.settle_all(&claim, &Outcome::Dead { reason }).await;
    }
    assert_eq!(place.store.purge(&all, 10).await.unwrap(), ids[..2]);
    assert_eq!(place.store.purge(&all, 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_key_with_many_events_leaves_room_for_others_in_each_claim() {
    let place = Place::new().await;
    place.execute(
        "INSERT INTO outbox_events (event_type, payload, ordering_key)
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
         SELECT 't', i, 'deep' FROM (SELECT CAST(i AS TEXT) AS i FROM n)",
    );
    let others: Vec<_> = (0..6).map(|n| keyed(&format!("other {n}"))).collect();
    place.append(&others);
    let (mut seen, mut last) = (0, 0);
    for claims in 1.. {
        let claim = place.claim(100).await;
        assert_eq!(claim.events.len(), 100, "the claim is full");
        for claimed in &claim.events {
            let is_deep = claimed.event.ordering_key.as_deref() == Some("deep");
            if !is_deep {
                seen += 1;
                continue;
            }
            let number = std::str::from_utf8(&claimed.event.payload).unwrap();
            assert_eq!(number, (last + 1).to_string(), "the order of the key");
            last += 1;
        }
        place.settle_all(&claim, &Outcome::Published).await;
        if seen == 6 {
            assert_eq!(claims, 1, "claims");
            break;
        }
    }
}

#[tokio::test]
async fn many_waiting_events_hide_no_event_behind_them_and_are_read_once() {
    let place = Place::new().await;
    let due = place.clock.clock().now() + Duration::from_secs(60);
    place.append(&[keyed("deep").available_at(due)]);
    place.execute(
        "INSERT INTO outbox_events (event_type, payload, ordering_key)
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
         SELECT 't', 'x', 'deep' FROM n",
    );
    let other = keyed("other");
    place.append(std::slice::from_ref(&other));
    assert_eq!(place.drain().await, [other.id]);
    let limit = ClaimLimit::events(100);
    let claim = place
        .store
        .claim(limit, Duration::from_secs(9))
        .await
        .unwrap();
    assert!(claim.events.is_empty());
    place.clock.advance(Duration::from_secs(60));
    assert_eq!(place.claim(100).await.events.len(), 100);
}

#[tokio::test]
async fn an_empty_event_leaves_no_room_for_an_oversized_one() {
    let place = Place::new().await;
    let sizes = [0, 0, 2000, 0];
    place.append(&sizes.map(|size| Event::new("t", vec![b'x'; size])));
    for expected in [2, 1, 1] {
        let limit = ClaimLimit::events(10).bytes(1000);
        let claim = place.store.claim(limit, Duration::from_secs(9)).await;
        let claim = claim.unwrap();
        assert_eq!(claim.events.len(), expected);
        place.settle_all(&claim, &Outcome::Published).await;
    }
}
