//! HTTP endpoints.

use super::{PASSWORD, Place, checked, port_of_no_server};
use crate::postgres::Shop;
use crate::support::{
    Running, SHOP, appended, command, done, events, json, open, outbox, refused, status, until,
};
use outbox_core::Event;
use outbox_transport_http::reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use outbox_transport_http::{read, read_batch};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use tempfile::TempDir;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A server with one endpoint, which keeps what it gets.
struct Endpoint {
    port: u16,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    exists: bool,
    is_gone: bool,
    requests: Vec<(String, HeaderMap, Vec<u8>)>,
}

impl Endpoint {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let kept = Arc::<Mutex<Kept>>::default();
        let shared = Arc::clone(&kept);
        thread::spawn(move || {
            for client in listener.incoming() {
                let kept = Arc::clone(&shared);
                thread::spawn(move || serve(client.unwrap(), &kept));
            }
        });
        Self { port, kept }
    }

    fn to(&self, parameters: &str) -> String {
        let port = self.port;
        format!(
            "http://me:{PASSWORD}@127.0.0.1:{port}/hooks/{{type}}?form=1#allow=127.0.0.0/8{parameters}"
        )
    }

    fn requests(&self) -> Vec<(String, HeaderMap, Vec<u8>)> {
        self.kept.lock().unwrap().requests.clone()
    }
}

fn serve(mut client: TcpStream, kept: &Mutex<Kept>) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let mut first = String::new();
    while reader.read_line(&mut first).is_ok_and(|read| read > 0) {
        let mut headers = HeaderMap::new();
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap() > 2 {
            let (name, value) = line.trim_end().split_once(": ").unwrap();
            let value = HeaderValue::from_str(value).unwrap();
            headers.insert(name.parse::<HeaderName>().unwrap(), value);
            line.clear();
        }
        let length = headers.get("content-length");
        let length = length.map_or(0, |length| length.to_str().unwrap().parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let mut kept = kept.lock().unwrap();
        let status = match (kept.exists, first.starts_with("POST")) {
            (_, true) if kept.is_gone => "410 Gone",
            (false, _) => "404 Not Found",
            (true, false) => "204 No Content",
            (true, true) => {
                kept.requests.push((first.clone(), headers, body));
                "200 OK"
            }
        };
        drop(kept);
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        client.write_all(answer.as_bytes()).unwrap();
        first.clear();
    }
}

impl Place for Endpoint {
    fn url(&self) -> String {
        self.to("").replace("{type}", "orders")
    }

    fn create(&self) {
        self.kept.lock().unwrap().exists = true;
    }

    fn arrived(&self) -> Vec<Event> {
        let requests = self.requests().into_iter();
        requests
            .map(|(_, headers, body)| read(&headers, body).unwrap())
            .collect()
    }
}

#[test]
fn events_arrive_at_an_endpoint_and_a_missing_endpoint_is_named() {
    super::takes_the_events_of_both_stores(&Endpoint::new());
}

#[test]
fn an_endpoint_that_is_away_is_a_problem() {
    let port = port_of_no_server();
    let to = format!("http://me:{PASSWORD}@127.0.0.1:{port}/#allow=127.0.0.0/8&timeout=2s");
    super::is_not_ready(&to, "unavailable", "error sending request");
}

/// The message shows the secret in none of its places.
#[test]
fn a_secret_comes_from_the_environment_or_a_file_only() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    fs::write(folder.join("none"), "\n").unwrap();
    fs::write(folder.join("wrong"), PASSWORD).unwrap();
    for (secret, reason) in [
        (SECRET, "it must be env:NAME or file:PATH"),
        (PASSWORD, "it must be env:NAME or file:PATH"),
        ("env:OUTBOX_NO_SECRET", "\"OUTBOX_NO_SECRET\""),
        ("file:missing", "\"missing\""),
        ("file:none", "one or more"),
        ("file:wrong", "whsec_"),
    ] {
        let to = format!("http://hooks.example/#secret={secret}");
        refused(folder, &["check", "--to", &to], 2, &[reason]);
        let errors = String::from_utf8(outbox(folder, &["check", "--to", &to]).stderr).unwrap();
        assert!(
            !errors.contains(SECRET) && !errors.contains(PASSWORD),
            "{errors}"
        );
    }
}

