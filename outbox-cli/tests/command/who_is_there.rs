//! What `outbox status` says in real situations.

use crate::brokers::port_of_no_server;
use crate::support::{
    Running, SHOP, appended, appended_to, arrived, command, done, events, json, lines, open,
    outbox, quarantined, refused, signal, until,
};
use outbox_core::{ClaimLimit, Event, OutboxStorage, Outcome, Settlement};
use outbox_store_sqlite::SqliteStore;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;

fn seen(folder: &Path) -> Value {
    json(&done(folder, &["status", "--json", "--store", SHOP]))
}

fn page(folder: &Path) -> String {
    done(folder, &["status", "--store", SHOP])
}

fn summary(folder: &Path) -> String {
    seen(folder)["summary"].as_str().unwrap().to_owned()
}

fn relay(folder: &Path, more: &[&str]) -> Running {
    let arguments = [&["relay", "--store", SHOP], more].concat();
    Running::start(command(folder, &arguments))
}

#[test]
fn without_a_relay_the_first_line_says_so() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &[]);
    assert_eq!(summary(folder), "no relay runs; nothing is pending");
    assert!(!page(folder).contains("relays"), "an empty table is shown");
    appended(folder, &events("order.placed", 2));
    let page = page(folder);
    let first = page.lines().next().unwrap();
    let begin = "NO RELAY RUNS: 2 events are pending; oldest due event ";
    assert!(first.starts_with(begin), "{first}");
    let waiting = &seen(folder)["waiting"];
    assert_eq!(waiting.as_array().unwrap().len(), 2);
    assert_eq!(waiting[0]["type"], "order.placed");
    assert_eq!(waiting[0]["attempts"], 0);
}

#[test]
fn a_relay_is_shown_while_it_runs() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &events("order.placed", 2));
    let mut running = relay(folder, &["--to", "file:out.ndjson"]);
    until("a relay", || summary(folder).starts_with("1 relay"));
    until("the events", || {
        arrived(&folder.join("out.ndjson")).len() == 2
    });
    let shown = seen(folder);
    let relay = &shown["relays"][0];
    assert_eq!(relay["process"], running.0.id());
    assert_eq!(relay["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(relay["is_silent"], false);
    assert_ne!(relay["host"], "");
    assert_eq!(relay["destination"], "file:out.ndjson");
    let page = page(folder);
    let row = page.lines().find(|line| line.contains("file:out.ndjson"));
    assert!(row.unwrap().contains(env!("CARGO_PKG_VERSION")), "{page}");
    until("a settlement", || {
        summary(folder) == "1 relay; nothing is due"
    });
    running.stop();
    assert_eq!(seen(folder)["relays"], json("[]"));
}

#[test]
fn a_killed_relay_is_silent_and_its_claim_is_taken_over() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &events("order.placed", 3));
    // A destination that never answers.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("http://{}/#allow=127.0.0.0/8", deaf.local_addr().unwrap());
    let mut first = relay(folder, &["--to", &to]);
    let has_claim = || {
        let shown = seen(folder);
        shown["relays"][0]["id"].is_string()
            && shown["claims"][0]["relay"] == shown["relays"][0]["id"]
    };
    until("the claim of the relay", has_claim);
    signal(&first.0, "KILL");
    first.0.wait().unwrap();
    let shown = seen(folder);
    assert_eq!(shown["claims"][0]["is_lost"], false);
    assert_eq!(shown["claims"][0]["events"], 3);
    let minutes_pass = "UPDATE outbox_relays SET heard_at = heard_at - 60000000";
    open(folder).execute_batch(minutes_pass).unwrap();
    let text = page(folder);
    assert!(
        text.starts_with("no relay reports, but events are claimed"),
        "{text}"
    );
    assert!(text.contains("SILENT"), "{text}");
    assert!(text.contains("silent relay"), "{text}");
    let lease_ends = "UPDATE outbox_claims SET leased_until = leased_until - 600000000";
    open(folder).execute_batch(lease_ends).unwrap();
    let text = page(folder);
    assert!(
        text.starts_with("NO RELAY RUNS: 3 events are pending"),
        "{text}"
    );
    assert!(text.contains("lost claim"), "{text}");
    let mut second = relay(folder, &["--to", "file:out.ndjson"]);
    until("the events", || {
        arrived(&folder.join("out.ndjson")).len() == 3
    });
    until("an end of all claims", || {
        summary(folder) == "1 relay, 1 silent; nothing is due"
    });
    assert_eq!(seen(folder)["claims"], json("[]"));
    second.stop();
}

