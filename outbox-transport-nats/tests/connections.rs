//! What a server refuses, a server that is silent, and what arrives after it.

mod support;

use outbox_core::wire::{Mode, WireForm};
use outbox_core::{Event, PublishErrorKind, Transport};
use outbox_transport_nats::async_nats::{ConnectOptions, ServerAddr};
use outbox_transport_nats::{NatsConfig, NatsTransport};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use support::{Raw, about, event, kind, open, problems, publish, reason, server};
use test_servers::tls::Certificate;

const SHORT: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(10);

const RIGHTS: &str = r#"
authorization { users: [
    { user: admin, password: admin }
    { user: relay, password: "s:e@c/r", permissions: {
        publish: { allow: ["outbox.>", "$JS.API.STREAM.NAMES"], deny: ["outbox.secret.>"] } } }
    { user: blind, password: blind, permissions: { publish: { allow: ["outbox.>"] } } }
    { user: deaf, password: deaf, permissions: { subscribe: { deny: [">"] } } }
] }
no_auth_user: admin
"#;

fn as_user(url: &str, login: &str) -> String {
    url.replace("nats://", &format!("nats://{login}@"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_misconfigured_and_no_text_shows_it() {
    let server = server(RIGHTS);
    let config = NatsConfig::from_url(&as_user(server.url(), "relay:hunter2")).expect("a URL");
    let debug = format!("{config:?}");
    let transport = NatsTransport::open(config).expect("opened");
    let answer = publish(&transport, &event("a")).await;
    assert_eq!(kind(&answer), Some(PublishErrorKind::Misconfigured));
    assert_eq!(about(&answer), None);
    assert!(
        reason(&answer).contains("authorization violation"),
        "{answer:?}"
    );
    let check = transport.check().await;
    assert_eq!(problems(&check), [(PublishErrorKind::Misconfigured, None)]);
    for shown in [debug, format!("{answer:?} {transport:?} {check:?}")] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_in_the_url_is_percent_decoded() {
    let server = server(RIGHTS);
    Raw::connect(server.url()).create_stream("ORDERS", "outbox.>", "");
    let transport = open(&as_user(server.url(), "relay:s%3Ae%40c%2Fr"), LONG);
    assert_eq!(kind(&publish(&transport, &event("a")).await), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_the_url_is_used() {
    let server = server("authorization { token: \"t0k3n\" }");
    let raw = || Raw::login(server.url(), "\"auth_token\":\"t0k3n\",");
    raw().create_stream("ORDERS", "outbox.>", "");
    let transport = open(&as_user(server.url(), "t0k3n"), LONG);
    assert_eq!(kind(&publish(&transport, &event("a")).await), None);
    assert_eq!(raw().count("ORDERS"), 1);
    let wrong = open(&as_user(server.url(), "wrong"), LONG);
    let answer = publish(&wrong, &event("a")).await;
    assert_eq!(kind(&answer), Some(PublishErrorKind::Misconfigured));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forbidden_subject_is_misconfigured_at_once_and_its_neighbours_arrive() {
    let server = server(RIGHTS);
    let mut raw = Raw::connect(server.url());
    raw.create_stream("ORDERS", "outbox.>", "");
    let transport = open(&as_user(server.url(), "relay:s%3Ae%40c%2Fr"), LONG);
    let events = [event("a"), event("secret.b"), event("c")];
    let begun = Instant::now();
    let answers = transport.publish(&events).await;
    assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
    assert_eq!(
        answers.iter().map(kind).collect::<Vec<_>>(),
        [None, Some(PublishErrorKind::Misconfigured), None]
    );
    assert_eq!(about(&answers[1]), Some("outbox.secret.b"));
    assert!(
        reason(&answers[1]).contains("Permissions Violation"),
        "{answers:?}"
    );
    assert_eq!(raw.count("ORDERS"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_receive_acknowledgments_is_misconfigured_until_it_is_allowed() {
    let server = server(RIGHTS);
    Raw::connect(server.url()).create_stream("ORDERS", "outbox.>", "");
    let transport = open(&as_user(server.url(), "deaf:deaf"), LONG);
    for _again in 0..2 {
        let begun = Instant::now();
        let answer = publish(&transport, &event("a")).await;
        assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
        assert_eq!(kind(&answer), Some(PublishErrorKind::Misconfigured));
        assert_eq!(about(&answer), None);
        assert!(reason(&answer).contains("Subscription"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_ask_for_streams_publishes_and_waits_for_an_election() {
    let server = server(RIGHTS);
    let mut raw = Raw::connect(server.url());
    let transport = open(&as_user(server.url(), "blind:blind"), LONG);
    let answer = publish(&transport, &event("a")).await;
    assert_eq!(kind(&answer), Some(PublishErrorKind::Unavailable));
    assert_eq!(about(&answer), Some("outbox.a"));
    let check = transport.check().await;
    assert_eq!(problems(&check), []);
    assert!(
        check
            .notes
            .iter()
            .any(|note| note.contains("cannot find out")),
        "{check:?}"
    );
    raw.create_stream("ORDERS", "outbox.>", "");
    assert_eq!(kind(&publish(&transport, &event("a")).await), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_stream_with_another_subscriber_is_misconfigured() {
    let server = server("");
    let mut raw = Raw::connect(server.url());
    raw.subscribe("outbox.>");
    let transport = open(server.url(), SHORT);
    let answer = publish(&transport, &event("a")).await;
    assert_eq!(kind(&answer), Some(PublishErrorKind::Misconfigured));
    assert_eq!(about(&answer), Some("outbox.a"));
    assert_eq!(raw.message().subject, "outbox.a");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_of_a_stream_is_not_a_delivery() {
    let server = server("");
    let mut raw = Raw::connect(server.url());
    raw.subscribe("outbox.>");
    let transport = open(server.url(), LONG);
    let answering = tokio::task::spawn_blocking(move || {
        for _ in 0..2 {
            let line = raw.line();
            let inbox = line.split_whitespace().nth(3).expect("an inbox").to_owned();
            while raw.line() != "x\r\n" {}
            raw.send(&format!("PUB {inbox} 2\r\nOK\r\n"));
        }
    });
    for _again in 0..2 {
        let answer = publish(&transport, &event("a")).await;
        assert_eq!(
            kind(&answer),
            Some(PublishErrorKind::Misconfigured),
            "{answer:?}"
        );
        assert_eq!(about(&answer), Some("outbox.a"));
    }
    answering.await.expect("answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_jetstream_events_are_unavailable_first() {
    let server = server(
        "accounts { A: { jetstream: enabled, users: [{user: a, password: a}] }, B: { users: [{user: b, password: b}] } }",
    );
    let transport = open(&as_user(server.url(), "b:b"), SHORT);
    let answer = publish(&transport, &event("a")).await;
    assert_eq!(
        kind(&answer),
        Some(PublishErrorKind::Unavailable),
        "{answer:?}"
    );
    assert_eq!(about(&answer), Some("outbox.a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_wait_in_a_suspended_server_arrive_once_and_in_order() {
    let mut server = server("");
    Raw::connect(server.url()).create_stream("ORDERS", "outbox.>", "");
    let transport = open(server.url(), SHORT);
    let events: Vec<Event> = (0..4)
        .map(|n| event(&format!("e{n}")).ordering_key("k"))
        .collect();
    assert_eq!(kind(&publish(&transport, &events[0]).await), None);
    server.suspend().expect("suspended");
    for _again in 0..3 {
        let begun = Instant::now();
        let answer = publish(&transport, &events[1]).await;
        assert_eq!(kind(&answer), Some(PublishErrorKind::Unavailable));
        assert!(begun.elapsed() < 2 * SHORT, "{:?}", begun.elapsed());
    }
    server.resume().expect("resumed");
    for event in &events[1..] {
        assert_eq!(kind(&publish(&transport, event).await), None);
    }
    let arrived: Vec<_> = Raw::connect(server.url()).events("ORDERS");
    let ids = |events: &[Event]| events.iter().map(|event| event.id).collect::<Vec<_>>();
    assert_eq!(ids(&arrived), ids(&events));
}

/// The driver keeps commands while it is disconnected, and sends them when it has reconnected. Here no
/// event of a call that ended during an outage is at the server after it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_an_outage_is_sent_after_it() {
    let mut server = server("");
    let mut raw = Raw::connect(server.url());
    raw.create_stream("ORDERS", "outbox.>", "");
    let transport = open(server.url(), SHORT);
    assert_eq!(kind(&publish(&transport, &event("before")).await), None);
    server.kill().expect("killed");
    let lost: Vec<Event> = (0..100).map(|_| event("lost")).collect();
    for answer in transport.publish(&lost).await {
        assert_eq!(kind(&answer), Some(PublishErrorKind::Unavailable));
    }
    server.restart().expect("started");
    assert_eq!(kind(&publish(&transport, &event("after")).await), None);
    let types: Vec<String> = Raw::connect(server.url())
        .events("ORDERS")
        .into_iter()
        .map(|event| event.event_type)
        .collect();
    assert_eq!(types, ["before", "after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_of_several_servers_is_used_when_one_is_away() {
    let mut servers = [server(""), server("")];
    for server in &servers {
        Raw::connect(server.url()).create_stream("ORDERS", "outbox.>", "");
    }
    let [first, second] = [0, 1].map(|n: usize| servers[n].url().to_owned());
    let transport = open(&format!("{first},{}", second.replace("nats://", "")), LONG);
    for _ in 0..3 {
        servers[0].kill().expect("killed");
        let events = [event("a"), event("b")];
        // The connection that is lost is known at the latest after the first call.
        let _ = transport.publish(&events).await;
        for answer in transport.publish(&events).await {
            assert_eq!(kind(&answer), None, "{answer:?}");
        }
        servers[0].restart().expect("started");
        servers.swap(0, 1);
    }
}

/// A proxy to a server, and the number of its connections.
fn counting_proxy(url: &str) -> (String, Arc<AtomicUsize>) {
    let (_, server) = url.rsplit_once('/').expect("an address");
    let (server, count) = (server.to_owned(), Arc::new(AtomicUsize::new(0)));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("nats://{}", listener.local_addr().expect("an address"));
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.expect("a client");
            counted.fetch_add(1, SeqCst);
            let server = TcpStream::connect(&server).expect("connected");
            let copies = [(&client, &server), (&server, &client)];
            for (from, to) in copies {
                let (mut from, mut to) = (
                    from.try_clone().expect("a clone"),
                    to.try_clone().expect("a clone"),
                );
                thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        }
    });
    (url, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_calls_share_one_connection() {
    let server = server("");
    Raw::connect(server.url()).create_stream("ORDERS", "outbox.>", "");
    let (url, count) = counting_proxy(server.url());
    let transport = open(&url, LONG);
    let calls = (0..32).map(|_| {
        let transport = transport.clone();
        tokio::spawn(async move { publish(&transport, &event("a")).await })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(kind(&call.await.expect("ended")), None);
    }
    assert_eq!(count.load(SeqCst), 1);
}

fn tls_server(certificate: &Certificate, more: &str) -> test_servers::Server {
    server(&format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\" }}\n{more}",
        certificate.certificate().display(),
        certificate.key().display()
    ))
}

#[test]
fn a_tls_url_needs_the_feature() {
    let config = NatsConfig::from_url("tls://broker.example").expect("a URL");
    let opened = NatsTransport::open(config);
    if cfg!(feature = "tls-rustls-ring-native-roots") {
        assert!(opened.is_ok());
    } else {
        let error = opened.expect_err("refused").to_string();
        assert!(error.contains("tls-rustls-ring-native-roots"), "{error}");
    }
}

/// Without the feature the TLS library panics, which would blame an event.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_requires_tls_or_has_a_foreign_certificate_is_misconfigured() {
    let certificate = Certificate::create().expect("a certificate");
    let server = tls_server(&certificate, "");
    let transport = open(server.url(), SHORT);
    let answer = publish(&transport, &event("a")).await;
    assert_eq!(
        kind(&answer),
        Some(PublishErrorKind::Misconfigured),
        "{answer:?}"
    );
    assert_eq!(about(&answer), None);
}

#[cfg(feature = "tls-rustls-ring-native-roots")]
#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_certificate_of_a_known_authority_is_used() {
    let certificate = Certificate::create().expect("a certificate");
    let server = tls_server(
        &certificate,
        "no_auth_user: x\naccounts { A: { jetstream: enabled, users: [{user: x, password: x}] } }",
    );
    let options = ConnectOptions::new().add_root_certificates(certificate.authority());
    let url = server.url().replace("nats://", "tls://");
    let config = NatsConfig::new(options, [url.parse::<ServerAddr>().expect("a URL")]);
    let transport = NatsTransport::open(config.call_timeout(SHORT)).expect("opened");
    let answer = publish(&transport, &event("a")).await;
    assert_eq!(
        kind(&answer),
        Some(PublishErrorKind::Misconfigured),
        "{answer:?}"
    );
    assert_eq!(about(&answer), Some("outbox.a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_connect_in_the_background_connect_before_a_publish() {
    let server = server("");
    let url: ServerAddr = server.url().parse().expect("a URL");
    Raw::connect(server.url()).create_stream("ORDERS", "outbox.>", "");
    let options = ConnectOptions::new().retry_on_initial_connect();
    let config = NatsConfig::new(options, [url]).form(WireForm::new(Mode::Raw));
    let transport = NatsTransport::open(config).expect("opened");
    assert_eq!(kind(&publish(&transport, &event("a")).await), None);
    let nowhere: ServerAddr = "nats://127.0.0.1:1".parse().expect("a URL");
    let options = ConnectOptions::new().retry_on_initial_connect();
    let config = NatsConfig::new(options, [nowhere]).call_timeout(SHORT);
    let transport = NatsTransport::open(config).expect("opened");
    let answer = publish(&transport, &event("a")).await;
    assert_eq!(kind(&answer), Some(PublishErrorKind::Unavailable));
}
