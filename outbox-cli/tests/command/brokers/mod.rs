//! Real brokers as destinations.

mod http;
mod nats;
mod postgres;
mod rabbitmq;
mod redis;
mod url;

use crate::postgres::Shop;
use crate::support::{
    Running, SHOP, appended, command, done, events, json, outbox, refused, signal, status, until,
};
use outbox_core::{Event, EventId};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;
use test_servers::{Kind, Server};
use tokio::net::TcpSocket;

const PASSWORD: &str = "hush-4711";

/// A place at a broker, of one test.
trait Place {
    /// The URL with the parameters of this place.
    fn url(&self) -> String;

    /// Creates it.
    fn create(&self);

    /// The events that have arrived, in their order.
    fn arrived(&self) -> Vec<Event>;
}

fn shared(kind: Kind) -> String {
    test_servers::url(kind).unwrap_or_else(|error| panic!("{error}"))
}

/// A name that no other test has.
fn unique() -> String {
    format!("cli_{}", EventId::new().as_uuid().simple())
}

/// It refuses connections until the process of the test ends, so no other program can get it.
pub(crate) fn port_of_no_server() -> u16 {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    std::mem::forget(socket);
    port
}

/// What `outbox check` found. Nothing that it or a driver writes has a password.
fn checked(folder: &Path, to: &str, code: i32) -> Value {
    let mut check = command(folder, &["check", "--json", "--to", to]);
    let output = check.env("RUST_LOG", "debug").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{to}: {text}{errors}");
    assert!(!text.contains(PASSWORD), "{text}");
    assert!(!errors.contains(PASSWORD), "{errors}");
    let found = json(&text);
    assert_eq!(found["ready"], code == 0, "{found}");
    assert_eq!(found["problems"] == json("[]"), code == 0, "{found}");
    found
}

/// Asserts that a check finds one problem, and that a relay starts nevertheless and tells the same.
fn is_not_ready(to: &str, kind: &str, reason: &str) {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let found = checked(folder, to, 3);
    assert_eq!(found["problems"][0]["kind"], kind, "{found}");
    let error = found["problems"][0]["error"].as_str().unwrap();
    assert!(error.contains(reason), "{error}");
    let plain = outbox(folder, &["check", "--to", to]);
    let plain = String::from_utf8(plain.stdout).unwrap();
    assert!(plain.ends_with("ready        no\n"), "{plain}");
    appended(folder, &events("order.placed", 1));
    let drain = ["relay", "--drain", "--drain-timeout", "1s", "--store", SHOP];
    let output = outbox(folder, &[&drain[..], &["--to", to]].concat());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    for part in ["events cannot be published yet", reason, "not drained"] {
        assert!(errors.contains(part), "{errors}");
    }
    assert!(!errors.contains(PASSWORD), "{errors}");
    assert!(!errors.contains("lapin"), "{errors}");
    assert_eq!(status(folder, "dead_letters"), 0);
}

/// Events of both stores arrive in their order, after a check has said that they could.
fn takes_the_events_of_both_stores(place: &impl Place) {
    let folder = TempDir::new().unwrap();
    let (folder, to) = (folder.path(), place.url());
    let found = checked(folder, &to, 3);
    assert_eq!(found["problems"][0]["kind"], "misconfigured", "{found}");
    place.create();
    let found = checked(folder, &to, 0);
    assert!(!found["notes"].as_array().unwrap().is_empty(), "{found}");

    let in_order = |count| -> Vec<Event> {
        let keyed = |event: Event| event.ordering_key("k").header("name", "é\n");
        events("order.placed", count)
            .into_iter()
            .map(keyed)
            .collect()
    };
    let (first, second) = (in_order(3), in_order(2));
    appended(folder, &first);
    done(folder, &["relay", "--drain", "--store", SHOP, "--to", &to]);
    let shop = Shop::migrated();
    shop.appended(&second);
    shop.done(&["relay", "--drain", "--to", &to]);

    let arrived = place.arrived();
    let expected = first.iter().chain(&second);
    assert_eq!(arrived.len(), 5);
    for (arrived, sent) in arrived.iter().zip(expected) {
        assert_eq!(arrived.id, sent.id);
        assert_eq!(arrived.ordering_key, sent.ordering_key);
        assert_eq!(arrived.headers, sent.headers);
        assert_eq!(arrived.payload, sent.payload);
    }
}

/// A relay that starts while its broker is away publishes when the broker is there.
fn waits_for(mut server: Server, place: &impl Place) {
    let folder = TempDir::new().unwrap();
    let (folder, to) = (folder.path(), format!("{}&timeout=1s", place.url()));
    place.create();
    server.kill().unwrap();
    appended(folder, &events("order.placed", 2));
    let relay = ["relay", "--store", SHOP, "--to", &to];
    let quick = ["--breaker-initial", "10ms", "--breaker-max", "50ms"];
    let mut relay = command(folder, &[&relay[..], &quick].concat());
    let mut running = Running(relay.stderr(Stdio::piped()).spawn().unwrap());
    let log = BufReader::new(running.0.stderr.take().unwrap()).lines();
    let mut log = log.map(Result::unwrap);
    assert!(log.any(|line| line.contains("events cannot be published yet")));
    signal(&running.0, "HUP");
    server.restart().unwrap();
    until("an empty outbox", || status(folder, "pending") == 0);
    running.stop();
    assert_eq!(place.arrived().len(), 2);
    assert_eq!(status(folder, "dead_letters"), 0);
}

/// The demo sends its events through a broker, also a second time.
fn the_demo_runs_at(to: &str) {
    let folder = TempDir::new().unwrap();
    for _ in 0..2 {
        let report = done(folder.path(), &["demo", "--to", to]);
        for part in [
            "412 orders with 3064 events",
            "read back      3064",
            "quarantined       0",
            "order kept for 59 customers; every committed event is accounted for",
        ] {
            assert!(report.contains(part), "{report}");
        }
    }
}

/// What has the demo's name and is not the demo's stays.
fn the_demo_refuses(to: &str) {
    let folder = TempDir::new().unwrap();
    let reasons = ["outbox_demo", "not of this demo"];
    refused(folder.path(), &["demo", "--to", to], 2, &reasons);
}
