//! What waits for a dead letter.

use crate::support::{self, Running, SHOP, appended, blocking, command, done, open, status, until};
use outbox_core::{ClaimLimit, Event, EventId, OutboxStorage};
use outbox_store_sqlite::SqliteStore;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// Three events of a key, of which the first kills its worker: it was alone in a claim that was
/// never settled.
fn deadly(folder: &Path) -> Vec<EventId> {
    let event = |name: &str| Event::new(name, "1").ordering_key("leonie");
    let events = [event("first"), event("second"), event("third")];
    appended(folder, &events);
    blocking(async {
        let store = SqliteStore::open(folder.join("shop.db")).await.unwrap();
        let claim = store
            .claim(ClaimLimit::events(1), Duration::from_nanos(1))
            .await
            .unwrap();
        assert_eq!(claim.events[0].event.id, events[0].id);
    });
    events.iter().map(|event| event.id).collect()
}

/// The event is tried again after a random part of a day, so that it is quarantined before.
const RELAY: [&str; 9] = [
    "relay",
    "--store",
    SHOP,
    "--failure-threshold",
    "1",
    "--retry-initial",
    "1day",
    "--retry-max",
    "1day",
];

fn relay(folder: &Path, more: &[&str], variables: &[(&str, &str)]) -> Running {
    let arguments = [&RELAY[..], &["--to", "file:out.ndjson"], more].concat();
    let mut command = command(folder, &arguments);
    command.envs(variables.iter().copied());
    Running::start(command)
}

fn arrived(folder: &Path) -> Vec<EventId> {
    support::arrived(&folder.join("out.ndjson"))
}

#[test]
fn a_successor_waits_for_the_dead_letter_of_its_key_and_comes_after_its_replay() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let ids = deadly(folder);
    let _relay = relay(folder, &["--block-keys"], &[]);
    until("a dead letter", || status(folder, "dead_letters") == 1);
    // What came later than the successors and is settled shows that they were passed over.
    let other = Event::new("other", "1");
    appended(folder, std::slice::from_ref(&other));
    until("another event", || !arrived(folder).is_empty());
    until("its settlement", || status(folder, "pending") == 2);
    assert_eq!(arrived(folder), [other.id]);

    let id = ids[0].to_string();
    done(folder, &["dlq", "replay", &id, "--store", SHOP]);
    until("the key's events", || arrived(folder).len() == 4);
    assert_eq!(arrived(folder)[1..], ids);
}

#[test]
fn without_the_option_later_events_of_the_key_are_published() {
    for more in [&[][..], &["--block-keys=false"]] {
        let folder = TempDir::new().unwrap();
        let folder = folder.path();
        let ids = deadly(folder);
        let more = [more, &["--drain"]].concat();
        let mut relay = relay(folder, &more, &[("OUTBOX_BLOCK_KEYS", "false")]);
        assert!(relay.0.wait().unwrap().success());
        assert_eq!(arrived(folder), ids[1..]);
        assert_eq!(status(folder, "dead_letters"), 1);
    }
}

#[test]
fn the_environment_and_the_file_let_dead_letters_hold_keys_too_and_a_flag_does_not() {
    let holding = "[relay]\nblock-keys = true\n";
    let file = ("OUTBOX_CONFIG", "outbox.toml");
    let cases: [(&[&str], (&str, &str), bool); 4] = [
        (&[], ("OUTBOX_BLOCK_KEYS", "yes"), true),
        (&[], file, true),
        (&["--block-keys=false"], ("OUTBOX_BLOCK_KEYS", "yes"), false),
        (&["--block-keys=false"], file, false),
    ];
    for (more, variable, holds) in cases {
        let folder = TempDir::new().unwrap();
        let folder = folder.path();
        std::fs::write(folder.join("outbox.toml"), holding).unwrap();
        deadly(folder);
        let _relay = relay(folder, more, &[variable]);
        until("a dead letter", || status(folder, "dead_letters") == 1);
        let dead_letter: bool = open(folder)
            .query_row("SELECT holds FROM outbox_dead_letters", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(dead_letter, holds, "{more:?} {variable:?}");
    }
}
