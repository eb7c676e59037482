//! How dead letters are shown and exported.

use crate::support::{
    SHOP, described, done, events, ids, json, large_events, lines, outbox, quarantined, refused,
    status,
};
use outbox_core::Event;
use serde_json::Value;
use std::fs;
use tempfile::TempDir;

/// Clears the screen and hides what follows; C1 does the same without an ESC.
const EVIL: &str = "evil\x1b[2J\u{9b}8m\r\nforged";

#[test]
fn control_characters_of_a_dead_letter_do_not_reach_the_terminal() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let payload = format!("{{\n  \"text\": \"{EVIL}\"\n}}");
    let event = Event::new(EVIL, payload.clone())
        .content_type(EVIL)
        .ordering_key(EVIL)
        .header(EVIL, EVIL);
    let id = quarantined(folder, &[event], EVIL)[0].to_string();
    for arguments in [&["list"][..], &["show", &id], &["stats"]] {
        let text = done(folder, &[&["dlq"], arguments, &["--store", SHOP]].concat());
        let steers = |character: char| character.is_control() && character != '\n';
        assert!(!text.contains(steers), "{arguments:?}: {text:?}");
        assert!(
            text.contains("evil\\u{1b}[2J\\u{9b}8m\\r\\nforged"),
            "{text}"
        );
        if arguments[0] == "show" {
            // The payload keeps its line breaks, and no other text may start a line.
            assert!(text.contains("{\n  \"text\": \"evil\\u{1b}[2J\\u{9b}8m\\r\nforged\"\n}"));
            assert_eq!(text.matches("\nforged").count(), 1, "{text}");
        } else {
            // The headings and the row.
            assert_eq!(text.lines().count(), 2, "{text}");
        }
    }
    let dead_letter = json(&done(
        folder,
        &["dlq", "show", &id, "--json", "--store", SHOP],
    ));
    assert_eq!(dead_letter["event"]["type"], EVIL);
    assert_eq!(dead_letter["last_error"], EVIL);
    assert_eq!(dead_letter["event"]["headers"][EVIL], EVIL);
}

#[test]
fn stats_group_by_event_type_and_error_with_the_largest_group_first() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    quarantined(folder, &events("order.placed", 2), "too large");
    quarantined(folder, &events("order.placed", 3), "no route");
    quarantined(folder, &events("order.paid", 1), "no route");
    let stats = |more: &[&str]| {
        let arguments = ["dlq", "stats", "--json", "--store", SHOP];
        let groups = lines(&done(folder, &[&arguments, more].concat()));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let group = |group: &Value| {
            assert!(text(&group["oldest"]) <= text(&group["newest"]));
            (
                group["count"].as_u64().unwrap(),
                text(&group["type"]),
                text(&group["last_error"]),
            )
        };
        groups.iter().map(group).collect::<Vec<_>>()
    };
    let group =
        |count, event_type: &str, error: &str| (count, event_type.to_owned(), error.to_owned());
    let all = [
        group(3, "order.placed", "no route"),
        group(2, "order.placed", "too large"),
        group(1, "order.paid", "no route"),
    ];
    assert_eq!(stats(&[]), all);
    assert_eq!(stats(&["--limit", "1"]), all[..1]);
    assert_eq!(stats(&["--error", "large"]), all[1..2]);
    assert_eq!(stats(&["--type", "order.paid"]), all[2..]);
    let text = done(folder, &["dlq", "stats", "--store", SHOP]);
    let rows: Vec<&str> = text.lines().collect();
    assert!(
        rows[0].ends_with("TYPE                  LAST ERROR"),
        "{text}"
    );
    assert!(
        rows[1].ends_with("order.placed          no route"),
        "{text}"
    );
    assert_eq!(rows.len(), 4, "{text}");
    for (limit, expected) in [
        (
            "2",
            "5 dead letters in the largest 2 groups; for more groups pass a larger --limit\n",
        ),
        ("3", "6 dead letters in 3 groups\n"),
    ] {
        let ended = outbox(folder, &["dlq", "stats", "--limit", limit, "--store", SHOP]);
        assert_eq!(String::from_utf8_lossy(&ended.stderr), expected);
    }
    let one = outbox(
        folder,
        &["dlq", "stats", "--type", "order.paid", "--store", SHOP],
    );
    assert_eq!(
        String::from_utf8_lossy(&one.stderr),
        "1 dead letter in 1 group\n"
    );
}