#[test]
fn each_part_of_a_url_that_is_wrong_is_named() {
    let folder = TempDir::new().unwrap();
    let ours = "secret, allow, batch, requests, requests_per_endpoint, form, source, timeout";
    for (to, reason) in [
        (
            "https://me:hush-4711@h/hush-4711?a=1#secret=env:X&verify=hush-4711",
            ours,
        ),
        ("http://me:hush-4711/x@h", "'@' behind its host"),
        ("http://h/#allow=hush", "10.0.0.0/8"),
        ("http://h/#batch=100", "ndjson:EVENTS"),
        (
            "http://h/#batch=ndjson:100",
            "form is raw, but must be cloudevents-structured",
        ),
        (
            "http://h/#requests=4",
            "requests per endpoint are 8, but must be 1 to 4",
        ),
        ("http://{type}.example/", "placeholder in its host"),
        (
            "http://h/#timeout=10s",
            "shorter than the publish timeout (10s)",
        ),
        ("http://h/#form=raw&form=raw", "more than one form"),
    ] {
        refused(folder.path(), &["check", "--to", to], 2, &[reason]);
        let errors = outbox(folder.path(), &["check", "--to", to]).stderr;
        let errors = String::from_utf8(errors).unwrap();
        assert!(!errors.contains(PASSWORD), "{errors}");
    }
}

#[test]
fn requests_are_signed_with_the_secrets_of_a_file_or_a_variable() {
    let endpoint = Endpoint::new();
    endpoint.create();
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    fs::write(folder.join("secrets"), format!("{SECRET}\n{SECRET}\n")).unwrap();
    for secret in ["env:HOOK", "file:secrets"] {
        appended(folder, &events("order.placed", 1));
        let to = endpoint.to(&format!("&secret={secret}"));
        let relay = ["relay", "--drain", "--store", SHOP, "--to", &to];
        let output = command(folder, &relay)
            .env("HOOK", SECRET)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let requests = endpoint.requests();
    let count = |headers: &HeaderMap| {
        headers["webhook-signature"]
            .to_str()
            .unwrap()
            .split(' ')
            .count()
    };
    let signatures: Vec<usize> = requests
        .iter()
        .map(|(_, headers, _)| count(headers))
        .collect();
    assert_eq!(signatures, [1, 2]);
    let (first, headers, _) = &requests[0];
    // The query is the endpoint's own.
    assert_eq!(first, "POST /hooks/order.placed?form=1 HTTP/1.1\r\n");
    assert!(
        headers["authorization"]
            .to_str()
            .unwrap()
            .starts_with("Basic ")
    );
}

#[test]
fn a_batch_is_one_request() {
    let endpoint = Endpoint::new();
    endpoint.create();
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &events("order.placed", 50));
    let to = endpoint.to("&batch=ndjson:100&form=cloudevents-structured");
    done(folder, &["relay", "--drain", "--store", SHOP, "--to", &to]);
    let requests = endpoint.requests();
    assert!(requests.len() < 10, "{}", requests.len());
    let read = requests
        .iter()
        .map(|(_, headers, body)| read_batch(headers, body.clone()).unwrap().len());
    assert_eq!(read.sum::<usize>(), 50);
}

