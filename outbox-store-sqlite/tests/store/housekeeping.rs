//! The housekeeping repairs rows that no claim would find.

use crate::{LEASE, Place, ids, keyed, retry};
use outbox_core::{ClaimLimit, Event, OutboxStorage, Outcome};
use std::time::Duration;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[tokio::test]
async fn leases_and_delays_of_a_fast_clock_are_shortened() {
    let place = Place::new().await;
    let now = place.clock.clock().now();
    let ahead = place.store.clone();
    let ahead = ahead.with_clock(outbox_core::Clock::new(move || now + YEAR));
    let (leased, retried, released) = (keyed("a"), keyed("b"), Event::new("t", "x"));
    let claim = async || ahead.claim(ClaimLimit::events(1), LEASE).await.unwrap();
    for (event, outcome) in [
        (&leased, None),
        (&retried, Some(retry(Duration::from_secs(100)))),
        (&released, Some(Outcome::Released { delay: LEASE })),
    ] {
        place.append(std::slice::from_ref(event));
        let claim = claim().await;
        assert_eq!(ids(&claim), [event.id]);
        if let Some(outcome) = outcome {
            let settlements = crate::all(&claim, &outcome);
            ahead.settle(claim.token, &settlements).await.unwrap();
        }
    }
    place.clock.advance(LEASE);
    assert_eq!(ids(&place.claim(10).await), []);
    place.store.clean_up(100).await.unwrap();
    assert_eq!(ids(&place.claim(10).await), []);
    place.clock.advance(LEASE);
    let mut back = place.drain().await;
    back.sort_unstable();
    let mut expected = vec![leased.id, released.id];
    expected.sort_unstable();
    assert_eq!(back, expected);
    place.clock.advance(Duration::from_secs(70));
    assert_eq!(place.drain().await, [retried.id]);
}

#[tokio::test]
async fn leases_and_waits_lengthened_by_hand_are_shortened() {
    let place = Place::new().await;
    let (leased, waits) = (keyed("a"), keyed("b"));
    place.append(std::slice::from_ref(&waits));
    let claim = place.claim(1).await;
    place.settle_all(&claim, &retry(LEASE)).await;
    place.append(std::slice::from_ref(&leased));
    assert_eq!(ids(&place.claim(1).await), [leased.id]);
    place.execute(
        "UPDATE outbox_claims SET leased_until = leased_until + 31536000000000;
         UPDATE outbox_keys SET due_at = 9223372036854775807 WHERE token IS NULL",
    );
    place.store.clean_up(100).await.unwrap();
    place.clock.advance(LEASE);
    assert_eq!(place.drain().await.len(), 2);
}

#[tokio::test]
async fn valid_leases_and_waits_are_not_changed() {
    let place = Place::new().await;
    let due = place.clock.clock().now() + YEAR * 10;
    let (retried, delayed, long) = (keyed("a"), keyed("b").available_at(due), keyed("c"));
    place.append(&[retried.clone(), delayed.clone()]);
    let claim = place.claim(10).await;
    place.settle_all(&claim, &retry(YEAR)).await;
    place.append(std::slice::from_ref(&long));
    let limit = ClaimLimit::events(10);
    let claim = place.store.claim(limit, Duration::MAX).await.unwrap();
    assert_eq!(ids(&claim), [long.id]);
    for _ in 0..3 {
        place.store.clean_up(100).await.unwrap();
        assert_eq!(ids(&place.claim(10).await), []);
    }
    place.clock.advance(YEAR);
    assert_eq!(place.drain().await, [retried.id]);
    place.clock.advance(YEAR * 9);
    assert_eq!(place.drain().await, [delayed.id]);
    place.settle_all(&claim, &Outcome::Published).await;
}

#[tokio::test]
async fn events_whose_key_has_no_row_are_found() {
    for damage in [
        "DELETE FROM outbox_keys WHERE key = 'a'",
        "DELETE FROM outbox_keys WHERE typeof(key) = 'blob'",
        "UPDATE outbox_keys SET key = 'other' WHERE key = 'a'",
        "UPDATE outbox_cursor SET position = 1000",
        "UPDATE outbox_cursor SET position = -7",
        "UPDATE outbox_cursor SET turn = 9223372036854775807",
        "UPDATE outbox_keys SET held = 1",
        "UPDATE outbox_keys SET token = zeroblob(16)",
        "UPDATE outbox_keys SET last_seq = -1, attempts = 4294967295",
    ] {
        let place = Place::new().await;
        place.append(&[keyed("a"), keyed("a"), Event::new("t", "x"), keyed("b")]);
        let claim = place.claim(3).await;
        place
            .settle_all(&claim, &retry(Duration::from_secs(600)))
            .await;
        place.append(&[keyed("a"), keyed("c")]);
        place.execute(damage);
        for _ in 0..2 {
            place.store.clean_up(100).await.unwrap();
        }
        place.clock.advance(Duration::from_secs(600));
        assert_eq!(place.drain().await.len(), 6, "{damage}");
        assert_eq!(
            place.number("SELECT count(*) FROM outbox_keys WHERE token IS NOT NULL"),
            0
        );
    }
}

#[tokio::test]
async fn a_blocked_key_whose_row_was_deleted_is_blocked_again() {
    let place = Place::new().await.block_key_on_dead_letter();
    place.append(&[keyed("a")]);
    let claim = place.claim(1).await;
    let reason = "x".into();
    place.settle_all(&claim, &Outcome::Dead { reason }).await;
    place.execute("DELETE FROM outbox_keys");
    place.store.clean_up(100).await.unwrap();
    place.append(&[keyed("a")]);
    assert_eq!(ids(&place.claim(10).await), []);
    assert_eq!(place.replay_all().await, 1);
    assert_eq!(place.drain().await.len(), 2);
}
