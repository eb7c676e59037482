//! Rows that are changed by hand, and tables that are emptied.

use crate::{LEASE, Place, all, ids, keyed, retry};
use outbox_core::{
    Claim, DeadLetterFilter, DeadLetters, ErrorKind, Event, EventId, OutboxStorage, Outcome,
};
use outbox_store_sqlite::SqliteStore;
use std::time::Duration;

const TABLES: &[&str] = &[
    "outbox_events",
    "outbox_tokens",
    "outbox_cursor",
    "outbox_keys",
    "outbox_claims",
    "outbox_dead_letters",
];

/// Two events of a key and two others, claimed by one worker.
async fn claimed(place: &Place) -> (Vec<Event>, Claim) {
    let events = vec![keyed("a"), keyed("b"), keyed("b"), Event::new("t", "x")];
    place.append(&events);
    let claim = place.claim(10).await;
    assert_eq!(claim.events.len(), 4);
    (events, claim)
}

fn sorted(mut ids: Vec<EventId>) -> Vec<EventId> {
    ids.sort_unstable();
    ids
}

/// Events of all keys are delivered, and no key is left.
async fn assert_works(place: &Place) {
    let more = [keyed("a"), keyed("b"), keyed("c"), Event::new("t", "x")];
    place.append(&more);
    let drained = place.drain().await;
    let more = more.map(|event| event.id);
    assert_eq!(sorted(drained), sorted(more.to_vec()));
    assert_eq!(place.store.backlog().await.unwrap().pending, 0);
    assert_eq!(place.number("SELECT count(*) FROM outbox_keys"), 0);
    assert_eq!(place.number("SELECT count(*) FROM outbox_claims"), 0);
}

#[tokio::test]
async fn only_a_row_replaced_while_claimed_is_delivered_again() {
    for outcome in [Outcome::Published, retry(Duration::from_secs(9))] {
        for replaced in 0..4 {
            let place = Place::new().await;
            let (events, claim) = claimed(&place).await;
            place.execute(&format!(
                "INSERT OR REPLACE INTO outbox_events (id, event_type, payload, ordering_key)
                 SELECT id, 'replaced', 'y', ordering_key FROM outbox_events WHERE seq = {}",
                replaced + 1
            ));
            place.settle_all(&claim, &outcome).await;
            place.clock.advance(Duration::from_secs(9));
            let again = match outcome {
                Outcome::Published => vec![events[replaced].id],
                _ => ids(&claim),
            };
            assert_eq!(sorted(place.drain().await), sorted(again));
            assert_works(&place).await;
        }
    }
}

#[tokio::test]
async fn changing_columns_of_claimed_events_affects_no_other_event() {
    let changes = [
        ("ordering_key = 'b' WHERE seq = 1", 0),
        ("ordering_key = 'c' WHERE seq <= 3", 0),
        ("ordering_key = NULL", 0),
        ("ordering_key = 'a'", 0),
        ("ordering_key = CASE seq WHEN 1 THEN 'b' ELSE 'a' END", 0),
        ("id = randomblob(16) WHERE seq IN (2, 4)", 2),
        ("payload = 'y', headers = '{\"a\":1}', event_type = 'u'", 0),
        ("available_at = 253402300799999999", 0),
        ("replays = 7, created_at = 315532800000000", 0),
        ("idempotency_token = 'same'", 0),
    ];
    for (change, again) in changes {
        for outcome in [Outcome::Published, retry(Duration::ZERO)] {
            let place = Place::new().await;
            let (_, claim) = claimed(&place).await;
            place.execute(&format!("UPDATE outbox_events SET {change}"));
            assert_eq!(ids(&place.claim(10).await), [], "claimed twice: {change}");
            place.settle_all(&claim, &outcome).await;
            if change.starts_with("available_at") {
                place.execute("UPDATE outbox_events SET available_at = NULL");
            }
            let expected = match outcome {
                Outcome::Published => again,
                _ => 4,
            };
            assert_eq!(place.drain().await.len(), expected, "{change}");
            assert_works(&place).await;
        }
    }
}