/// Without a network that is allowed, nothing is sent to this machine, and no event is blamed.
#[test]
fn an_address_that_is_not_public_is_refused() {
    let endpoint = Endpoint::new();
    endpoint.create();
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &events("order.placed", 1));
    let port = endpoint.port;
    let literal = format!("http://127.0.0.1:{port}/");
    let reasons = ["address is 127.0.0.1 (loopback)", "allowed network"];
    refused(folder, &["check", "--to", &literal], 2, &reasons);
    let named = format!("http://localhost:{port}/");
    let found = checked(folder, &named, 3);
    assert_eq!(found["problems"][0]["kind"], "misconfigured", "{found}");
    let drain = [
        "relay",
        "--drain",
        "--drain-timeout",
        "1s",
        "--store",
        SHOP,
        "--to",
        &named,
    ];
    assert_eq!(outbox(folder, &drain).status.code(), Some(1));
    assert_eq!(
        (status(folder, "pending"), status(folder, "dead_letters")),
        (1.into(), 0.into())
    );
    assert!(endpoint.requests().is_empty());
}

/// Events of two customers, one of which has an endpoint in the table.
fn of_customers() -> Vec<Event> {
    let event = |event: Event, customer| event.header("customer", customer);
    let events = events("order.placed", 2).into_iter();
    let events = events.zip(["7", "8"]);
    events
        .map(|(each, customer)| event(each, customer))
        .collect()
}

const TABLE: &str = "CREATE TABLE customers (id text, url text, secret text)";

/// The destination that a query finds, in the store's database unless `more` names another one.
fn webhooks(more: &str) -> String {
    let query = "SELECT id, url, secret FROM customers";
    format!("webhooks:{{header:customer}}#query={query}&refresh=50ms&allow=127.0.0.0/8{more}")
}

#[test]
fn each_customer_has_the_endpoint_of_a_table_in_sqlite() {
    let endpoint = Endpoint::new();
    endpoint.create();
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &of_customers());
    let database = open(folder);
    database.execute_batch(TABLE).unwrap();
    let port = endpoint.port;
    let insert = |id: &str| {
        let url = format!("http://127.0.0.1:{port}/{id}?form=1");
        let row = (id, url, (id == "7").then_some(SECRET));
        database
            .execute("INSERT INTO customers VALUES (?, ?, ?)", row)
            .unwrap();
    };
    insert("7");
    let quick = ["--breaker-initial", "10ms", "--breaker-max", "50ms"];
    let relay = ["relay", "--store", SHOP, "--to", &webhooks("")];
    let mut running = Running::start(command(folder, &[&relay[..], &quick].concat()));
    until("the event of the customer in the table", || {
        status(folder, "pending") == 1
    });
    insert("8");
    until("that of the other one", || status(folder, "pending") == 0);
    running.stop();
    let requests = endpoint.requests().into_iter();
    let arrived =
        requests.map(|(first, headers, _)| (first, headers.contains_key("webhook-signature")));
    let path = |id: &str| format!("POST /{id}?form=1 HTTP/1.1\r\n");
    assert_eq!(
        arrived.collect::<Vec<_>>(),
        [(path("7"), true), (path("8"), false)]
    );
    assert_eq!(status(folder, "dead_letters"), 0);
    let to = webhooks("&database=env:PLACE");
    let mut check = command(folder, &["check", "--to", &to]);
    let output = check.env("PLACE", SHOP).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("endpoints that can be used: 2"), "{text}");
}

#[test]
fn each_customer_has_the_endpoint_of_a_table_in_postgres() {
    let endpoint = Endpoint::new();
    endpoint.create();
    let shop = Shop::migrated();
    shop.appended(&of_customers()[..1]);
    let port = endpoint.port;
    let insert = format!(
        "SET search_path = public; {TABLE}; INSERT INTO customers VALUES ('7', 'http://127.0.0.1:{port}/seven', '{SECRET}')"
    );
    shop.execute(&insert);
    shop.done(&["relay", "--drain", "--to", &webhooks("")]);
    let [(first, headers, _)] = &endpoint.requests()[..] else {
        panic!("expected one request");
    };
    assert_eq!(first, "POST /seven HTTP/1.1\r\n");
    assert!(headers.contains_key("webhook-signature"));
}

