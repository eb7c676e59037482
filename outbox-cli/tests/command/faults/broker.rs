//! Faults of the destination.

use super::endpoint::Endpoint;
use super::fault::Fault;
use super::fault::Now::{Grows, Is, Seldom};
use super::fault::{DEAD, DUE, PASS};
use super::{Case, PUBLISHED};
use crate::redis;
use crate::support::{SHOP, append_to, appended, events};
use axum::http::StatusCode;
use outbox_core::Event;
use outbox_dlq_redis::redis::{Client, cmd};
use outbox_transport_nats::async_nats::jetstream::stream::Config;
use outbox_transport_nats::async_nats::{self, jetstream};
use std::time::Duration;
use tempfile::TempDir;
use test_servers::{Server, search_path};

const MISCONFIGURED: &str =
    "outbox_breaker_open{store=\"default\",destination=\"*\",kind=\"misconfigured\"}";
const UNAVAILABLE: &str =
    "outbox_breaker_open{store=\"default\",destination=\"*\",kind=\"unavailable\"}";
const DESTINATION_MISCONFIGURED: &str =
    "outbox_breaker_open{store=\"default\",destination=\"DESTINATION\",kind=\"misconfigured\"}";

fn shop() -> TempDir {
    let folder = TempDir::new().unwrap();
    appended(folder.path(), &[]);
    folder
}

/// Appends an event, and waits until the relay has published it.
fn publishes(case: &Case) {
    append_to(case.folder(), "shop", &events("order.placed", 1));
    case.until_published(1);
}

pub(super) const PASSWORD: Fault = Fault {
    name: "wrong password of the broker",
    ready: 200,
    health: &["misconfigured", "behind"],
    series: &[(MISCONFIGURED, Is(1)), (DUE, Grows), (PASS, Seldom)],
    alerts: &["OutboxBehind", "OutboxMisconfigured", "OutboxNoProgress"],
    status: "NOT PUBLISHING: broker misconfigured",
    failing: &["pause"],
    doctor: &["error destination", "error pauses", "warning progress"],
};

#[test]
fn a_password_of_a_broker_that_changes() {
    let server = redis::start(
        redis::free_port(),
        &[
            "--requirepass",
            "old",
            "--appendonly",
            "yes",
            "--maxmemory-policy",
            "noeviction",
        ],
    );
    let client = |password: &str| {
        let url = server
            .url()
            .replace("redis://", &format!("redis://:{password}@"));
        Client::open(url).unwrap().get_connection().unwrap()
    };
    let mut old = client("old");
    cmd("XADD")
        .arg(&["orders", "*", "a", "1"])
        .exec(&mut old)
        .unwrap();
    let to = server.url().replace("redis://", "redis://:old@");
    let folder = shop();
    let case = Case::start(
        folder.path(),
        SHOP,
        &format!("{to}/?stream=orders"),
        "orders",
    );
    publishes(&case);
    cmd("CONFIG")
        .arg(&["SET", "requirepass", "new"])
        .exec(&mut old)
        .unwrap();
    cmd("CLIENT")
        .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
        .exec(&mut old)
        .unwrap();
    append_to(folder.path(), "shop", &events("order.placed", 3));
    PASSWORD.is_seen(&case);
}

pub(super) const GONE: Fault = Fault {
    name: "broker gone",
    ready: 200,
    health: &["unavailable", "behind"],
    series: &[(UNAVAILABLE, Is(1)), (DUE, Grows), (PASS, Seldom)],
    alerts: &["OutboxBehind", "OutboxBreakerOpen", "OutboxNoProgress"],
    status: "NOT PUBLISHING: broker unavailable",
    failing: &["pause"],
    doctor: &["error destination", "error pauses", "warning progress"],
};

pub(super) const MISSING: Fault = Fault {
    name: "stream missing",
    ready: 200,
    health: &["misconfigured", "behind"],
    series: &[(DESTINATION_MISCONFIGURED, Is(1)), (DUE, Grows)],
    alerts: &["OutboxBehind", "OutboxMisconfigured", "OutboxNoProgress"],
    status: "1 relay, 1 destination gets no events; oldest due event",
    failing: &["pause"],
    doctor: &["error pauses", "warning progress"],
};

