//! The guarantees for a worker and an operator.

use crate::{LEASE, Place, all, entry, ids, keyed, retry, truncated};
use outbox_core::{
    ClaimToken, DeadLetterFilter, DeadLetters, ErrorKind, Event, EventId, OutboxStorage, Outcome,
    QuarantineOutcome, Settlement,
};
use std::time::Duration;

#[tokio::test]
async fn an_unreadable_row_is_quarantined_and_blocks_no_other() {
    let place = Place::new().await;
    place.execute(
        "INSERT INTO outbox_events (event_type, payload, ordering_key) VALUES ('a', '1', 'k');
         INSERT INTO outbox_events (event_type, payload, ordering_key)
         VALUES (CAST(x'6bff' AS TEXT), '2', 'k');
         INSERT INTO outbox_events (event_type, payload, headers)
         VALUES ('h', '3', '{\"x\":\"\\ud800\"}');
         INSERT INTO outbox_events (event_type, payload, ordering_key) VALUES ('b', '4', 'k');",
    );
    let claim = place.claim(10).await;
    let types: Vec<_> = claim
        .events
        .iter()
        .map(|c| &c.event.event_type[..])
        .collect();
    assert_eq!(types, ["a", "b"]);
    place.settle_all(&claim, &Outcome::Published).await;
    let dead_letters = place
        .store
        .list(&DeadLetterFilter::all(), None, 10)
        .await
        .unwrap();
    assert_eq!(dead_letters.len(), 2);
    assert_eq!(dead_letters[0].event_type, "k\u{fffd}");
    let found = place.store.find(dead_letters[0].id).await.unwrap();
    assert_eq!(&found.unwrap().1.payload[..], b"2");
    assert_eq!(dead_letters[1].event_type, "h");
    let reason = dead_letters[1].last_error.as_ref().unwrap();
    assert!(reason.contains("cannot be read"), "{reason}");
    let groups = place
        .store
        .statistics(&DeadLetterFilter::all(), 10)
        .await
        .unwrap();
    assert_eq!(groups.len(), 2);
}

#[tokio::test]
async fn an_unreadable_first_event_of_a_waiting_key_is_skipped() {
    let place = Place::new().await;
    let (first, second) = (keyed("k"), keyed("k"));
    place.append(&[first, second.clone()]);
    let claim = place.claim(1).await;
    place
        .settle_all(&claim, &retry(Duration::from_secs(1)))
        .await;
    place.execute("UPDATE outbox_events SET headers = '{\"x\":\"\\ud800\"}' WHERE seq = 1");
    assert!(place.claim(10).await.events.is_empty());
    place.clock.advance(Duration::from_secs(1));
    let claim = place.claim(10).await;
    assert_eq!(ids(&claim), [second.id]);
    assert_eq!(claim.events[0].attempts, 0);
}

#[tokio::test]
async fn an_unreadable_row_blocks_its_key_until_it_is_purged() {
    let unreadable = "UPDATE outbox_events SET headers = '{\"x\":\"\\ud800\"}' WHERE seq =";
    let place = Place::new().await.block_key_on_dead_letter();
    let events: Vec<_> = ["fresh", "waiting"]
        .into_iter()
        .flat_map(|key| (0..3).map(move |_| keyed(key)))
        .collect();
    place.append(&events[3..]);
    let claim = place.claim(1).await;
    place.settle_all(&claim, &retry(Duration::ZERO)).await;
    place.append(&events[..3]);
    // The second event of each key: a claim has read one, the other is beyond the cursor.
    place.execute(&format!("{unreadable} 2; {unreadable} 5;"));
    let mut claimed = ids(&place.claim(10).await);
    claimed.sort_unstable();
    let mut firsts = vec![events[0].id, events[3].id];
    firsts.sort_unstable();
    assert_eq!(claimed, firsts);
    place.clock.advance(LEASE);
    for _ in 0..2 {
        let alone = place.claim(10).await;
        place.settle_all(&alone, &Outcome::Published).await;
    }
    assert!(
        place.claim(10).await.events.is_empty(),
        "a blocked key continues"
    );
    let purged = place.store.purge(&DeadLetterFilter::all(), 10).await;
    assert_eq!(purged.unwrap().len(), 2);
    let mut rest = ids(&place.claim(10).await);
    rest.sort_unstable();
    let mut lasts = vec![events[2].id, events[5].id];
    lasts.sort_unstable();
    assert_eq!(rest, lasts);
}