#[test]
fn a_key_that_a_dead_letter_blocks_is_shown_with_it() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let event =
        |number: &str| Event::new("order.paid", number.to_owned()).ordering_key("leonie\x1b[2J");
    let all = [event("1"), event("2")];
    appended(folder, &all);
    crate::support::blocking(async {
        let opened = SqliteStore::open(folder.join("shop.db")).await.unwrap();
        let store = opened.block_key_on_dead_letter();
        let lease = Duration::from_secs(60);
        let claim = store.claim(ClaimLimit::events(1), lease).await.unwrap();
        let reason = "no such account".into();
        let dead = Settlement::new(all[0].id, Outcome::Dead { reason });
        store.settle(claim.token, &[dead]).await.unwrap();
        assert!(
            store
                .claim(ClaimLimit::events(1), lease)
                .await
                .unwrap()
                .events
                .is_empty()
        );
        store.close().await.unwrap();
    });
    let shown = seen(folder);
    assert_eq!(
        shown["blocked_keys"][0]["dead_letter"],
        all[0].id.to_string()
    );
    assert_eq!(shown["blocked_keys"][0]["last_error"], "no such account");
    assert_eq!(shown["waiting"], json("[]"));
    let failing = &shown["failing"][0];
    assert_eq!(failing["kind"], "dead_letters");
    assert_eq!(failing["error"], "no such account");
    let text = page(folder);
    assert!(text.contains("keys that a dead letter blocks"), "{text}");
    assert!(text.contains("leonie\\u{1b}[2J"), "{text}");
    assert!(
        text.starts_with("no relay runs: 1 event is pending; nothing is due"),
        "{text}"
    );
}

/// The relay of a broken destination, once its report has the pause.
fn paused(to: &str, kind: &str, state: &str) {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &events("order.placed", 2));
    let mut running = relay(folder, &["--to", to]);
    until("a pause", || {
        seen(folder)["relays"][0]["pauses"][0]["kind"] == kind
    });
    let shown = seen(folder);
    let text = shown["summary"].as_str().unwrap();
    assert!(text.starts_with(&format!("1 relay, {state}")), "{text}");
    let failing = &shown["failing"][0];
    assert_eq!(failing["kind"], "pause");
    assert!(
        failing["extent"].as_str().unwrap().starts_with(kind),
        "{failing}"
    );
    assert_ne!(failing["error"], "");
    assert!(shown["oldest_due_seconds"].as_f64().is_some(), "{shown}");
    running.stop();
}

#[test]
fn a_broker_that_is_gone_is_shown() {
    let to = format!("nats://127.0.0.1:{}", port_of_no_server());
    paused(
        &to,
        "unavailable",
        "NOT PUBLISHING: broker unavailable for ",
    );
}

#[test]
fn a_destination_that_is_misconfigured_is_shown() {
    let endpoint = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!(
        "http://{}/gone#allow=127.0.0.0/8",
        endpoint.local_addr().unwrap()
    );
    // It ends with the process of the test.
    std::thread::spawn(move || {
        for mut connection in endpoint.incoming().flatten() {
            let _ = connection.read(&mut [0; 4096]);
            let answer =
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = connection.write_all(answer);
        }
    });
    paused(&to, "misconfigured", "1 destination gets no events");
}

