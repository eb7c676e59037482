//! `outbox dlq` on PostgreSQL.

use super::Shop;
use crate::support::{described, events, ids, json, large_events, lines};
use outbox_core::{Event, EventId};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

/// Three pages of dead letters.
const MANY: usize = 250;

#[test]
fn dead_letters_are_listed_shown_counted_and_exported_whole() {
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
    let dead_letters = lines(&list);
    assert_eq!(dead_letters.len(), all.len() + 1);
    let id_of = |dead_letter: &Value| {
        dead_letter["event"]["id"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    };
    let listed: BTreeSet<EventId> = dead_letters.iter().map(id_of).collect();
    assert!(all.iter().all(|id| listed.contains(id)));

    let export = shop.done(&["dlq", "export"]);
    let whole = lines(&export);
    let described_all =
        |dead_letters: &[Value]| dead_letters.iter().map(described).collect::<Vec<_>>();
    assert_eq!(described_all(&dead_letters), described_all(&whole));
    let find = |id: EventId| {
        whole
            .iter()
            .find(|dead_letter| id_of(dead_letter) == id)
            .unwrap()
    };
    let (exact, bytes) = (find(all[MANY]), find(all[MANY + 1]));
    assert!(export.contains("\"payload\":{ \"b\": 1.10, \"a\": 12345678901234567890123 }"));
    assert_eq!(exact["idempotency_token"], "token-1");
    assert_eq!(exact["event"]["headers"]["x"], "é");
    assert_eq!(bytes["event"]["payload_base64"], "AJ//");
    assert_eq!(bytes["event"]["key"], "leonie");

    let after = dead_letters[99]["position"].to_string();
    let page = ["dlq", "list", "--json", "--limit", "101", "--after", &after];
    assert_eq!(lines(&shop.done(&page)), dead_letters[100..201]);
    let filtered = shop.done(&["dlq", "list", "--json", "--error", "route"]);
    assert_eq!(lines(&filtered), dead_letters[MANY + 2..]);

    let id = all[MANY].to_string();
    let shown = json(&shop.done(&["dlq", "show", &id, "--json"]));
    assert_eq!(&shown, exact);
    assert!(shop.done(&["dlq", "show", &id]).contains("too large"));

    let groups = lines(&shop.done(&["dlq", "stats", "--json"]));
    assert_eq!(groups.len(), 4);
    assert_eq!(groups[0]["type"], "order.placed");
    assert_eq!(groups[0]["count"], MANY);

    shop.done(&["dlq", "export", "--to", "file:out.ndjson"]);
    let file = fs::read_to_string(shop.folder().join("out.ndjson")).unwrap();
    assert_eq!(file, export);
}

/// Events that have no key are quarantined in any order; their ids grow.
fn sorted(mut ids: Vec<EventId>) -> Vec<EventId> {
    ids.sort_unstable();
    ids
}

#[test]
fn dead_letters_are_replayed_and_purged_by_id_and_by_filter() {
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
    assert_eq!(sorted(ids(&replayed)), placed[1..]);
    let published = lines(&shop.done(&["relay", "--drain"]));
    let published = published
        .iter()
        .map(|event| event["id"].as_str().unwrap().parse().unwrap());
    assert_eq!(sorted(published.collect()), placed);
    shop.refused(&["dlq", "replay", &id], 1, &[&id]);

    shop.refused(&["dlq", "purge", "--all"], 2, &["--yes"]);
    assert_eq!(shop.status("dead_letters"), MANY);
    let purged = shop.done(&["dlq", "purge", "--type", "order.noise", "--yes"]);
    assert_eq!(sorted(ids(&purged)), noise);
    assert_eq!(shop.status("dead_letters"), 0);
    shop.refused(&["dlq", "show", &noise[0].to_string()], 1, &[]);
}

/// A call of the store replays at most 64 MiB.
#[test]
fn large_dead_letters_are_replayed_in_several_calls() {
    let shop = Shop::migrated();
    let large = large_events(6, 12 << 20);
    let all = shop.quarantined(&large, "refused");
    let replayed = shop.done(&["dlq", "replay", "--all"]);
    assert_eq!(sorted(ids(&replayed)), all);
    assert_eq!(shop.status("pending"), 6);
}