#[tokio::test]
async fn many_blocked_keys_hide_no_event_behind_them() {
    let place = Place::new().await;
    let run: Vec<_> = (0..2_500).map(|_| keyed("held")).collect();
    let other = keyed("other");
    place.append(&run);
    place.append(std::slice::from_ref(&other));
    let held = place.claim(1).await;
    assert_eq!(ids(&place.claim(10).await), [other.id]);
    place.settle_all(&held, &Outcome::Published).await;
    let rest = place.claim(5_000).await;
    assert_eq!(rest.events.len(), 2_499);
    assert!(
        rest.events
            .iter()
            .zip(&run[1..])
            .all(|(claimed, event)| claimed.event.id == event.id)
    );
}

#[tokio::test]
async fn a_lost_claim_is_taken_over_one_event_at_a_time() {
    let place = Place::new().await;
    let events = [keyed("a"), keyed("a"), keyed("b")];
    place.append(&events);
    let lost = place.claim(10).await;
    place.clock.advance(LEASE);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let claim = place.claim(10).await;
        assert_eq!(claim.events.len(), 1);
        assert!(!claim.events[0].worker_lost);
        seen.extend(ids(&claim));
        place.settle_all(&claim, &Outcome::Published).await;
    }
    let a: Vec<_> = seen.iter().filter(|id| **id != events[2].id).collect();
    assert_eq!(a, [&events[0].id, &events[1].id]);
    let settlements = all(&lost, &Outcome::Published);
    let error = place
        .store
        .settle(lost.token, &settlements)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    assert_eq!(place.store.backlog().await.unwrap().pending, 0);
    assert_eq!(place.number("SELECT count(*) FROM outbox_keys"), 0);
}

#[tokio::test]
async fn an_event_alone_in_a_lost_claim_is_marked_until_an_attempt_is_counted() {
    let place = Place::new().await;
    place.append(&[keyed("a"), keyed("a")]);
    place.claim(1).await;
    place.clock.advance(LEASE);
    let claim = place.claim(10).await;
    assert_eq!(claim.events.len(), 1);
    assert!(claim.events[0].worker_lost);
    place.settle_all(&claim, &retry(Duration::ZERO)).await;
    let claim = place.claim(10).await;
    assert_eq!(
        (claim.events[0].attempts, claim.events[0].worker_lost),
        (1, false)
    );
    place.settle_all(&claim, &Outcome::Published).await;
    let claim = place.claim(10).await;
    assert_eq!(
        (claim.events[0].attempts, claim.events[0].worker_lost),
        (0, false)
    );
}

#[tokio::test]
async fn a_settlement_must_name_exactly_the_events_of_the_claim() {
    let place = Place::new().await;
    place.append(&[keyed("a"), keyed("b"), keyed("c")]);
    let claim = place.claim(2).await;
    let good = all(&claim, &Outcome::Published);
    let foreign = Settlement::new(EventId::new(), Outcome::Published);
    for bad in [
        vec![],
        good[..1].to_vec(),
        vec![good[0].clone(), good[0].clone()],
        vec![good[0].clone(), good[1].clone(), good[1].clone()],
        vec![good[0].clone(), foreign.clone()],
    ] {
        let error = place.store.settle(claim.token, &bad).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    place.store.settle(claim.token, &good).await.unwrap();
    let again = place.store.settle(claim.token, &good).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::LeaseLost);
    let unknown = place
        .store
        .settle(ClaimToken::new(), &good)
        .await
        .unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::LeaseLost);
    assert_eq!(place.claim(10).await.events.len(), 1);
}