#[test]
fn failing_events_are_shown_by_their_errors() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &events("order.placed", 3));
    crate::support::blocking(async {
        let store = SqliteStore::open(folder.join("shop.db")).await.unwrap();
        let claim = store
            .claim(ClaimLimit::events(9), Duration::from_secs(60))
            .await
            .unwrap();
        let retry = |claimed: &outbox_core::ClaimedEvent| {
            let (delay, error) = (Duration::from_secs(600), "503 from the warehouse".into());
            Settlement::new(claimed.event.id, Outcome::Retry { delay, error })
        };
        let settlements: Vec<Settlement> = claim.events.iter().map(retry).collect();
        store.settle(claim.token, &settlements).await.unwrap();
        store.close().await.unwrap();
    });
    let shown = seen(folder);
    assert_eq!(shown["waiting"][2]["last_error"], "503 from the warehouse");
    let failing = shown["failing"].as_array().unwrap();
    assert_eq!(failing.len(), 1);
    assert_eq!(failing[0]["kind"], "failing_events");
    assert_eq!(failing[0]["extent"], "3 events, up to 1 attempt");
    assert!(page(folder).contains("a retry after: 503 from the warehouse"));
}

#[test]
fn each_store_of_a_file_is_shown_and_one_that_fails_hides_no_other() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let table = |name| format!("[[store]]\nname = \"{name}\"\nurl = \"sqlite:{name}.db\"\n");
    std::fs::write(
        folder.join("outbox.toml"),
        ["one", "lost", "two"].map(table).concat(),
    )
    .unwrap();
    appended_to(folder, "one", &events("order.placed", 1));
    appended_to(folder, "two", &events("order.placed", 2));
    let output = outbox(folder, &["status", "--json", "--config", "outbox.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let shown = lines(&String::from_utf8(output.stdout).unwrap());
    let pending = |store: &Value| (store["store"].clone(), store["pending"].clone());
    let pending: Vec<_> = shown.iter().map(pending).collect();
    assert_eq!(
        pending,
        [("one".into(), 1.into()), ("two".into(), 2.into())]
    );
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.contains("lost: ") && errors.contains("does not exist"),
        "{errors}"
    );
}

#[test]
fn a_store_of_an_earlier_version_is_refused_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &[]);
    let older = "DROP TABLE outbox_relays; ALTER TABLE outbox_keys DROP COLUMN last_error;
                 DELETE FROM outbox_migrations WHERE component = 'store' AND version > 1";
    open(folder).execute_batch(older).unwrap();
    refused(folder, &["status", "--store", SHOP], 2, &["migrat"]);
    done(folder, &["migrate", "--store", SHOP]);
    assert_eq!(summary(folder), "no relay runs; nothing is pending");
}

#[test]
fn a_watch_shows_pages_until_a_signal() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    quarantined(folder, &events("order.placed", 1), "refused");
    for arguments in [&["--json"][..], &[]] {
        let arguments = [&["status", "--watch=10ms", "--store", SHOP], arguments].concat();
        let mut watch = command(folder, &arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(watch.stdout.take().unwrap());
        let shown = |line: &String| line.contains("no relay runs; nothing is pending");
        let pages = out
            .lines()
            .map(Result::unwrap)
            .filter(shown)
            .take(3)
            .count();
        assert_eq!(pages, 3);
        // The reader is gone now.
        assert!(watch.wait().unwrap().success());
    }
    let arguments = ["status", "--watch=1h", "--store", SHOP];
    let mut watch = command(folder, &arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(watch.stdout.take().unwrap());
    assert_ne!(out.read_line(&mut String::new()).unwrap(), 0);
    signal(&watch, "INT");
    assert!(watch.wait().unwrap().success());
    refused(
        folder,
        &["status", "--watch=0s", "--store", SHOP],
        2,
        &["--watch"],
    );
    refused(
        folder,
        &["status", "--watch", "--max-dead", "0", "--store", SHOP],
        2,
        &["--max-dead"],
    );
}