#[tokio::test]
async fn an_event_that_gets_the_key_of_another_claim_is_in_one_claim_only() {
    let place = Place::new().await;
    let (a, b, b2) = (keyed("a"), keyed("b"), keyed("b"));
    place.append(std::slice::from_ref(&a));
    let first = place.claim(1).await;
    place.append(&[b.clone(), b2.clone()]);
    let second = place.claim(1).await;
    assert_eq!(ids(&second), [b.id]);
    place.execute("UPDATE outbox_events SET ordering_key = 'b' WHERE ordering_key = 'a'");
    place.settle_all(&second, &Outcome::Published).await;
    assert_eq!(
        ids(&place.claim(10).await),
        [],
        "it is in flight, and b2 is behind it"
    );
    place
        .settle_all(&first, &retry(Duration::from_secs(5)))
        .await;
    assert_eq!(ids(&place.claim(10).await), [], "it waits for its retry");
    place.clock.advance(Duration::from_secs(5));
    let third = place.claim(10).await;
    assert_eq!(ids(&third), [a.id, b2.id]);
    assert_eq!(third.events[0].attempts, 1);
    place.settle_all(&third, &Outcome::Published).await;
    assert_works(&place).await;
}

#[tokio::test]
async fn a_lost_claim_whose_rows_were_changed_is_taken_over() {
    for change in [
        "UPDATE outbox_events SET ordering_key = 'new ' || seq",
        "UPDATE outbox_events SET ordering_key = NULL",
        "DELETE FROM outbox_keys",
        "UPDATE outbox_keys SET token = randomblob(16)",
    ] {
        let place = Place::new().await;
        let (events, claim) = claimed(&place).await;
        place.execute(change);
        place.clock.advance(LEASE);
        let drained = place.drain().await;
        let all_of_them: Vec<_> = events.iter().map(|event| event.id).collect();
        assert_eq!(sorted(drained), sorted(all_of_them), "{change}");
        let late = all(&claim, &Outcome::Published);
        let error = place.store.settle(claim.token, &late).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error}");
        assert_works(&place).await;
    }
}

#[tokio::test]
async fn emptying_a_table_while_events_are_claimed_stops_nothing() {
    for table in TABLES {
        for outcome in [Outcome::Published, retry(Duration::from_secs(9))] {
            let place = Place::new().await;
            let (events, claim) = claimed(&place).await;
            place.execute(&format!("DELETE FROM {table}"));
            let is_lost = *table == "outbox_claims";
            let settlements = all(&claim, &outcome);
            let settled = place.store.settle(claim.token, &settlements).await;
            let error = settled.err().map(|error| error.kind());
            assert_eq!(error, is_lost.then_some(ErrorKind::LeaseLost), "{table}");
            place.clock.advance(Duration::from_secs(9));
            let published = !is_lost && matches!(outcome, Outcome::Published);
            let gone = *table == "outbox_events" || published;
            let left = if gone { 0 } else { events.len() };
            assert_eq!(place.drain().await.len(), left, "{table}: {outcome:?}");
            assert_works(&place).await;
        }
    }
}

#[tokio::test]
async fn emptying_a_table_while_keys_wait_loses_no_other_data() {
    for table in TABLES {
        let place = Place::new().await;
        let (events, claim) = claimed(&place).await;
        let wait = retry(Duration::from_secs(3600));
        place.settle_all(&claim, &wait).await;
        place.execute(&format!("DELETE FROM {table}"));
        place.store.clean_up(100).await.unwrap();
        place.clock.advance(Duration::from_secs(3600));
        let left = if *table == "outbox_events" {
            0
        } else {
            events.len()
        };
        assert_eq!(place.drain().await.len(), left, "{table}");
        assert_works(&place).await;
    }
}

#[tokio::test]
async fn emptied_tables_work_and_are_recognised_by_a_migration() {
    for with_schema in [false, true] {
        let place = Place::new().await;
        let (_, claim) = claimed(&place).await;
        place.append(&[keyed("a").idempotency_token("once")]);
        let mut empty = String::new();
        for table in TABLES {
            empty.extend(["DELETE FROM ", table, ";"]);
        }
        empty.push_str("DELETE FROM sqlite_sequence;");
        if with_schema {
            empty.push_str("DELETE FROM outbox_migrations;");
        }
        place.execute(&empty);
        assert_eq!(place.store.backlog().await.unwrap().pending, 0);
        let late = all(&claim, &Outcome::Published);
        let error = place.store.settle(claim.token, &late).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LeaseLost);
        let event = keyed("a").idempotency_token("once");
        place.append(std::slice::from_ref(&event));
        assert_eq!(place.store.backlog().await.unwrap().pending, 1);
        assert_eq!(place.drain().await, [event.id]);
        assert_works(&place).await;

        place.execute(&empty);
        SqliteStore::migrate(&place.path).await.unwrap();
        assert_eq!(place.number("SELECT count(*) FROM outbox_cursor"), 1);
        let opened = SqliteStore::open(&place.path).await.unwrap();
        assert_eq!(opened.backlog().await.unwrap().pending, 0);
        assert_works(&place).await;
    }
}

