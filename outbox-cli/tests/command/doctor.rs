//! `outbox doctor`.

use crate::redis::{free_port, start};
use crate::support::{Running, SHOP, command, done, json, open, outbox, signal, until};
use outbox_store_sqlite::rusqlite::Connection;
use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// The exit code, and the findings as severity, store, check and problem.
pub(crate) fn examined(folder: &Path, arguments: &[&str]) -> (Option<i32>, Vec<[String; 4]>) {
    let arguments = [&["doctor", "--json"], arguments].concat();
    let output = outbox(folder, &arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!text.is_empty(), "{errors}");
    let found = json(&text)["findings"].as_array().unwrap().clone();
    (output.status.code(), found.iter().map(finding).collect())
}

/// Each finding says what to do.
fn finding(found: &Value) -> [String; 4] {
    let text = |name: &str| found[name].as_str().unwrap().to_owned();
    assert!(!text("action").is_empty(), "{found}");
    ["severity", "store", "check", "problem"].map(text)
}

/// Asserts one finding, of a severity and a check, that says all of `parts`.
pub(crate) fn one(folder: &Path, arguments: &[&str], [severity, check]: [&str; 2], parts: &[&str]) {
    let (code, found) = examined(folder, arguments);
    let expected = if severity == "error" { 3 } else { 0 };
    assert_eq!(code, Some(expected), "{found:?}");
    let [one] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!([&*one[0], &*one[2]], [severity, check], "{found:?}");
    for part in parts {
        assert!(one[3].contains(part), "{part}: {found:?}");
    }
}

/// Asserts that nothing is found.
pub(crate) fn sound(folder: &Path, arguments: &[&str]) {
    assert_eq!(examined(folder, arguments), (Some(0), Vec::new()));
}

fn migrated() -> TempDir {
    let folder = TempDir::new().unwrap();
    done(folder.path(), &["migrate", "--store", SHOP]);
    folder
}

#[test]
fn a_sound_relay_has_no_findings() {
    let folder = migrated();
    sound(folder.path(), &["--store", SHOP]);
    let text = done(folder.path(), &["doctor", "--store", SHOP]);
    assert_eq!(text, "ok       default: nothing found\n");
}

#[test]
fn missing_tables_are_an_error_with_the_command_that_makes_them() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let output = outbox(folder, &["doctor", "--store", SHOP]);
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("error    default: schema: the tables of the store have 0 of "));
    assert!(text.contains("         do: run outbox migrate"), "{text}");
    assert!(!folder.join("shop.db").exists(), "it made the file");
}

#[test]
fn a_file_is_examined_while_a_relay_writes_to_it_and_is_not_created() {
    let folder = migrated();
    let folder = folder.path();
    let relay = ["--store", SHOP, "--to", "file:events"];
    sound(folder, &relay);
    assert!(!folder.join("events").exists(), "it made the file");
    let start = command(folder, &[&["relay"], &relay[..]].concat());
    let mut running = Running::start(start);
    until("the file of the relay", || folder.join("events").exists());
    sound(folder, &relay);
    running.stop();
    let relay = ["--store", SHOP, "--to", "file:missing/events"];
    one(
        folder,
        &relay,
        ["error", "destination"],
        &["missing does not exist"],
    );
}

#[test]
fn settings_that_do_not_fit_each_other_are_found() {
    let folder = migrated();
    let relay = [
        "--store",
        SHOP,
        "--retry-max",
        "1h",
        "--heap-retention",
        "1h",
    ];
    let problem = ["heap-retention is 1h", "1h (retry-max)"];
    one(folder.path(), &relay, ["error", "heap-retention"], &problem);
    let relay = ["--store", SHOP, "--shutdown-grace", "5s"];
    let problem = ["shutdown-grace is 5s", "may take 10s"];
    one(
        folder.path(),
        &relay,
        ["warning", "shutdown-grace"],
        &problem,
    );
}

#[test]
fn a_destination_that_takes_nothing_is_an_error_without_its_password() {
    let folder = migrated();
    let to = format!("nats://me:hush-4711@127.0.0.1:{}", free_port());
    let output = outbox(folder.path(), &["doctor", "--store", SHOP, "--to", &to]);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("hush"));
    let relay = ["--store", SHOP, "--to", &to];
    one(
        folder.path(),
        &relay,
        ["error", "destination"],
        &["events cannot be published"],
    );
}

#[test]
fn what_may_lose_or_repeat_events_is_a_warning() {
    let folder = migrated();
    let redis = start(free_port(), &["--appendonly", "no"]);
    let to = format!("{}/?stream=orders", redis.url());
    let relay = ["--store", SHOP, "--to", &to];
    one(
        folder.path(),
        &relay,
        ["warning", "destination"],
        &["appendonly is off"],
    );
}

