//! One relay with several stores.

use crate::support::{
    Running, append_to, appended_to, arrived, command, done, events, json, lines, outbox, refused,
    signal, until,
};
use outbox_core::Event;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;

/// A table of a store in `NAME.db`, whose events go to the file `NAME`.
pub(crate) fn table(name: &str) -> String {
    format!("[[store]]\nname = \"{name}\"\nurl = \"sqlite:{name}.db\"\nto = \"file:{name}\"\n")
}

/// A configuration file with a table for each store.
fn configured(folder: &Path, stores: &[&str]) {
    let text: String = stores.iter().map(|name| table(name)).collect();
    fs::write(folder.join("outbox.toml"), text).unwrap();
}

/// Events of three keys, numbered from `first` on.
pub(crate) fn numbered(first: usize, count: usize) -> Vec<Event> {
    let event = |number: usize| {
        Event::new("order.placed", number.to_string())
            .content_type("application/json")
            .ordering_key(format!("key-{}", number % 3))
    };
    (first..first + count).map(event).collect()
}

/// The numbers on whole lines of a file that are there, and whether those of each key are in order. A number
/// that comes again is passed over.
pub(crate) fn numbers(path: &Path) -> (usize, bool) {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let mut seen: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for line in lines(whole) {
        let of_key = seen
            .entry(line["key"].as_str().unwrap().to_owned())
            .or_default();
        let number = line["payload"].as_u64().unwrap();
        if !of_key.contains(&number) {
            of_key.push(number);
        }
    }
    let count = seen.values().map(Vec::len).sum();
    (count, seen.values().all(|numbers| numbers.is_sorted()))
}

const RELAY: &[&str] = &["relay", "--config", "outbox.toml"];

#[test]
fn a_store_that_cannot_be_opened_disturbs_no_other_and_is_tried_again() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    configured(folder, &["one", "two", "late"]);
    for name in ["one", "two"] {
        appended_to(folder, name, &events("order.placed", 3));
    }
    let mut relay = Running::start(command(folder, RELAY));
    let has_arrived = |name: &str| arrived(&folder.join(name)).len() == 3;
    until("the events", || has_arrived("one") && has_arrived("two"));
    appended_to(folder, "late", &events("order.placed", 3));
    until("the events of the late store", || has_arrived("late"));
    relay.stop();
}

#[test]
fn a_relay_with_a_failed_store_ends_with_1_and_its_name() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    configured(folder, &["one", "dead"]);
    appended_to(folder, "one", &events("order.placed", 3));
    let mut relay = Running::start(command(folder, RELAY));
    until("the events", || arrived(&folder.join("one")).len() == 3);
    signal(&relay.0, "TERM");
    assert_eq!(relay.0.wait().unwrap().code(), Some(1));
    let drain = ["relay", "--drain", "--config", "outbox.toml"];
    let reasons = ["stores failed: dead: ", "does not exist"];
    refused(folder, &drain, 1, &reasons);
}

/// Each round writes a file that is refused, and then one that changes a store, adds or removes another,
/// and leaves the third one alone.
#[test]
fn reloads_under_load_lose_nothing_and_do_not_restart_a_store_that_is_unchanged() {
    const ROUNDS: usize = 20;
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    for name in ["same", "changed", "added"] {
        appended_to(folder, name, &numbered(0, 1));
    }
    let good = |round: usize| {
        let changed = format!("{}batch-size = {}\n", table("changed"), round + 1);
        let added = if round.is_multiple_of(2) {
            ""
        } else {
            &table("added")
        };
        let text = format!("{}{changed}{added}", table("same"));
        fs::write(folder.join("outbox.toml"), text).unwrap();
    };
    good(0);
    let mut relay = command(folder, RELAY);
    let log = fs::File::create(folder.join("log")).unwrap();
    let relay = relay
        .env("RUST_LOG", "outbox=info")
        .stderr(log)
        .spawn()
        .unwrap();
    let mut relay = Running(relay);
    let logged = |text: &str| {
        let log = fs::read_to_string(folder.join("log")).unwrap();
        log.matches(text).count()
    };
    until("a start", || numbers(&folder.join("changed")).0 == 1);
    for round in 1..=ROUNDS {
        fs::write(
            folder.join("outbox.toml"),
            "[relay]\nbatch-size = \"\"\nlease = 1\n",
        )
        .unwrap();
        signal(&relay.0, "HUP");
        append_to(folder, "same", &numbered(round * 100, 40));
        until("a refusal", || logged("refused as a whole") == round);
        good(round);
        signal(&relay.0, "HUP");
        append_to(folder, "changed", &numbered(round * 100, 40));
        append_to(folder, "added", &numbered(round * 100, 2));
        until("a reload", || {
            logged("the configuration is loaded") == round
        });
    }
    fs::write(
        folder.join("outbox.toml"),
        table("same") + &table("changed") + &table("added"),
    )
    .unwrap();
    signal(&relay.0, "HUP");
    for (name, count) in [("same", 40), ("changed", 40), ("added", 2)] {
        let expected = (ROUNDS * count + 1, true);
        until(name, || numbers(&folder.join(name)) == expected);
    }
    relay.stop();
    let log = fs::read_to_string(folder.join("log")).unwrap();
    let starts = |store: &str| {
        log.matches(&format!("relay started store=\"{store}\""))
            .count()
    };
    assert_eq!(starts("same"), 1, "{log}");
    assert!(starts("changed") > 2 && starts("added") > 2, "{log}");
    assert!(
        log.contains("line 2: ") && log.contains("line 3: "),
        "{log}"
    );
}

