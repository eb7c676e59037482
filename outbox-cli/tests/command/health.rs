//! What a relay shows over HTTP.

use crate::postgres::Shop;
use crate::support::{
    Running, SHOP, appended, appended_to, command, done, events, json, refused, signal, until,
};
use outbox_core::Event;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use test_servers::{Kind, Server, search_path};

const HOUR: Duration = Duration::from_secs(3600);

/// The next sample comes soon.
const QUICK: &[&str] = &["--sample-interval", "50ms", "--poll-interval", "50ms"];

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// A relay that listens.
pub(crate) struct Shown {
    address: SocketAddr,
    pub(crate) relay: Running,
}

impl Shown {
    pub(crate) fn start(relay: impl FnOnce(&[&str]) -> Command) -> Self {
        let address = free_address();
        let text = address.to_string();
        let arguments = [&["relay", "--listen", &text], QUICK].concat();
        let relay = Running::start(relay(&arguments));
        let shown = Self { address, relay };
        until("a listener", || TcpStream::connect(address).is_ok());
        shown
    }

    /// On the SQLite store of the folder.
    fn on(folder: &Path, more: &[&str]) -> Self {
        Self::start(|arguments| command(folder, &[arguments, &["--store", SHOP], more].concat()))
    }

    pub(crate) fn page(&self, path: &str) -> (u16, String) {
        page(self.address, path).unwrap()
    }

    /// The status and the findings of a page.
    pub(crate) fn findings(&self, path: &str) -> (u16, Vec<Value>) {
        let (code, body) = self.page(path);
        (code, json(&body)["findings"].as_array().unwrap().clone())
    }

    /// Waits until `/healthz` is well, or has one finding of this status, which it returns.
    pub(crate) fn until_finding(&self, status: &str) -> Value {
        let mut found = Value::Null;
        until(status, || {
            let (code, findings) = self.findings("/healthz");
            let one = findings.iter().find(|one| one["status"] == status);
            assert_eq!(code == 200, findings.is_empty());
            found = one.cloned().unwrap_or_default();
            !found.is_null()
        });
        found
    }

    pub(crate) fn until_well(&self) {
        for path in ["/readyz", "/healthz"] {
            until(path, || self.page(path).0 == 200);
        }
    }

    /// The value of a metric, by the whole text in front of it.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = self.page("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(series))?;
        line.trim().parse().ok()
    }

    pub(crate) fn is_live(&self) {
        assert_eq!(self.page("/livez"), (200, "ok\n".to_owned()));
    }
}

fn page(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let code = head.split(' ').nth(1).expect("a status");
    Ok((code.parse().expect("a number"), body.to_owned()))
}

/// Events that have been due for an hour.
pub(crate) fn old_events(count: usize) -> Vec<Event> {
    let mut events = events("order.placed", count);
    for event in &mut events {
        event.created_at = SystemTime::now() - HOUR;
    }
    events
}

#[test]
fn a_healthy_store_is_live_ready_and_makes_progress() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &events("order.placed", 3));
    let mut shown = Shown::on(folder, &["--to", "file:out"]);
    shown.until_well();
    shown.is_live();
    let published = "outbox_published_total{store=\"default\",destination=\"*\"}";
    until("the events", || shown.metric(published) == Some(3.0));
    until("a sample", || {
        shown.metric("outbox_pending{store=\"default\"}") == Some(0.0)
    });
    assert_eq!(
        shown.metric("outbox_store_up{store=\"default\"}"),
        Some(1.0)
    );
    let delays = "outbox_delay_seconds_count{store=\"default\",destination=\"*\"}";
    assert_eq!(shown.metric(delays), Some(3.0));
    let (_, body) = shown.page("/healthz");
    assert_eq!(json(&body)["stores"][0]["store"], "default");
    assert_eq!(shown.page("/nothing").0, 404);
    shown.relay.stop();
}

#[test]
fn a_healthy_postgres_store_is_live_ready_and_makes_progress() {
    let shop = Shop::migrated();
    shop.appended(&events("order.placed", 3));
    let mut shown =
        Shown::start(|arguments| shop.command(&[arguments, &["--to", "file:out"]].concat()));
    shown.until_well();
    shown.is_live();
    let published = "outbox_published_total{store=\"default\",destination=\"*\"}";
    until("the events", || shown.metric(published) == Some(3.0));
    shown.relay.stop();
}

#[test]
fn a_broker_that_is_gone_is_a_finding_after_the_longest_age_and_kills_no_relay() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &events("order.placed", 3));
    let to = format!("nats://me:hush-4711@{}", free_address());
    let age = [
        "--to",
        &to,
        "--health-max-age",
        "1s",
        "--publish-timeout",
        "1s",
    ];
    let shown = Shown::on(folder, &age);
    let finding = shown.until_finding("unavailable");
    assert_eq!(finding["store"], "default");
    assert_eq!(finding["destination"], "*");
    assert!(!shown.page("/healthz").1.contains("hush"));
    let open = "outbox_breaker_open{store=\"default\",destination=\"*\",kind=\"unavailable\"}";
    assert_eq!(shown.metric(open), Some(1.0));
    shown.is_live();
    assert_eq!(shown.page("/readyz").0, 200);
}