#[test]
fn each_store_of_the_file_is_examined_and_one_that_is_away_hides_no_other() {
    let folder = migrated();
    let folder = folder.path();
    let away = format!("postgres://me@127.0.0.1:{}/shop", free_port());
    let file = format!(
        "[[store]]\nname = \"away\"\nurl = \"{away}\"\n\
         [[store]]\nname = \"shop\"\nurl = \"{SHOP}\"\nshutdown-grace = \"1s\"\n"
    );
    fs::write(folder.join("outbox.toml"), file).unwrap();
    let (code, found) = examined(folder, &["--config", "outbox.toml"]);
    assert_eq!(code, Some(3));
    let of = |store: &str, check: &str| {
        let is = |one: &&[String; 4]| one[1] == store && one[2] == check;
        found.iter().find(is).unwrap_or_else(|| panic!("{found:?}"))
    };
    assert!(
        of("away", "store")[3].contains("cannot connect"),
        "{found:?}"
    );
    assert_eq!(of("shop", "shutdown-grace")[0], "warning");
}

#[test]
fn a_heap_that_may_be_evicted_or_has_entries_of_another_outbox_is_a_warning() {
    let folder = migrated();
    let folder = folder.path();
    let evicts = ["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"];
    let redis = start(free_port(), &evicts);
    let relay = ["--store", SHOP, "--heap", redis.url()];
    one(folder, &relay, ["warning", "eviction"], &["allkeys-lru"]);

    let relay = ["--store", SHOP, "--heap", "sqlite:heap.db"];
    done(folder, &[&["migrate"], &relay[..]].concat());
    let heap = Connection::open(folder.join("heap.db")).unwrap();
    heap.execute(
        "INSERT INTO outbox_dlq_heap (event_id, failure_count, first_failed_at, last_failed_at) \
         VALUES (randomblob(16), 1, 1, 1)",
        [],
    )
    .unwrap();
    one(
        folder,
        &relay,
        ["warning", "orphans"],
        &["without an event in the outbox: 1"],
    );
}

#[test]
fn relays_that_publish_to_different_destinations_are_a_warning_without_a_password() {
    let folder = migrated();
    let folder = folder.path();
    let broker = format!("127.0.0.1:{}", free_port());
    let relay = |login: &str, subject: &str| {
        let to = format!("nats://{login}@{broker}/?subject={subject}.{{type}}&timeout=1s");
        Running::start(command(folder, &["relay", "--store", SHOP, "--to", &to]))
    };
    let are_there = |count: i64| {
        let rows = "SELECT count(*) FROM outbox_relays WHERE destination IS NOT NULL";
        let read = || open(folder).query_row(rows, [], |row| row.get::<_, i64>(0));
        until("the rows of the relays", || read().unwrap() == count);
    };
    // One that does not say where it publishes to.
    let silent = "INSERT INTO outbox_relays (id, mark, host, process, version, since, heard_at, pauses) \
                  SELECT randomblob(16), randomblob(6), 'web-1', 7, '1', 0, heard_at + 3600000000, '[]' \
                  FROM outbox_relays";
    let (mut first, mut second) = (relay("me:hush-1", "a"), relay("hush-2", "a"));
    are_there(2);
    open(folder).execute_batch(silent).unwrap();
    sound(folder, &["--store", SHOP]);
    second.stop();

    let mut second = relay("me:hush-3", "b");
    are_there(2);
    let (process, other) = (first.0.id(), second.0.id());
    let [a, b] =
        ["a", "b"].map(|subject| format!("to nats://{broker}/?subject={subject}.{{type}}"));
    let parts = [
        &*a,
        &b,
        &format!("process {process} on "),
        &format!("process {other} on "),
    ];
    let finding = ["warning", "different-destinations"];
    one(folder, &["--store", SHOP], finding, &parts);
    let shown = [
        done(folder, &["doctor", "--store", SHOP]),
        done(folder, &["status", "--store", SHOP]),
        done(folder, &["status", "--json", "--store", SHOP]),
    ];
    for text in shown {
        assert!(text.contains("?subject=b.{type}"), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }
    for file in ["shop.db", "shop.db-wal"] {
        let bytes = fs::read(folder.join(file)).unwrap_or_default();
        assert!(!bytes.windows(4).any(|part| part == b"hush"), "{file}");
    }

    // A relay that was replaced counts until it is silent.
    signal(&first.0, "KILL");
    first.0.wait().unwrap();
    let heard = |change: &str| {
        let heard = format!(
            "UPDATE outbox_relays SET heard_at = heard_at {change} WHERE process = {process}"
        );
        open(folder).execute_batch(&heard).unwrap();
    };
    heard("+ 3600000000");
    one(folder, &["--store", SHOP], finding, &parts);
    heard("- 7200000000");
    one(
        folder,
        &["--store", SHOP],
        ["warning", "relays"],
        &["silent for"],
    );
    second.stop();
}
