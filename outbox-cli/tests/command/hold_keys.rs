//! What waits for a dead letter.

use crate::support::{SHOP, appended, blocking, command, done, lines, outbox, status};
use outbox_core::{Event, EventId, OutboxStorage};
use outbox_store_sqlite::SqliteOutbox;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Three events of a key, of which the first kills its worker: it was alone in a claim that was
/// never settled.
fn deadly(folder: &Path) -> Vec<EventId> {
    let event = |name: &str| Event::new(name, "1").ordering_key("leonie");
    let events = [event("first"), event("second"), event("third")];
    appended(folder, &events);
    blocking(async {
        let store = SqliteOutbox::open(folder.join("shop.db")).await.unwrap();
        let claim = store.claim(1, Duration::from_nanos(1)).await.unwrap();
        assert_eq!(claim.events[0].event.id, events[0].id);
    });
    events.iter().map(|event| event.id).collect()
}

/// The event is tried again after a random part of a day, so that it is quarantined before.
const RELAY: [&str; 9] = [
    "relay",
    "--store",
    SHOP,
    "--threshold",
    "1",
    "--retry-initial",
    "1day",
    "--retry-max",
    "1day",
];

fn relay(folder: &Path, more: &[&str]) -> Child {
    command(
        folder,
        &[&RELAY[..], &["--to", "file:out.ndjson"], more].concat(),
    )
    .stderr(Stdio::null())
    .spawn()
    .expect("the relay starts")
}

fn arrived(folder: &Path) -> Vec<EventId> {
    let text = std::fs::read_to_string(folder.join("out.ndjson")).unwrap_or_default();
    let id = |value: &serde_json::Value| value["id"].as_str().unwrap().parse().unwrap();
    lines(&text).iter().map(id).collect()
}

/// Waits for what must come; the test's own timeout is the limit.
fn until(mut true_now: impl FnMut() -> bool) {
    while !true_now() {
        std::thread::yield_now();
    }
}

#[test]
fn a_successor_waits_for_the_dead_letter_of_its_key_and_comes_after_its_replay() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let ids = deadly(folder);
    let mut child = relay(folder, &["--hold-keys"]);
    until(|| status(folder, "dead_letters") == 1);
    // What came later than the successors and is published shows that they were passed over.
    let other = Event::new("other", "1");
    appended(folder, std::slice::from_ref(&other));
    until(|| !arrived(folder).is_empty());
    assert_eq!(arrived(folder), [other.id]);
    assert_eq!(status(folder, "pending"), 2);

    done(
        folder,
        &["dlq", "replay", &ids[0].to_string(), "--store", SHOP],
    );
    until(|| arrived(folder).len() == 4);
    assert_eq!(arrived(folder)[1..], ids);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn without_holding_keys_the_successors_go_on() {
    for more in [&[][..], &["--hold-keys=false"]] {
        let folder = TempDir::new().unwrap();
        let folder = folder.path();
        let ids = deadly(folder);
        let drained = relay(folder, &[more, &["--drain"]].concat())
            .wait()
            .unwrap();
        assert!(drained.success());
        assert_eq!(arrived(folder), ids[1..]);
        assert_eq!(status(folder, "dead_letters"), 1);
    }
}

#[test]
fn the_environment_and_the_file_let_a_relay_hold_keys_too() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    std::fs::write(path.join("outbox.toml"), "[relay]\nhold-keys = true\n").unwrap();
    for (name, value) in [
        ("OUTBOX_HOLD_KEYS", "yes"),
        ("OUTBOX_CONFIG", "outbox.toml"),
    ] {
        let ids = deadly(path);
        let mut child = command(path, &RELAY)
            .env(name, value)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        until(|| status(path, "dead_letters") == 1);
        assert_eq!(status(path, "pending"), 2, "{name}");
        child.kill().unwrap();
        child.wait().unwrap();
        let purge = ["dlq", "purge", "--all", "--yes", "--store", SHOP];
        assert!(outbox(path, &purge).status.success());
        let rest = done(path, &["relay", "--drain", "--store", SHOP]);
        assert_eq!(rest.lines().count(), ids.len() - 1);
    }
}