#[test]
fn a_table_that_cannot_be_used_is_named() {
    let folder = TempDir::new().unwrap();
    for (to, reason) in [
        ("webhooks:{customer}#query=SELECT", "character 1"),
        ("webhooks:{key}", "query=SELECT id, url, secret FROM"),
        ("webhooks:{key}#query=file:missing", "\"missing\""),
        ("webhooks:{key}#query=SELECT", "database=env:NAME"),
        (
            "webhooks:{key}#query=SELECT&database=sqlite:hush-4711",
            "must be env:NAME",
        ),
        (
            "webhooks:{key}#query=SELECT&secret=env:X",
            "unknown parameter \"secret\"",
        ),
    ] {
        refused(folder.path(), &["check", "--to", to], 2, &[reason]);
    }
}

/// The events that wait for a destination continue when it answers for a new one.
#[test]
fn an_endpoint_that_is_gone_is_off_until_a_person_switches_it_on() {
    let endpoint = Endpoint::new();
    endpoint.create();
    endpoint.kept.lock().unwrap().is_gone = true;
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let to = endpoint.to("");
    let drain = [
        "relay",
        "--drain",
        "--drain-timeout",
        "1s",
        "--store",
        SHOP,
        "--to",
        &to,
    ];
    appended(folder, &events("order.placed", 1));
    assert_eq!(outbox(folder, &drain).status.code(), Some(1));
    let list = ["destination", "list", "--store", SHOP];
    let name = format!("http://127.0.0.1:{}/hooks/order.placed", endpoint.port);
    let text = done(folder, &list);
    assert!(text.starts_with(&format!("{name}  off since ")), "{text}");
    assert!(
        text.ends_with(": the endpoint answered 410 Gone\n"),
        "{text}"
    );
    let listed = json(&done(folder, &[&list[..], &["--json"]].concat()));
    assert_eq!(listed["destination"], name);
    assert_eq!(listed["reason"], "the endpoint answered 410 Gone");
    // A relay that starts again sends it nothing, also when it is back.
    endpoint.kept.lock().unwrap().is_gone = false;
    appended(folder, &events("order.placed", 1));
    assert_eq!(outbox(folder, &drain).status.code(), Some(1));
    assert!(endpoint.requests().is_empty());
    assert_eq!(
        (status(folder, "pending"), status(folder, "dead_letters")),
        (2.into(), 0.into())
    );
    done(folder, &["destination", "enable", &name, "--store", SHOP]);
    refused(
        folder,
        &["destination", "enable", &name, "--store", SHOP],
        1,
        &["is not off"],
    );
    assert_eq!(done(folder, &list), "");
    appended(folder, &events("order.placed", 1));
    done(folder, &drain);
    assert!(!endpoint.requests().is_empty());
}

#[test]
fn a_person_switches_a_destination_off_also_in_postgres() {
    let endpoint = Endpoint::new();
    endpoint.create();
    let shop = Shop::migrated();
    shop.appended(&events("order.placed", 1));
    let name = format!("http://127.0.0.1:{}/hooks/order.placed", endpoint.port);
    for _again in 0..2 {
        shop.done(&["destination", "disable", &name, "--reason", "they asked"]);
    }
    let text = shop.done(&["destination", "list"]);
    assert!(
        text.starts_with(&name) && text.ends_with(": they asked\n"),
        "{text}"
    );
    let to = endpoint.to("");
    let drain = ["relay", "--drain", "--drain-timeout", "1s", "--to", &to];
    let drained = shop.command(&drain).output().unwrap();
    assert_eq!(drained.status.code(), Some(1));
    assert!(endpoint.requests().is_empty());
    shop.done(&["destination", "enable", &name]);
    let text = shop.done(&["destination", "list"]);
    assert_eq!(text, "");
}
