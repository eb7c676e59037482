//! What a request has: signatures that consumers in two languages accept, ids, times, logins, batches.

mod support;

use outbox_core::wire::{Mode, WireForm};
use outbox_core::{Event, PublishErrorKind as Kind, Transport};
use outbox_transport_http::reqwest::header::HeaderMap;
use outbox_transport_http::{Batch, HttpConfig, Secret, read, read_batch};
use standardwebhooks::Webhook;
use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use support::{Reply, Request, Server, config, event, open, publish_one};

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER: &str = "whsec_qrvM3e7/qrvM3e7/qrvM3e7/qrvM3e7/";

/// A server that keeps all requests, and answers with this status.
async fn keeping(status: fn(&Request) -> &'static str) -> (Server, Arc<Mutex<Vec<Request>>>) {
    let kept = Arc::<Mutex<Vec<Request>>>::default();
    let keep = Arc::clone(&kept);
    let server = Server::start(move |request| {
        let reply = Reply::status(status(&request));
        keep.lock().expect("no panic").push(request);
        reply
    });
    (server.await, kept)
}

fn accepted(_request: &Request) -> &'static str {
    "202 Accepted"
}

fn secrets(config: HttpConfig) -> HttpConfig {
    config.secrets([OLD, NEW].map(|secret| secret.parse::<Secret>().expect("a secret")))
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers[name].to_str().expect("a text")
}

#[tokio::test]
async fn a_request_is_signed_with_each_secret() {
    let (server, kept) = keeping(accepted).await;
    let transport = open(secrets(config(&server.url("/x"))));
    let event = event("order.placed");
    publish_one(&transport, event.clone()).await.unwrap();
    publish_one(&transport, event.clone()).await.unwrap();
    for request in &*kept.lock().unwrap() {
        assert_eq!(
            (&*request.method, header(&request.headers, "webhook-id")),
            ("POST", &*event.id.to_string())
        );
        for secret in [OLD, NEW] {
            Webhook::new(secret)
                .unwrap()
                .verify(&request.body, &request.headers)
                .unwrap();
        }
        let other = Webhook::new(OTHER).unwrap();
        assert!(other.verify(&request.body, &request.headers).is_err());
        let mut changed = request.body.clone();
        changed[0] ^= 1;
        let old = Webhook::new(OLD).unwrap();
        assert!(old.verify(&changed, &request.headers).is_err());
    }
}

/// A consumer without a library, in the language that most have at hand.
const PYTHON: &str = r#"
import base64, hashlib, hmac, sys, time
secret, id, timestamp, signatures = sys.argv[1:]
assert abs(time.time() - int(timestamp)) < 300
key = base64.b64decode(secret.removeprefix("whsec_"))
signed = f"{id}.{timestamp}.".encode() + sys.stdin.buffer.read()
expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
given = [each.split(",", 1) for each in signatures.split(" ")]
assert any(version == "v1" and hmac.compare_digest(value, expected) for version, value in given)
"#;

fn accepts(secret: &str, request: &Request, body: &[u8]) -> bool {
    let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let values = headers.map(|name| header(&request.headers, name));
    let mut python = Command::new("python3")
        .args(["-c", PYTHON, secret])
        .args(values)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("python3 must be installed for this test");
    let mut stdin = python.stdin.take().expect("an input");
    std::io::Write::write_all(&mut stdin, body).expect("written");
    drop(stdin);
    python.wait().expect("a status").success()
}

#[tokio::test]
async fn a_script_of_python_accepts_the_signatures() {
    let (server, kept) = keeping(accepted).await;
    let transport = open(secrets(config(&server.url("/x"))));
    let event = Event::new("order.placed", vec![0, 159, 146, 150, 10, 13]);
    publish_one(&transport, event).await.unwrap();
    let request = kept.lock().unwrap().pop().unwrap();
    assert!(accepts(OLD, &request, &request.body));
    assert!(accepts(NEW, &request, &request.body));
    assert!(!accepts(OTHER, &request, &request.body));
    assert!(!accepts(OLD, &request, b"changed"));
}

#[tokio::test]
async fn a_request_without_a_secret_has_an_id_and_no_signature() {
    let (server, kept) = keeping(accepted).await;
    let transport = open(config(&server.url("/x")));
    let event = event("x");
    publish_one(&transport, event.clone()).await.unwrap();
    let request = kept.lock().unwrap().pop().unwrap();
    assert_eq!(header(&request.headers, "webhook-id"), event.id.to_string());
    assert!(request.headers.contains_key("webhook-timestamp"));
    assert!(!request.headers.contains_key("webhook-signature"));
    assert!(header(&request.headers, "user-agent").starts_with("outbox/"));
}

#[tokio::test]
async fn a_login_of_the_url_is_sent_and_an_event_cannot_replace_it() {
    let (server, kept) = keeping(accepted).await;
    let url = server.url("/x").replace("http://", "http://me:p%40ss@");
    let names = [
        "authorization",
        "host",
        "webhook-id",
        "content-length",
        "transfer-encoding",
        "cookie",
    ];
    let odd = names
        .iter()
        .fold(event("x"), |event, name| event.header(*name, "evil"));
    publish_one(&open(config(&url)), odd.clone()).await.unwrap();
    let request = kept.lock().unwrap().pop().unwrap();
    assert_eq!(
        header(&request.headers, "authorization"),
        "Basic bWU6cEBzcw=="
    );
    assert_eq!(
        header(&request.headers, "host"),
        server.address().to_string()
    );
    assert_eq!(header(&request.headers, "webhook-id"), odd.id.to_string());
    let event = read(&request.headers, request.body).unwrap();
    assert_eq!(event.headers, odd.headers);
}