#[test]
fn a_misconfigured_destination_is_a_finding_at_once() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &events("order.placed", 1));
    // No network is allowed, so this address is not public.
    let shown = Shown::on(folder, &["--to", "http://me:hush-4711@localhost/hooks"]);
    let finding = shown.until_finding("misconfigured");
    assert_eq!(finding["destination"], "http://localhost/hooks");
    let reason = finding["reason"].as_str().unwrap();
    assert!(reason.contains("a person must repair it"), "{reason}");
    assert!(!shown.page("/healthz").1.contains("hush"));
    assert!(!shown.page("/metrics").1.contains("hush"));
    shown.is_live();
}

#[test]
fn a_database_that_stops_is_not_ready_and_is_ready_again_when_it_returns() {
    let mut server = Server::start(Kind::Postgres, &search_path()).expect("a server");
    let url = server.url().to_owned();
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    done(folder, &["migrate", "--store", &url]);
    let quick = [
        "--store",
        &url,
        "--to",
        "file:out",
        "--store-retry-max",
        "100ms",
    ];
    let shown = Shown::start(|arguments| command(folder, &[arguments, &quick].concat()));
    shown.until_well();
    server.kill().expect("killed");
    let finding = shown.until_finding("unavailable");
    assert_eq!(finding["destination"], Value::Null);
    let (code, findings) = shown.findings("/readyz");
    assert_eq!((code, findings.len()), (503, 1));
    assert_eq!(
        shown.metric("outbox_store_up{store=\"default\"}"),
        Some(0.0)
    );
    shown.is_live();
    server.restart().expect("restarted");
    shown.until_well();
}

#[test]
fn a_backlog_that_no_relay_publishes_is_behind() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &old_events(10_000));
    let fifo = Command::new("mkfifo").arg(folder.join("fifo")).status();
    assert!(fifo.unwrap().success());
    // The FIFO has no reader.
    let shown = Shown::on(folder, &["--to", "file:fifo"]);
    let finding = shown.until_finding("behind");
    let reason = finding["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("the oldest due event has been due for 1h"),
        "{reason}"
    );
    assert_eq!(
        shown.metric("outbox_pending{store=\"default\"}"),
        Some(10_000.0)
    );
    assert!(shown.metric("outbox_oldest_due_age_seconds{store=\"default\"}") >= Some(3600.0));
    shown.is_live();
    assert_eq!(shown.page("/readyz").0, 200);
}

#[test]
fn a_store_that_cannot_be_opened_is_not_ready_and_its_neighbour_makes_progress() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let address = free_address();
    let table = |name: &str| {
        format!("[[store]]\nname = \"{name}\"\nurl = \"sqlite:{name}.db\"\nto = \"file:{name}\"\n")
    };
    let configured = |tables: &[String]| {
        let text = format!("[relay]\nlisten = \"{address}\"\n{}", tables.concat());
        fs::write(folder.join("outbox.toml"), text).unwrap();
    };
    configured(&[table("one"), table("dead")]);
    appended_to(folder, "one", &events("order.placed", 1));
    let relay = command(folder, &["relay", "--config", "outbox.toml"]);
    let mut shown = Shown {
        address,
        relay: Running::start(relay),
    };
    until("a listener", || TcpStream::connect(address).is_ok());
    let finding = shown.until_finding("not_open");
    assert_eq!(finding["store"], "dead");
    let up = "outbox_store_up{store=\"dead\"}";
    until("an alert", || shown.metric(up) == Some(0.0));
    let names = |(code, findings): (u16, Vec<Value>)| {
        let names: Vec<Value> = findings.iter().map(|one| one["store"].clone()).collect();
        (code, names)
    };
    until("the other store", || {
        names(shown.findings("/readyz")) == (503, vec![Value::from("dead")])
    });
    let published = "outbox_published_total{store=\"one\",destination=\"*\"}";
    until("the event", || shown.metric(published) == Some(1.0));
    shown.is_live();
    // Without the store nothing is wrong any more.
    configured(&[table("one")]);
    signal(&shown.relay.0, "HUP");
    until("a removal", || shown.page("/readyz").0 == 200);
    assert!(shown.metric(up).is_some_and(f64::is_nan));
    shown.relay.stop();
}

