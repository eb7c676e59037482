//! `outbox relay` on PostgreSQL.

use super::{ODD, Shop};
use crate::support::{Running, arrived, blocking, events, lines, until};
use outbox_core::{ClaimLimit, Event, EventId, OutboxStorage};
use outbox_store_postgres::sqlx::Row;
use std::collections::HashSet;
use std::time::Duration;

#[test]
fn a_plain_insert_is_published_once_its_transaction_commits() {
    let shop = Shop::odd();
    let table = format!("\"{}\".outbox_events", ODD.replace('"', "\"\""));
    let insert = |key: &str, payload: &str| {
        format!(
            "INSERT INTO {table} (event_type, ordering_key, payload)
             VALUES ('order.placed', '{key}', convert_to('{payload}', 'UTF8'));"
        )
    };
    let committed = [insert("leonie", "{\"id\": 1}"), insert("leonie", "no JSON")].concat();
    shop.execute(&format!("START TRANSACTION; {committed} COMMIT"));
    shop.execute(&format!(
        "START TRANSACTION; {} ROLLBACK",
        insert("leonie", "3")
    ));
    assert_eq!(shop.status("pending"), 2);

    let published = shop.done(&["relay", "--drain"]);
    assert!(published.contains("\"payload\":{\"id\": 1}"), "{published}");
    let published = lines(&published);
    let field = |name: &str| -> Vec<_> { published.iter().map(|event| &event[name]).collect() };
    assert_eq!(field("type"), ["order.placed", "order.placed"]);
    assert_eq!(field("key"), ["leonie", "leonie"]);
    assert_eq!(published[1]["payload_base64"], "bm8gSlNPTg==");
    assert_eq!(shop.status("pending"), 0);
    assert_eq!(shop.done(&["relay", "--drain"]), "");
}

#[test]
fn a_relay_that_sleeps_is_woken_by_a_commit() {
    let shop = Shop::migrated();
    let relay = ["relay", "--to", "file:out.ndjson", "--poll-interval", "1h"];
    let mut relay = Running::start(shop.command(&relay));
    let sleepers = "SELECT FROM outbox.outbox_alarm WHERE last_value > 1";
    until("a sleeper", || !shop.rows(sleepers).is_empty());
    let event = events("order.placed", 1).remove(0);
    shop.appended(std::slice::from_ref(&event));
    let out = shop.folder().join("out.ndjson");
    until("the event", || arrived(&out) == [event.id]);
    relay.stop();
}

#[test]
fn two_relays_at_once_share_the_work() {
    let shop = Shop::migrated();
    let relay = |to: &str| {
        let relay = ["relay", "--batch-size", "5", "--to", to];
        Running::start(shop.command(&relay))
    };
    let (mut one, mut two) = (relay("file:one.ndjson"), relay("file:two.ndjson"));
    let arrived = |name: &str| arrived(&shop.folder().join(name));
    let mut appended = HashSet::new();
    until("events of both", || {
        let events = events("order.placed", 20);
        shop.appended(&events);
        appended.extend(events.iter().map(|event| event.id));
        !arrived("one.ndjson").is_empty() && !arrived("two.ndjson").is_empty()
    });
    until("a drained outbox", || shop.status("pending") == 0);
    one.stop();
    two.stop();
    let published = [arrived("one.ndjson"), arrived("two.ndjson")].concat();
    assert_eq!(published.len(), appended.len());
    assert_eq!(published.into_iter().collect::<HashSet<_>>(), appended);
}

/// Three events of a key, of which the first kills its worker: it was alone in a claim that was
/// never settled.
fn deadly(shop: &Shop) -> Vec<EventId> {
    let event = |name: &str| Event::new(name, "1").ordering_key("leonie");
    let events = [event("first"), event("second"), event("third")];
    shop.appended(&events);
    blocking(async {
        let claim = shop
            .open()
            .await
            .claim(ClaimLimit::events(1), Duration::from_nanos(1))
            .await;
        assert_eq!(claim.unwrap().events[0].event.id, events[0].id);
    });
    events.iter().map(|event| event.id).collect()
}

#[test]
fn successors_wait_for_the_dead_letter_of_their_key_if_it_holds_the_key() {
    for block in [true, false] {
        let shop = Shop::migrated();
        let ids = deadly(&shop);
        let hold = format!("--block-keys={block}");
        // The event is tried again after a random part of a day, so that it is quarantined before.
        let relay = [
            "relay",
            "--to",
            "file:out.ndjson",
            "--failure-threshold",
            "1",
            "--retry-initial",
            "1day",
            "--retry-max",
            "1day",
            &hold,
        ];
        let mut relay = Running::start(shop.command(&relay));
        let out = shop.folder().join("out.ndjson");
        until("a dead letter", || shop.status("dead_letters") == 1);
        let holds = shop.rows("SELECT holds FROM outbox.outbox_dead_letters");
        assert_eq!(holds[0].get::<bool, _>(0), block);
        if !block {
            until("the successors", || arrived(&out) == ids[1..]);
            relay.stop();
            continue;
        }
        // What came later than the successors and is settled shows that they were passed over.
        let other = Event::new("other", "1");
        shop.appended(std::slice::from_ref(&other));
        until("another event", || !arrived(&out).is_empty());
        until("its settlement", || shop.status("pending") == 2);
        assert_eq!(arrived(&out), [other.id]);
        shop.done(&["dlq", "replay", &ids[0].to_string()]);
        until("the key's events", || arrived(&out).len() == 4);
        assert_eq!(arrived(&out)[1..], ids);
        relay.stop();
    }
}
