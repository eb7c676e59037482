//! How a relay ends: at a signal, and with its files closed.
#![cfg(unix)]

use crate::support::{
    Running, SHOP, appended, arrived, command, done, events, outbox, status, until,
};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;

/// A copy of the database file alone, as a backup makes it.
fn copied(folder: &Path) -> &'static str {
    let copy = folder.join("copy.db");
    let _ = fs::remove_file(&copy);
    fs::copy(folder.join("shop.db"), copy).unwrap();
    "sqlite:copy.db"
}

#[test]
fn after_a_migration_the_file_alone_has_the_tables() {
    for _ in 0..10 {
        let folder = TempDir::new().unwrap();
        let folder = folder.path();
        done(folder, &["migrate", "--store", SHOP]);
        assert!(!folder.join("shop.db-wal").exists());
        done(folder, &["migrate", "check", "--store", copied(folder)]);
    }
}

#[test]
fn after_a_signal_a_drain_or_an_error_the_file_alone_has_what_was_settled() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let pending = |store| {
        let status = done(folder, &["status", "--json", "--store", store]);
        crate::support::json(&status)["pending"].clone()
    };
    appended(folder, &events("order.placed", 5));
    let to_file = ["relay", "--to", "file:out", "--store", SHOP];
    let mut running = Running::start(command(folder, &to_file));
    until("settled events", || status(folder, "pending") == 0);
    assert_eq!(arrived(&folder.join("out")).len(), 5);
    running.stop();
    assert_eq!(pending(copied(folder)), 0);

    appended(folder, &events("order.placed", 5));
    done(folder, &["relay", "--drain", "--store", SHOP]);
    assert_eq!(pending(copied(folder)), 0);

    appended(folder, &events("order.placed", 5));
    let failed = outbox(folder, &["relay", "--to", "file:none/out", "--store", SHOP]);
    assert_eq!(failed.status.code(), Some(2));
    assert_eq!(pending(copied(folder)), 5);
    assert!(!folder.join("shop.db-wal").exists());
}

#[test]
fn a_relay_that_waits_for_its_store_or_its_heap_ends_at_the_first_signal() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &[]);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let store = format!("postgres://me@{address}/shop?sslmode=disable");
    let heap = format!("redis://{address}/");
    for urls in [
        &["--store", &store][..],
        &["--store", SHOP, "--heap", &heap],
    ] {
        let mut running = Running::start(command(folder, &[&["relay"][..], urls].concat()));
        let connection = silent.accept().unwrap();
        running.stop();
        drop(connection);
    }
}

#[test]
fn a_relay_whose_database_is_replaced_or_removed_ends_with_a_message() {
    let changes: &[fn(&Path)] = &[
        |folder| fs::rename(folder.join("restored.db"), folder.join("shop.db")).unwrap(),
        |folder| fs::remove_file(folder.join("shop.db")).unwrap(),
        |folder| fs::remove_file(folder.join("shop.db-wal")).unwrap(),
    ];
    for change in changes {
        let folder = TempDir::new().unwrap();
        let folder = folder.path();
        done(folder, &["migrate", "--store", "sqlite:restored.db"]);
        appended(folder, &events("order.placed", 1));
        let relay = [
            "relay",
            "--to",
            "file:out",
            "--store",
            SHOP,
            "--poll-interval",
            "20ms",
        ];
        let mut relay = command(folder, &relay);
        let running = relay.stderr(Stdio::piped()).spawn().unwrap();
        until("the event", || arrived(&folder.join("out")).len() == 1);
        change(folder);
        let output = running.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains("shop.db"), "{errors}");
    }
}