#[tokio::test]
async fn an_event_is_sent_to_the_url_of_its_template() {
    let (server, kept) = keeping(accepted).await;
    let url = server.url("/{header:tenant}/{type}?key={key}");
    let event = event("a/b").header("tenant", "../x").ordering_key("k&=");
    publish_one(&open(config(&url)), event).await.unwrap();
    let request = kept.lock().unwrap().pop().unwrap();
    assert_eq!(request.path, "/..%2Fx/a%2Fb?key=k%26%3D");
}

fn batches(server: &Server, batch: fn(NonZeroUsize) -> Batch, most: usize) -> HttpConfig {
    let form = WireForm::new(Mode::CloudEventsStructured);
    let batch = batch(NonZeroUsize::new(most).expect("more than 0"));
    secrets(config(&server.url("/x"))).form(form).batch(batch)
}

#[tokio::test]
async fn a_batch_is_one_signed_request_with_a_separate_id() {
    for batch in [Batch::CloudEvents, Batch::Ndjson] {
        let (server, kept) = keeping(accepted).await;
        let transport = open(batches(&server, batch, 100));
        let events = [(); 250].map(|()| event("x").header("traceparent", "00-a"));
        for _again in 0..2 {
            let answers = transport.publish(&events).await;
            assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        }
        let requests = kept.lock().unwrap();
        assert_eq!(requests.len(), 6);
        let (mut ids, mut arrived) = (HashSet::new(), HashSet::new());
        for request in &*requests {
            let webhook = Webhook::new(OLD).unwrap();
            webhook.verify(&request.body, &request.headers).unwrap();
            ids.insert(header(&request.headers, "webhook-id"));
            for event in read_batch(&request.headers, request.body.clone()).unwrap() {
                assert_eq!(event.headers["traceparent"], "00-a");
                arrived.insert(event.id);
            }
        }
        // The same events have the same id when they are sent again.
        assert_eq!(ids.len(), 3);
        assert_eq!(arrived, events.iter().map(|event| event.id).collect());
    }
}

#[tokio::test]
async fn an_event_that_a_batch_cannot_carry_whole_is_sent_alone() {
    let (server, kept) = keeping(accepted).await;
    let transport = open(batches(&server, Batch::CloudEvents, 100));
    let events = [
        event("x"),
        event("x").header("X-Odd", "kept"),
        event("x").ordering_key(""),
        event("x"),
    ];
    let answers = transport.publish(&events).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let requests = kept.lock().unwrap();
    assert_eq!(requests.len(), 3);
    let read = requests
        .iter()
        .flat_map(|request| read_batch(&request.headers, request.body.clone()).unwrap());
    let mut read: Vec<Event> = read.collect();
    read.sort_by_key(|read| events.iter().position(|event| event.id == read.id));
    let parts = |event: &Event| (event.id, event.headers.clone(), event.ordering_key.clone());
    assert_eq!(
        read.iter().map(parts).collect::<Vec<_>>(),
        events.each_ref().map(parts)
    );
}

/// An endpoint that takes a batch as a whole or not at all.
/// Ids are hexadecimal, so they have none of these words.
fn refuses_bad(request: &Request) -> &'static str {
    let text = String::from_utf8_lossy(&request.body);
    match (text.contains("wrong"), text.contains("huge")) {
        (true, _) => "422 Unprocessable",
        (_, true) => "413 Too Large",
        _ => "200 OK",
    }
}

#[tokio::test]
async fn a_batch_that_is_refused_is_halved_until_the_culprits_are_alone() {
    let (server, kept) = keeping(refuses_bad).await;
    let transport = open(batches(&server, Batch::CloudEvents, 100));
    let mut events = [(); 32].map(|()| event("x"));
    events[5].event_type = "wrong".into();
    events[20].event_type = "huge".into();
    let answers = transport.publish(&events).await;
    for (number, answer) in answers.iter().enumerate() {
        let expected = match number {
            5 => Err(Kind::Rejected),
            20 => Err(Kind::Permanent),
            _ => Ok(&()),
        };
        let kind = answer.as_ref().map_err(outbox_core::PublishError::kind);
        assert_eq!(kind, expected, "{number}");
    }
    let requests = kept.lock().unwrap();
    let taken = requests
        .iter()
        .filter(|request| refuses_bad(request) == "200 OK");
    let taken: usize = taken
        .map(|request| {
            read_batch(&request.headers, request.body.clone())
                .unwrap()
                .len()
        })
        .sum();
    assert_eq!(taken, 30);
}

#[tokio::test]
async fn a_batch_of_a_media_type_that_the_endpoint_does_not_know_is_misconfigured() {
    let (server, _) = keeping(|_| "415 Unsupported Media Type").await;
    let transport = open(batches(&server, Batch::Ndjson, 100));
    for answer in transport.publish(&[event("x"), event("x")]).await {
        assert_eq!(answer.unwrap_err().kind(), Kind::Misconfigured);
    }
    let alone = open(config(&server.url("/x")));
    let (kind, _) = publish_one(&alone, event("x")).await.unwrap_err();
    assert_eq!(kind, Kind::Permanent);
}

#[tokio::test]
async fn a_batch_has_at_most_a_mebibyte() {
    let (server, kept) = keeping(accepted).await;
    let transport = open(batches(&server, Batch::CloudEvents, 1000));
    let events = [(); 8].map(|()| Event::new("x", vec![b'x'; 400 << 10]));
    let answers = transport.publish(&events).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let requests = kept.lock().unwrap();
    assert!(
        requests
            .iter()
            .all(|request| request.body.len() <= (1 << 20) + 100)
    );
}
