//! `outbox dlq` on PostgreSQL.

use super::Shop;
use crate::support::{events, ids, json, lines};
use outbox_core::{Event, EventId};
use std::fs;

/// Three pages of letters.
const MANY: usize = 250;

#[test]
fn letters_are_listed_shown_counted_and_exported_whole() {
    let shop = Shop::odd();
    let mut many = events("order.placed", MANY);
    many.push(
        Event::new(
            "order.exact",
            "{ \"b\": 1.10, \"a\": 12345678901234567890123 }",
        )
        .content_type("application/json")
        .header("x", "é")
        .idempotency_token("token-1"),
    );
    many.push(Event::new("order.bytes", vec![0, 159, 255]).ordering_key("leonie"));
    let all = shop.quarantined(&many, "too large");
    shop.quarantined(&events("order.paid", 1), "no route");

    let list = shop.done(&["dlq", "list", "--json", "--limit", "1000"]);
    let letters = lines(&list);
    assert_eq!(letters.len(), all.len() + 1);
    for (letter, id) in letters.iter().zip(&all) {
        assert_eq!(letter["event"]["id"], id.to_string());
    }
    assert!(list.contains("\"payload\":{ \"b\": 1.10, \"a\": 12345678901234567890123 }"));
    assert_eq!(letters[MANY]["idempotency_token"], "token-1");
    assert_eq!(letters[MANY]["event"]["headers"]["x"], "é");
    assert_eq!(letters[MANY + 1]["event"]["payload_base64"], "AJ//");
    assert_eq!(letters[MANY + 1]["event"]["key"], "leonie");

    let after = letters[99]["position"].to_string();
    let page = ["dlq", "list", "--json", "--limit", "101", "--after", &after];
    assert_eq!(lines(&shop.done(&page)), letters[100..201]);
    let filtered = shop.done(&["dlq", "list", "--json", "--error", "route"]);
    assert_eq!(lines(&filtered), letters[MANY + 2..]);

    let id = all[MANY].to_string();
    let shown = json(&shop.done(&["dlq", "show", &id, "--json"]));
    assert_eq!(shown, letters[MANY]);
    assert!(shop.done(&["dlq", "show", &id]).contains("too large"));

    let groups = lines(&shop.done(&["dlq", "stats", "--json"]));
    assert_eq!(groups.len(), 4);
    assert_eq!(groups[0]["type"], "order.placed");
    assert_eq!(groups[0]["count"], MANY);

    assert_eq!(shop.done(&["dlq", "export"]), list);
    shop.done(&["dlq", "export", "--to", "file:out.ndjson"]);
    let file = fs::read_to_string(shop.folder().join("out.ndjson")).unwrap();
    assert_eq!(file, list);
}

#[test]
fn letters_are_replayed_and_purged_by_id_and_by_filter() {
    let shop = Shop::odd();
    let placed = shop.quarantined(&events("order.placed", MANY), "refused");
    let noise = shop.quarantined(&events("order.noise", MANY), "refused");

    let id = placed[0].to_string();
    let dry = shop.done(&["dlq", "replay", &id, "--dry-run"]);
    assert_eq!(
        (ids(&dry), shop.status("pending")),
        (vec![placed[0]], 0.into())
    );
    shop.done(&["dlq", "replay", &id]);
    let replayed = shop.done(&["dlq", "replay", "--type", "order.placed"]);
    assert_eq!(ids(&replayed), placed[1..]);
    let published = lines(&shop.done(&["relay", "--drain"]));
    let mut published: Vec<EventId> = published
        .iter()
        .map(|event| event["id"].as_str().unwrap().parse().unwrap())
        .collect();
    let mut expected = placed.clone();
    published.sort_unstable();
    expected.sort_unstable();
    assert_eq!(published, expected);
    shop.refused(&["dlq", "replay", &id], 1, &[&id]);

    shop.refused(&["dlq", "purge", "--all"], 2, &["--yes"]);
    assert_eq!(shop.status("dead_letters"), MANY);
    let purged = shop.done(&["dlq", "purge", "--type", "order.noise", "--yes"]);
    assert_eq!(ids(&purged), noise);
    assert_eq!(shop.status("dead_letters"), 0);
    shop.refused(&["dlq", "show", &noise[0].to_string()], 1, &[]);
}
