//! The guarantees for a producer.

use crate::{Place, ids, keyed, truncated};
use outbox_core::{ErrorKind, Event, OutboxStorage, Outcome};
use outbox_store_sqlite::append;
use outbox_store_sqlite::rusqlite::TransactionBehavior;
use std::time::{Duration, SystemTime};

#[tokio::test]
async fn an_append_that_is_rolled_back_is_never_claimed() {
    let place = Place::new().await;
    let mut connection = place.connect();
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    append(&transaction, &[keyed("a")]).unwrap();
    transaction.rollback().unwrap();
    assert!(place.claim(10).await.events.is_empty());
    place.append(&[keyed("a")]);
    assert_eq!(place.claim(10).await.events.len(), 1);
}

#[tokio::test]
async fn a_plain_insert_is_an_append() {
    let place = Place::new().await;
    place.execute(
        "INSERT INTO outbox_events (event_type, payload) VALUES ('order.placed', '{\"n\":1}');
         INSERT INTO outbox_events (event_type, payload, headers, ordering_key)
         VALUES ('order.paid', x'00ff', '{\"n\":1,\"list\":[1, \"a\"],\"text\":\"é\\\\u0000\"}', '')",
    );
    let claim = place.claim(10).await;
    let [placed, paid] = &claim.events[..] else {
        panic!("{claim:?}")
    };
    assert_eq!(placed.event.event_type, "order.placed");
    assert_eq!(&placed.event.payload[..], b"{\"n\":1}");
    assert_eq!(placed.event.content_type, "application/json");
    assert!(placed.event.headers.is_empty());
    assert_eq!(placed.event.ordering_key, None);
    let age = SystemTime::now().duration_since(placed.event.created_at);
    assert!(age.unwrap_or_default() < Duration::from_secs(60));
    assert_eq!(&paid.event.payload[..], b"\x00\xff");
    assert_eq!(paid.event.ordering_key.as_deref(), Some(""));
    assert_eq!(paid.event.headers["n"], "1");
    assert_eq!(paid.event.headers["list"], "[1, \"a\"]");
    assert_eq!(paid.event.headers["text"], "é\\u0000");
}

#[tokio::test]
async fn a_row_that_violates_a_constraint_is_refused() {
    let place = Place::new().await;
    let connection = place.connect();
    for values in [
        "(event_type, payload) VALUES ('', 'x')",
        "(event_type, payload) VALUES ('t', 1)",
        "(event_type, payload) VALUES ('t', NULL)",
        "(event_type, payload, id) VALUES ('t', 'x', x'00')",
        "(event_type, payload, headers) VALUES ('t', 'x', '[]')",
        "(event_type, payload, headers) VALUES ('t', 'x', 'no')",
        "(event_type, payload, seq) VALUES ('t', 'x', 0)",
    ] {
        let insert = format!("INSERT INTO outbox_events {values}");
        assert!(connection.execute(&insert, []).is_err(), "{values}");
    }
    assert_eq!(place.number("SELECT count(*) FROM outbox_events"), 0);
}

#[tokio::test]
async fn an_append_that_fails_leaves_the_transaction_without_its_events() {
    let place = Place::new().await;
    let mut connection = place.connect();
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    let (first, second) = (keyed("a"), keyed("b"));
    append(&transaction, std::slice::from_ref(&first)).unwrap();
    let error = append(&transaction, &[second.clone(), first.clone()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Duplicate, "{error}");
    let error = append(&transaction, &[second, Event::new("", "x")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    transaction.commit().unwrap();
    assert_eq!(ids(&place.claim(10).await), [first.id]);
}

#[tokio::test]
async fn a_token_stays_taken_after_its_event_was_published_until_it_is_cleaned_up() {
    let place = Place::new().await;
    let event = || keyed("a").idempotency_token("once");
    place.append(&[event()]);
    let claim = place.claim(1).await;
    place.settle_all(&claim, &Outcome::Published).await;
    let mut connection = place.connect();
    let transaction = connection.transaction().unwrap();
    let error = append(&transaction, &[event()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Duplicate, "{error}");
    drop(transaction);

    let today = place.store.clone().with_clock(outbox_core::Clock::system());
    assert_eq!(today.clean_up(10).await.unwrap(), 0);
    let later = || SystemTime::now() + Duration::from_secs(8 * 24 * 60 * 60);
    let next_week = today.with_clock(outbox_core::Clock::new(later));
    assert_eq!(next_week.clean_up(10).await.unwrap(), 1);
    place.append(&[event()]);
}

#[tokio::test]
async fn a_large_payload_and_unusual_headers_come_back_unchanged() {
    let place = Place::new().await;
    let payload: Vec<u8> = (0..16 << 20)
        .map(|n: u32| n.to_le_bytes()[1] ^ n.to_le_bytes()[0])
        .collect();
    let event = Event::new("big", payload)
        .header("", "")
        .header("a\u{1}\"\\ é\n", "\u{1}{}\\u0000")
        .header(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        );
    place.append(std::slice::from_ref(&event));
    let claim = place.claim(1).await;
    assert_eq!(claim.events[0].event, truncated(event));
}
