//! The command as a newcomer and as a script would use it.

use crate::support::{described, done, json, refused, signal};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const STORE: &str = "sqlite:outbox-demo/shop.db";

#[test]
fn the_demo_accounts_for_every_event_and_its_next_steps_work() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    for _ in 0..2 {
        let report = done(folder, &["demo"]);
        assert!(report.contains("412 orders with 3064 events"), "{report}");
        assert!(
            report.contains("every committed event is accounted for"),
            "{report}"
        );
    }
    let status = json(&done(folder, &["status", "--json", "--store", STORE]));
    assert_eq!(
        (&status["pending"], &status["dead_letters"]),
        (&0.into(), &7.into())
    );

    let list = done(folder, &["dlq", "list", "--json", "--store", STORE]);
    let dead_letters: Vec<Value> = list.lines().map(json).collect();
    assert_eq!(dead_letters.len(), 7);
    let rejected = dead_letters
        .iter()
        .find(|dead_letter| dead_letter["failure_count"] == 4)
        .expect("a rejected one");
    let id = rejected["event"]["id"].as_str().unwrap();
    let shown = json(&done(
        folder,
        &["dlq", "show", id, "--json", "--store", STORE],
    ));
    assert_eq!(described(&shown), described(rejected));

    let dry = done(
        folder,
        &["dlq", "replay", id, "--dry-run", "--store", STORE],
    );
    assert_eq!(dry.trim(), id);
    done(folder, &["dlq", "replay", id, "--store", STORE]);
    let lines = done(
        folder,
        &["relay", "--drain", "--to", "stdout://", "--store", STORE],
    );
    let line = json(&lines);
    assert_eq!(line, shown["event"]);

    refused(
        folder,
        &["dlq", "purge", "--all", "--store", STORE],
        2,
        &["--yes"],
    );
    refused(
        folder,
        &["dlq", "purge", "--yes", "--store", STORE],
        2,
        &["--all"],
    );
    let purged = json(&done(
        folder,
        &["dlq", "purge", "--all", "--yes", "--json", "--store", STORE],
    ));
    assert_eq!(purged["purged"].as_array().map(Vec::len), Some(6));
    refused(folder, &["dlq", "show", id, "--store", STORE], 1, &[id]);
}

#[test]
fn each_bad_input_is_named_with_what_is_allowed() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    fs::write(
        folder.join("notes.txt"),
        "notes, and no database, but long enough to be read",
    )
    .unwrap();
    fs::write(folder.join("broken.ndjson"), "{\"order_id\": 1}\n").unwrap();
    done(folder, &["migrate", "--store", "sqlite:shop.db"]);
    let shop = ["relay", "--store", "sqlite:shop.db"];
    let relay = |more: &[&'static str]| [&shop[..], more].concat();
    refused(
        folder,
        &["status", "--store", "mysql://x"],
        2,
        &["mysql", "sqlite:PATH"],
    );
    refused(
        folder,
        &["status", "--store", "shop.db"],
        2,
        &["shop.db", "sqlite:PATH"],
    );
    refused(
        folder,
        &["status", "--store", "sqlite:none.db"],
        2,
        &["none.db", "does not exist"],
    );
    refused(
        folder,
        &["status", "--store", "sqlite:notes.txt"],
        2,
        &["notes.txt", "not a SQLite"],
    );
    refused(
        folder,
        &relay(&["--to", "mqtt://x"]),
        2,
        &["scheme \"mqtt\"", "stdout://"],
    );
    refused(
        folder,
        &relay(&["--to", "file:no/folder/x"]),
        2,
        &["no/folder/x"],
    );
    refused(
        folder,
        &relay(&["--batch-size", "0"]),
        2,
        &["batch size", "1 to 10000"],
    );
    refused(
        folder,
        &relay(&["--drain-timeout", "0s"]),
        2,
        &["drain timeout", "0s"],
    );
    let short = ["--lease", "5s", "--publish-timeout", "5s"];
    refused(
        folder,
        &relay(&short),
        2,
        &["lease", "5s", "publish timeout"],
    );
    refused(folder, &relay(&["--lease", "soon"]), 2, &["soon"]);
    refused(
        folder,
        &["dlq", "show", "seven", "--store", "sqlite:shop.db"],
        2,
        &["seven", "UUID"],
    );
    refused(
        folder,
        &["demo", "--data", "none.ndjson"],
        2,
        &["none.ndjson"],
    );
    refused(
        folder,
        &["demo", "--data", "broken.ndjson"],
        2,
        &["broken.ndjson", "line 1"],
    );
    assert!(
        !folder.join("outbox-demo").exists(),
        "the demo began with broken data"
    );
}

#[test]
fn a_file_that_is_not_the_demos_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    fs::create_dir(folder.join("outbox-demo")).unwrap();
    done(folder, &["migrate", "--store", STORE]);
    let before = fs::read(folder.join("outbox-demo/shop.db")).unwrap();
    refused(folder, &["demo"], 2, &["shop.db", "--dir"]);
    assert_eq!(
        fs::read(folder.join("outbox-demo/shop.db")).unwrap(),
        before
    );
}

#[test]
fn a_database_without_our_tables_says_what_to_run() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("theirs.db");
    let connection = outbox_store_sqlite::rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(connection);
    let store = "sqlite:theirs.db";
    refused(
        folder.path(),
        &["status", "--store", store],
        2,
        &["outbox migrate"],
    );
    refused(
        folder.path(),
        &["migrate", "check", "--store", store],
        2,
        &["outbox migrate"],
    );
    done(folder.path(), &["migrate", "--store", store]);
    done(folder.path(), &["migrate", "check", "--store", store]);
}

/// A store with so many events that no pipe holds them.
fn full_store(folder: &Path) {
    use outbox_core::Event;
    let path = folder.join("shop.db");
    done(folder, &["migrate", "--store", "sqlite:shop.db"]);
    let mut connection = outbox_store_sqlite::rusqlite::Connection::open(path).unwrap();
    let tx = connection.transaction().unwrap();
    let events: Vec<Event> = (0..200)
        .map(|_| Event::new("test.large", vec![0; 4096]))
        .collect();
    outbox_store_sqlite::append(&tx, &events).unwrap();
    tx.commit().unwrap();
}

#[test]
fn a_reader_that_never_reads_does_not_keep_the_relay_from_ending() {
    let folder = TempDir::new().unwrap();
    full_store(folder.path());
    let mut relay = Command::new(env!("CARGO_BIN_EXE_outbox"))
        .current_dir(folder.path())
        .args([
            "relay",
            "--store",
            "sqlite:shop.db",
            "--publish-timeout",
            "100ms",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The pipe is full as soon as the relay has begun; then only the signal can end it.
    let store = |name: &str| {
        json(&done(
            folder.path(),
            &["status", "--json", "--store", "sqlite:shop.db"],
        ))[name]
            .clone()
    };
    while store("in_flight") == 0 {}
    signal(&relay, "TERM");
    assert!(relay.wait().unwrap().success());
}

#[test]
fn a_reader_that_goes_away_ends_the_relay_and_loses_nothing_that_was_not_written() {
    let folder = TempDir::new().unwrap();
    full_store(folder.path());
    let mut relay = Command::new(env!("CARGO_BIN_EXE_outbox"))
        .current_dir(folder.path())
        .args(["relay", "--store", "sqlite:shop.db"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(relay.stdout.take());
    let output = relay.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("the reader of stdout has gone"), "{errors}");
    let rest = done(
        folder.path(),
        &["relay", "--drain", "--store", "sqlite:shop.db"],
    );
    assert_eq!(rest.lines().count(), 200);
}