#[test]
fn a_relay_whose_configuration_comes_through_a_pipe_listens() {
    let folder = TempDir::new().unwrap();
    appended(folder.path(), &[]);
    let address = free_address();
    let arguments = ["relay", "--store", SHOP, "--config", "/dev/stdin"];
    let mut relay = command(folder.path(), &arguments);
    relay.stdin(Stdio::piped());
    let mut relay = Running::start(relay);
    let text = format!("[relay]\nlisten = \"{address}\"\nto = \"file:out\"\n");
    let mut pipe = relay.0.stdin.take().unwrap();
    pipe.write_all(text.as_bytes()).unwrap();
    drop(pipe);
    until("a listener", || TcpStream::connect(address).is_ok());
    relay.stop();
}

#[test]
fn a_reload_that_would_listen_elsewhere_says_that_it_does_not() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &[]);
    let (before, after) = (free_address(), free_address());
    let configured = |address: SocketAddr| {
        let text = format!("[relay]\nlisten = \"{address}\"\nto = \"file:out\"\n");
        fs::write(folder.join("outbox.toml"), text).unwrap();
    };
    configured(before);
    let arguments = ["relay", "--store", SHOP, "--config", "outbox.toml"];
    let log = fs::File::create(folder.join("log")).unwrap();
    let mut relay = command(folder, &arguments);
    let mut relay = Running(relay.stderr(log).spawn().unwrap());
    until("a listener", || TcpStream::connect(before).is_ok());
    configured(after);
    signal(&relay.0, "HUP");
    let expected = format!("listen is {before} until a restart, then {after}");
    until("a warning", || {
        fs::read_to_string(folder.join("log")).is_ok_and(|log| log.contains(&expected))
    });
    assert!(TcpStream::connect(before).is_ok());
    relay.stop();
}

#[test]
fn slow_clients_and_large_requests_hold_no_listener() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &[]);
    let shown = Shown::on(folder, &["--to", "file:out"]);
    // More than may be served at a time.
    let mut silent: Vec<TcpStream> = (0..150)
        .map(|_| TcpStream::connect(shown.address).unwrap())
        .collect();
    silent[0].write_all(b"GET /livez HTTP/1.1\r\n").unwrap();
    shown.is_live();
    let mut rest = Vec::new();
    silent[0]
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    silent[0].read_to_end(&mut rest).expect("an end");
    let rest = String::from_utf8(rest).unwrap();
    assert!(!rest.contains(" 200 "), "{rest}");
    let (code, _) = page(shown.address, &"/x".repeat(20_000)).unwrap_or((431, String::new()));
    assert!([414, 431].contains(&code), "{code}");
    shown.is_live();
}

#[test]
fn two_hundred_destinations_have_a_hundred_labels_and_other() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let events: Vec<Event> = (0..200)
        .map(|number| Event::new(format!("type-{number}"), "{}"))
        .collect();
    appended(folder, &events);
    let shown = Shown::on(folder, &["--to", "http://localhost/hooks/{type}"]);
    let series = || {
        let (_, text) = shown.page("/metrics");
        let lines = text.lines();
        lines
            .filter(|line| line.starts_with("outbox_breaker_open{"))
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(name, value)| (name.to_owned(), value.parse::<f64>().unwrap()))
            .collect::<Vec<_>>()
    };
    until("all breakers", || {
        series().iter().map(|(_, open)| open).sum::<f64>() > 199.0
    });
    let series = series();
    assert_eq!(series.len(), 101);
    let other = series
        .iter()
        .find(|(name, _)| name.contains("destination=\"other\""));
    assert!((other.unwrap().1 - 100.0).abs() < f64::EPSILON);
}

#[test]
fn a_port_in_use_is_an_error_that_names_the_address() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &[]);
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let relay = ["relay", "--store", SHOP, "--listen", &address];
    refused(folder, &relay, 1, &["cannot listen on", &address, "in use"]);
}

#[test]
fn a_healthcheck_is_0_while_the_relay_answers_well_and_else_1() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &[]);
    let shown = Shown::on(folder, &["--to", "http://localhost/hooks"]);
    shown.until_well();
    let port = shown.address.port();
    let all = format!("0.0.0.0:{port}");
    let check = |check: &str, listen: &str| {
        let mut check = command(folder, &["relay", check]);
        check.env("OUTBOX_LISTEN", listen);
        let output = check.output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), errors)
    };
    for page in ["", "=livez", "=readyz", "=healthz"] {
        let well = check(&format!("--healthcheck{page}"), &all);
        assert_eq!(well, (Some(0), String::new()), "{page}");
    }
    appended(folder, &events("order.placed", 1));
    shown.until_finding("misconfigured");
    assert_eq!(check("--healthcheck", &all).0, Some(0));
    let (code, errors) = check("--healthcheck=healthz", &all);
    assert_eq!(code, Some(1));
    assert!(errors.contains("misconfigured"), "{errors}");
    drop(shown);
    assert_eq!(check("--healthcheck", &all).0, Some(1));
    refused(
        folder,
        &["relay", "--healthcheck"],
        1,
        &["does not listen", "OUTBOX_LISTEN"],
    );
}