#[tokio::test]
async fn events_with_numbers_behind_the_cursor_are_found() {
    let place = Place::new().await;
    place.append(&[keyed("a"), keyed("a"), keyed("b")]);
    let claim = place.claim(1).await;
    place.execute("DELETE FROM outbox_events WHERE seq > 1; DELETE FROM sqlite_sequence");
    let again = [keyed("b"), keyed("c")];
    place.append(&again);
    let second = place.claim(10).await;
    assert_eq!(ids(&second), again.each_ref().map(|event| event.id));
    place.settle_all(&second, &Outcome::Published).await;
    place.settle_all(&claim, &Outcome::Published).await;
    assert_works(&place).await;
}

#[tokio::test]
async fn a_settlement_ignores_an_event_that_replaced_a_claimed_one() {
    let place = Place::new().await;
    let (_, claim) = claimed(&place).await;
    place.execute("DELETE FROM outbox_events; DELETE FROM sqlite_sequence");
    let other = keyed("a");
    place.append(std::slice::from_ref(&other));
    place.settle_all(&claim, &Outcome::Published).await;
    assert_eq!(place.drain().await, [other.id]);
    assert_works(&place).await;
}

#[tokio::test]
async fn a_migration_creates_dropped_tables_and_triggers_again() {
    for drop in [
        "DROP TABLE outbox_cursor",
        "DROP TABLE outbox_claims",
        "DROP TRIGGER outbox_events_token",
        "DROP INDEX outbox_keys_due",
        "DROP TABLE outbox_tokens; DROP TABLE outbox_dead_letters",
    ] {
        let place = Place::new().await;
        let count = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'outbox%'";
        let before = place.number(count);
        place.execute(drop);
        SqliteStore::migrate(&place.path).await.unwrap();
        assert_eq!(place.number(count), before, "{drop}");
        assert_works(&place).await;
    }
}

#[tokio::test]
async fn a_delayed_event_follows_a_change_of_its_time() {
    let place = Place::new().await;
    let due = place.clock.clock().now() + Duration::from_secs(1_000_000);
    let event = keyed("a").available_at(due);
    place.append(&[event.clone(), keyed("a")]);
    assert_eq!(ids(&place.claim(10).await), []);
    place.execute("UPDATE outbox_events SET available_at = NULL WHERE available_at > 0");
    let claim = place.claim(10).await;
    assert_eq!(ids(&claim)[0], event.id);
    place.settle_all(&claim, &Outcome::Published).await;
    assert_works(&place).await;
}

#[tokio::test]
async fn a_key_is_unblocked_when_its_dead_letter_is_deleted_or_changed() {
    for change in [
        "DELETE FROM outbox_dead_letters",
        "UPDATE outbox_dead_letters SET holds = 0",
        "UPDATE outbox_dead_letters SET ordering_key = 'other'",
    ] {
        let place = Place::new().await.block_key_on_dead_letter();
        let (dead, next) = (keyed("a"), keyed("a"));
        place.append(&[dead, next.clone()]);
        let claim = place.claim(1).await;
        let reason = "x".into();
        place.settle_all(&claim, &Outcome::Dead { reason }).await;
        assert_eq!(ids(&place.claim(10).await), []);
        place.execute(change);
        assert_eq!(place.drain().await, [next.id], "{change}");
        place
            .store
            .purge(&DeadLetterFilter::all(), 9)
            .await
            .unwrap();
        assert_works(&place).await;
    }
}

#[tokio::test]
async fn a_dead_letter_that_cannot_be_replayed_affects_no_other() {
    let place = Place::new().await;
    let (_, claim) = claimed(&place).await;
    let reason: outbox_core::ErrorText = "x".into();
    place.settle_all(&claim, &Outcome::Dead { reason }).await;
    place.execute(
        "UPDATE outbox_dead_letters SET event_type = '', last_error = CAST(x'ff' AS TEXT)
         WHERE position = 1",
    );
    let dead_letters = &place.store;
    let everything = DeadLetterFilter::all();
    assert_eq!(
        dead_letters.list(&everything, None, 9).await.unwrap().len(),
        4
    );
    assert_eq!(
        dead_letters.statistics(&everything, 9).await.unwrap().len(),
        2
    );
    assert_eq!(dead_letters.replay(&everything, 1).await.unwrap().len(), 1);
    assert_eq!(dead_letters.replay(&everything, 9).await.unwrap().len(), 2);
    let error = dead_letters.replay(&everything, 9).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(place.drain().await.len(), 3);
}