#[test]
fn a_command_works_on_all_stores_or_on_the_one_that_is_named() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    configured(folder, &["one", "two"]);
    let config = |arguments: &[&'static str]| [arguments, &["--config", "outbox.toml"]].concat();
    let migrated = done(folder, &config(&["migrate", "--json"]));
    let stores: Vec<_> = lines(&migrated)
        .iter()
        .map(|line| line["store"].clone())
        .collect();
    assert_eq!(stores, ["one", "two"]);
    appended_to(folder, "two", &events("order.placed", 3));
    let status = lines(&done(folder, &config(&["status", "--json"])));
    let pending = |number: usize| {
        (
            status[number]["store"].as_str(),
            status[number]["pending"].as_u64(),
        )
    };
    assert_eq!(
        (pending(0), pending(1)),
        ((Some("one"), Some(0)), (Some("two"), Some(3)))
    );
    let one = json(&done(
        folder,
        &config(&["status", "--json", "--store", "two"]),
    ));
    assert_eq!(
        (one["pending"].as_u64(), one["store"].as_str()),
        (Some(3), Some("two"))
    );
    done(
        folder,
        &config(&["relay", "--drain", "--store", "two", "--to", "file:other"]),
    );
    assert_eq!(arrived(&folder.join("other")).len(), 3);
    done(folder, &config(&["dlq", "list", "--store", "one"]));
    let named = ["several stores", "--store", "one, two"];
    for command in [
        &["dlq", "list"][..],
        &["dlq", "replay", "--all"],
        &["destination", "list"],
    ] {
        refused(folder, &config(command), 2, &named);
    }
    let of_one: &[(&[&str], &str)] = &[
        (&["relay", "--to", "file:x"], "--to or OUTBOX_TO is set"),
        (&["relay", "--template", "x"], "--template"),
        (
            &["relay", "--heap", "sqlite:x"],
            "--heap or OUTBOX_HEAP is set",
        ),
        (
            &["relay", "--store", "sqlite:me:secret"],
            "--store or DATABASE_URL is a URL",
        ),
        (&["status", "--store", "three"], "--store is \"three\""),
    ];
    for (command, reason) in of_one {
        refused(folder, &config(command), 2, &[reason, "one, two"]);
    }
    let status = [
        "status",
        "--max-age",
        "0s",
        "--max-dead",
        "0",
        "--config",
        "outbox.toml",
    ];
    appended_to(folder, "one", &events("order.placed", 1));
    let ended = outbox(folder, &status);
    assert_eq!(ended.status.code(), Some(3));
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(errors.contains("one: oldest pending event"), "{errors}");
}

#[test]
fn lines_of_several_stores_on_one_stdout_are_whole() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let names = ["one", "two", "three"];
    let text: String = names
        .iter()
        .map(|name| table(name).replace(&format!("to = \"file:{name}\"\n"), ""))
        .collect();
    fs::write(folder.join("outbox.toml"), text).unwrap();
    for name in names {
        let large = vec![b'x'; 5_000];
        let events: Vec<Event> = (0..200)
            .map(|_| Event::new("order.large", large.clone()))
            .collect();
        appended_to(folder, name, &events);
    }
    let mut drain = command(folder, &["relay", "--drain", "--config", "outbox.toml"]);
    let output = drain.stdout(Stdio::piped()).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(lines(&text).len(), 600);
}