#[test]
fn an_export_has_every_dead_letter_whole_and_once() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let mut many = events("order.placed", 250);
    many.push(
        Event::new(
            "order.exact",
            "{ \"b\": 1.10, \"a\": 123456789012345678901234567890 }",
        )
        .content_type("application/json")
        .idempotency_token("token-1"),
    );
    many.push(Event::new("order.bytes", vec![0, 159, 255]));
    quarantined(folder, &many, "refused");
    let export = ["dlq", "export", "--store", SHOP];
    let text = done(folder, &export);
    let dead_letters = lines(&text);
    let exported: Vec<&str> = dead_letters
        .iter()
        .map(|it| it["event"]["id"].as_str().unwrap())
        .collect();
    let all: Vec<String> = many.iter().map(|event| event.id.to_string()).collect();
    assert_eq!(exported, all);
    assert!(text.contains("\"payload\":{ \"b\": 1.10, \"a\": 123456789012345678901234567890 }"));
    assert_eq!(dead_letters[250]["idempotency_token"], "token-1");
    assert_eq!(dead_letters[251]["event"]["payload_base64"], "AJ//");
    let list = ["dlq", "list", "--json", "--limit", "1000", "--store", SHOP];
    let listed = lines(&done(folder, &list));
    assert_eq!(listed[251]["event"]["payload_size"], 3);
    let described_all =
        |dead_letters: &[Value]| dead_letters.iter().map(described).collect::<Vec<_>>();
    assert_eq!(described_all(&listed), described_all(&dead_letters));
    let page = done(
        folder,
        &[
            "dlq", "list", "--json", "--limit", "101", "--after", "100", "--store", SHOP,
        ],
    );
    assert_eq!(lines(&page), listed[100..201]);

    let to_file = [
        &export[..],
        &["--type", "order.placed", "--to", "file:out.ndjson"],
    ]
    .concat();
    assert_eq!(done(folder, &to_file), "");
    let file = fs::read_to_string(folder.join("out.ndjson")).unwrap();
    assert_eq!(lines(&file), dead_letters[..250]);
    refused(folder, &to_file, 2, &["out.ndjson", "exists"]);
    assert_eq!(fs::read_to_string(folder.join("out.ndjson")).unwrap(), file);
    let nowhere = [&export[..], &["--to", "file:no/folder/x"]].concat();
    refused(folder, &nowhere, 2, &["no/folder/x"]);
    refused(
        folder,
        &[&export[..], &["--to", "nats://x"]].concat(),
        2,
        &["scheme \"nats\"", "file:PATH"],
    );
}

#[test]
fn completions_name_the_commands_and_their_flags() {
    let folder = TempDir::new().unwrap();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = done(folder.path(), &["completions", shell]);
        for word in ["outbox", "replay", "dry-run", "check", "publish-timeout"] {
            assert!(script.contains(word), "{shell} does not complete {word}");
        }
    }
    refused(folder.path(), &["completions", "dos"], 2, &["dos", "bash"]);
}

/// A call of the store replays or purges at most 64 MiB.
#[test]
fn large_dead_letters_are_replayed_and_purged_in_several_calls() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let large = large_events(6, 12 << 20);
    let run = |arguments: &[&str]| done(folder, &[arguments, &["--store", SHOP]].concat());
    let all = quarantined(folder, &large, "refused");
    assert_eq!(ids(&run(&["dlq", "replay", "--all"])), all);
    assert_eq!(status(folder, "pending"), 6);
    quarantined(folder, &[], "refused");
    assert_eq!(ids(&run(&["dlq", "purge", "--all", "--yes"])), all);
}

#[test]
fn large_dead_letters_are_listed_and_exported() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let large = large_events(5, 4 << 20);
    quarantined(folder, &large, "refused");
    let run = |command: &str| done(folder, &["dlq", command, "--store", SHOP]);
    assert_eq!(run("list").lines().count(), 6);
    assert_eq!(run("export").lines().count(), 5);
}
