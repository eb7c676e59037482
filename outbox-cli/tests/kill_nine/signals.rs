//! SIGTERM and SIGHUP, under load.

use crate::producer::to_sqlite;
use crate::{Fleet, SEED, migrate, outbox, pause, under_load};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command};
use tempfile::TempDir;

const STORE: &str = "sqlite:shop.db";
const TIMES: usize = 20;

fn migrated() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    migrate(folder.path(), STORE);
    folder
}

/// Starts a relay, and returns when it reports to systemd that it is ready: it handles signals then.
fn ready(folder: &Path, store: &str, arguments: &[&str]) -> Child {
    let socket = folder.join("notify");
    // The relay before has another socket of this name.
    drop(fs::remove_file(&socket));
    let manager = UnixDatagram::bind(&socket).expect("bound");
    let relay = outbox(folder, store, &["relay"])
        .args(arguments)
        .env("NOTIFY_SOCKET", &socket)
        .spawn()
        .expect("it starts");
    let mut report = [0; 64];
    let length = manager.recv(&mut report).expect("a report");
    assert_eq!(report[..length].trim_ascii(), b"READY=1");
    relay
}

fn signal(relay: &Child, name: &str) {
    let id = relay.id().to_string();
    let sent = Command::new("kill").args(["-s", name, &id]).status();
    assert!(sent.expect("it runs").success());
}

fn assert_ends_well(mut relay: Child) {
    let code = relay.wait().expect("reaped").code();
    assert_eq!(code, Some(0), "the exit code after SIGTERM");
}

#[test]
fn a_relay_that_is_terminated_twenty_times_ends_with_0_and_repeats_nothing() {
    let folder = migrated();
    let folder = folder.path();
    let append = to_sqlite(&folder.join("shop.db"));
    let duplicates = under_load(folder, STORE, Fleet::One, append, || {
        let mut seed = SEED;
        for _ in 0..TIMES {
            let relay = ready(folder, STORE, &["--to", "file:events.ndjson"]);
            pause(&mut seed);
            signal(&relay, "TERM");
            assert_ends_well(relay);
        }
    });
    assert_eq!(duplicates, 0);
}

/// Each good file is another one, so the relay of the store starts again.
fn configure(folder: &Path, turn: usize) {
    let good = format!(
        "[[store]]\nname = \"shop\"\nurl = \"{STORE}\"\nto = \"file:events.ndjson\"\nbatch-size = {}\n",
        10 + turn
    );
    let text = if turn.is_multiple_of(2) {
        good
    } else {
        good + "[[store]]\nname = \"half\"\nurl = \"sqli"
    };
    fs::write(folder.join("outbox.toml"), text).expect("written");
}

#[test]
fn a_relay_that_reloads_good_and_bad_files_twenty_times_each_repeats_nothing() {
    let folder = migrated();
    let folder = folder.path();
    let append = to_sqlite(&folder.join("shop.db"));
    let duplicates = under_load(folder, STORE, Fleet::One, append, || {
        let mut seed = SEED;
        configure(folder, 0);
        let relay = ready(folder, "shop", &["--config", "outbox.toml"]);
        for turn in 1..=2 * TIMES {
            pause(&mut seed);
            configure(folder, turn);
            signal(&relay, "HUP");
        }
        signal(&relay, "TERM");
        assert_ends_well(relay);
    });
    assert_eq!(duplicates, 0);
}