#[tokio::test]
async fn a_quarantine_answers_for_each_entry_and_the_next_event_is_due() {
    use QuarantineOutcome::{Busy, Missing, Moved};
    let place = Place::new().await;
    let (poison, next, busy) = (keyed("a"), keyed("a"), keyed("b"));
    place.append(&[poison.clone(), next.clone()]);
    let claim = place.claim(1).await;
    place
        .settle_all(&claim, &retry(Duration::from_secs(60)))
        .await;
    place.append(std::slice::from_ref(&busy));
    assert_eq!(ids(&place.claim(1).await), [busy.id]);
    let entries = [
        entry(poison.id),
        entry(busy.id),
        entry(EventId::new()),
        entry(poison.id),
    ];
    let outcomes = place.store.quarantine_events(&entries).await.unwrap();
    assert_eq!(outcomes, [Moved, Busy, Missing, Missing]);
    let claim = place.claim(10).await;
    assert_eq!(ids(&claim), [next.id]);
    assert_eq!(claim.events[0].attempts, 0);
    let (dead_letter, event) = place.store.find(poison.id).await.unwrap().unwrap();
    assert_eq!((dead_letter.failure_count, event), (7, truncated(poison)));
}

#[tokio::test]
async fn a_replay_ignores_older_heap_entries_and_names_what_it_cannot_move() {
    let place = Place::new().await;
    let event = keyed("a").idempotency_token("once");
    place.append(std::slice::from_ref(&event));
    place
        .store
        .quarantine_events(&[entry(event.id)])
        .await
        .unwrap();
    let all = DeadLetterFilter::all().ids([event.id, EventId::new()]);
    assert_eq!(place.store.replay(&all, 10).await.unwrap(), [event.id]);
    let stale = place
        .store
        .quarantine_events(&[entry(event.id)])
        .await
        .unwrap();
    assert_eq!(stale, [QuarantineOutcome::Missing]);
    let claim = place.claim(10).await;
    assert_eq!(claim.events[0].attempts, 0);
    place
        .settle_all(&claim, &retry(Duration::from_secs(9)))
        .await;
    let fresh = place
        .store
        .quarantine_events(&[entry(event.id)])
        .await
        .unwrap();
    assert_eq!(fresh, [QuarantineOutcome::Moved]);
    assert_eq!(
        place.store.find(event.id).await.unwrap().unwrap().0.replays,
        1
    );

    place.append(&[keyed("a").id(event.id)]);
    let error = place.store.replay(&all, 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains(&event.id.to_string()), "{error}");
    assert_eq!(place.store.purge(&all, 10).await.unwrap(), [event.id]);
}

#[tokio::test]
async fn a_delayed_event_and_the_later_ones_of_its_key_wait() {
    let place = Place::new().await;
    let due = place.clock.clock().now() + Duration::from_secs(60);
    let (delayed, next) = (keyed("a").available_at(due), keyed("a"));
    place.append(&[
        delayed.clone(),
        next.clone(),
        Event::new("t", "x").available_at(due),
    ]);
    assert!(place.claim(10).await.events.is_empty());
    assert_eq!(place.store.backlog().await.unwrap().waiting, 2);
    place.clock.advance(Duration::from_secs(60));
    let claim = place.claim(10).await;
    assert_eq!(claim.events.len(), 3);
    assert_eq!(ids(&claim)[..2], [delayed.id, next.id]);
}

#[tokio::test]
async fn waiting_ends_when_another_connection_commits() {
    let place = Place::new().await;
    let store = place.store.clone();
    let waiter = tokio::spawn(async move {
        let start = std::time::Instant::now();
        store.wait_for_work(Duration::from_secs(300)).await.unwrap();
        start.elapsed()
    });
    place.append(&[keyed("a")]);
    assert!(waiter.await.unwrap() < Duration::from_secs(60));
    let claim = place.claim(10).await;
    assert_eq!(claim.events.len(), 1);
    // Without work it returns at its timeout.
    place
        .store
        .wait_for_work(Duration::from_millis(1))
        .await
        .unwrap();
}