fn nats() -> (Server, jetstream::Context, tokio::runtime::Runtime) {
    let server = Server::start_nats(&search_path(), "").expect("started");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let context = runtime.block_on(async {
        let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
        let config = Config {
            name: "orders".to_owned(),
            subjects: vec!["orders.>".to_owned()],
            ..Config::default()
        };
        context.create_stream(config).await.unwrap();
        context
    });
    (server, context, runtime)
}

/// A relay that has published an event to the stream.
fn to_the_stream(server: &Server, folder: &TempDir) -> Case {
    let to = format!("{}?subject=orders.{{type}}&timeout=1s", server.url());
    let case = Case::start(folder.path(), SHOP, &to, "orders.order.placed");
    publishes(&case);
    case
}

#[test]
fn a_broker_that_is_gone() {
    let (mut server, ..) = nats();
    let folder = shop();
    let case = to_the_stream(&server, &folder);
    server.kill().unwrap();
    append_to(folder.path(), "shop", &events("order.placed", 3));
    GONE.is_seen(&case);
    server.restart().unwrap();
    case.until_published(4);
}

#[test]
fn a_stream_that_is_removed() {
    let (server, context, runtime) = nats();
    let folder = shop();
    let case = to_the_stream(&server, &folder);
    runtime.block_on(context.delete_stream("orders")).unwrap();
    append_to(folder.path(), "shop", &events("order.placed", 3));
    MISSING.is_seen(&case);
}

pub(super) const FULL: Fault = Fault {
    name: "disk full at the destination",
    ready: 200,
    health: &["unavailable", "behind"],
    series: &[(UNAVAILABLE, Is(1)), (DUE, Grows), (PASS, Seldom)],
    alerts: &["OutboxBehind", "OutboxBreakerOpen", "OutboxNoProgress"],
    status: "NOT PUBLISHING: broker unavailable",
    failing: &["pause"],
    doctor: &["error pauses", "warning progress"],
};

#[test]
fn a_full_disk_of_a_destination() {
    let folder = shop();
    let case = Case::start(folder.path(), SHOP, "file:/dev/full", "*");
    append_to(folder.path(), "shop", &events("order.placed", 3));
    FULL.is_seen(&case);
}

pub(super) const FLOOD: Fault = Fault {
    name: "flood of dead letters",
    ready: 200,
    health: &[],
    series: &[(DEAD, Grows)],
    alerts: &["OutboxDeadLettersGrow"],
    status: "1 relay; nothing is due",
    failing: &["dead_letters"],
    doctor: &[],
};

#[test]
fn a_flood_of_dead_letters() {
    let endpoint = Endpoint::new(StatusCode::PAYLOAD_TOO_LARGE, Duration::ZERO);
    let folder = shop();
    let case = Case::start(folder.path(), SHOP, &endpoint.to(), &endpoint.name());
    append_to(folder.path(), "shop", &events("order.placed", 500));
    FLOOD.is_seen_while(&case, || {
        append_to(folder.path(), "shop", &events("order.placed", 500));
    });
}

pub(super) const SLOW: Fault = Fault {
    name: "slow destination",
    ready: 200,
    health: &["behind"],
    series: &[(PUBLISHED, Grows), (DUE, Grows)],
    alerts: &["OutboxBehind"],
    status: "1 relay, publishing; oldest due event",
    failing: &[],
    doctor: &["warning progress"],
};

#[test]
fn a_slow_destination() {
    let endpoint = Endpoint::new(StatusCode::OK, Duration::from_millis(50));
    let folder = shop();
    let flags = ["--batch-size", "5", "--to", &endpoint.to()];
    let case = Case::with(folder.path(), SHOP, &flags, &endpoint.name());
    let keyed = |event: Event| event.ordering_key("k");
    let events: Vec<Event> = events("order.placed", 10_000)
        .into_iter()
        .map(keyed)
        .collect();
    append_to(folder.path(), "shop", &events);
    SLOW.is_seen(&case);
}
