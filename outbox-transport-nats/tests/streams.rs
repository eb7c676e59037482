//! What a stream answers, and what a check finds out about it.

mod support;

use outbox_core::wire::{Mode, WireForm};
use outbox_core::{Event, EventId, PublishErrorKind, Transport};
use outbox_transport_nats::{NatsConfig, NatsTransport};
use std::time::{Duration, Instant};
use support::{Raw, about, event, kind, open, problems, publish, reason, server};

const SHORT: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(10);
const MISCONFIGURED: Option<PublishErrorKind> = Some(PublishErrorKind::Misconfigured);
const PERMANENT: Option<PublishErrorKind> = Some(PublishErrorKind::Permanent);

fn with_subject(url: &str, subject: &str) -> NatsTransport {
    let config = NatsConfig::from_url(url)
        .expect("a URL")
        .call_timeout(SHORT);
    let config = config.subject(subject.parse().expect("a template"));
    NatsTransport::open(config).expect("opened")
}

fn sized(event_type: &str, bytes: usize) -> Event {
    Event::new(event_type, vec![b'x'; bytes])
}

/// Servers find the id by a search in all headers, which the driver sends in a random order
/// (nats-server#3645).
#[tokio::test(flavor = "multi_thread")]
async fn no_header_changes_the_id_of_a_message() {
    const EVENTS: usize = 20;
    let server = server("");
    let mut raw = Raw::connect(server.url());
    raw.create_stream("ORDERS", "outbox.>", "");
    let event = event("a.Nats-Msg-Id")
        .header("Nats-Msg-Id", "mine")
        .header("My-Nats-Msg-Id", "100% mine")
        .header("note", "Nats-Msg-Id: 50%")
        .content_type("text/Nats-Msg-Id");
    let events: Vec<Event> = (0..EVENTS)
        .map(|_| event.clone().id(EventId::new()))
        .collect();
    for mode in [
        Mode::Raw,
        Mode::CloudEventsBinary,
        Mode::CloudEventsStructured,
    ] {
        let config = NatsConfig::from_url(server.url()).expect("a URL");
        let transport = NatsTransport::open(config.form(WireForm::new(mode))).expect("opened");
        for answer in transport.publish(&events).await {
            assert_eq!(kind(&answer), None);
        }
    }
    let messages = raw.messages("ORDERS");
    assert_eq!(messages.len(), EVENTS);
    for message in messages {
        let id = message.header("Nats-Msg-Id").map(str::to_owned);
        let read = message.event();
        assert_eq!(id, Some(read.id.to_string()));
        assert_eq!(read.headers, event.headers);
        assert_eq!(read.event_type, event.event_type);
        assert_eq!(read.content_type, event.content_type);
    }
}

/// The largest message that a server takes includes the headers. One byte more would close the
/// connection, and with it the neighbours.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_message_is_found_to_the_byte() {
    let server = server("max_payload: 4096");
    let mut raw = Raw::connect(server.url());
    raw.create_stream("ORDERS", "outbox.>", "");
    let transport = open(server.url(), LONG);
    let mut largest = None;
    for bytes in (3400..=4096).rev() {
        let answers = transport
            .publish(&[sized("a", 10), sized("a", bytes), sized("a", 10)])
            .await;
        assert_eq!(
            (kind(&answers[0]), kind(&answers[2])),
            (None, None),
            "{answers:?}"
        );
        if kind(&answers[1]).is_none() {
            largest = Some(bytes);
            break;
        }
        assert_eq!(kind(&answers[1]), PERMANENT);
        assert!(reason(&answers[1]).contains("4096"), "{answers:?}");
    }
    let largest = largest.expect("a payload that fits");
    let message = raw
        .messages("ORDERS")
        .into_iter()
        .find(|message| message.body.len() == largest);
    let message = message.expect("the message");
    let line = |(name, value): &(String, String)| name.len() + value.len() + ": \r\n".len();
    let headers: usize = message.headers.iter().map(line).sum();
    assert_eq!("NATS/1.0\r\n\r\n".len() + headers + largest, 4096);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_for_its_stream_is_permanent() {
    let server = server("");
    let mut raw = Raw::connect(server.url());
    raw.create_stream("ORDERS", "outbox.>", "\"max_msg_size\":1000");
    let transport = open(server.url(), LONG);
    let answers = transport
        .publish(&[event("a"), sized("a", 1000), event("a")])
        .await;
    let kinds: Vec<_> = answers.iter().map(kind).collect();
    assert_eq!(kinds, [None, PERMANENT, None]);
    assert!(
        reason(&answers[1]).contains("message size exceeds maximum"),
        "{answers:?}"
    );
    assert_eq!(raw.count("ORDERS"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_too_large_are_permanent() {
    let server = server("");
    let mut raw = Raw::connect(server.url());
    raw.create_stream("ORDERS", "outbox.>", "");
    let transport = open(server.url(), LONG);
    let large = event("a").header("large", "x".repeat(70_000));
    let answers = transport.publish(&[event("a"), large, event("a")]).await;
    let kinds: Vec<_> = answers.iter().map(kind).collect();
    assert_eq!(kinds, [None, PERMANENT, None], "{answers:?}");
    assert!(
        reason(&answers[1]).contains("header size exceeds maximum"),
        "{answers:?}"
    );
    assert_eq!(raw.count("ORDERS"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_bytes_left_is_throttled_and_named() {
    let server = server("");
    let mut raw = Raw::connect(server.url());
    raw.create_stream(
        "ORDERS",
        "outbox.>",
        "\"discard\":\"new\",\"max_bytes\":2000",
    );
    let transport = open(server.url(), LONG);
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(publish(&transport, &sized("a", 500)).await);
    }
    assert_eq!(kind(&answers[0]), None);
    let last = answers.last().expect("an answer");
    assert!(
        matches!(kind(last), Some(PublishErrorKind::Throttled(_))),
        "{last:?}"
    );
    assert_eq!(about(last), Some("outbox.a"));
    assert!(reason(last).contains("maximum bytes exceeded"), "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_stream_is_misconfigured() {
    let server = server("");
    let mut raw = Raw::connect(server.url());
    raw.create_stream("ORDERS", "outbox.>", "");
    raw.update_stream("ORDERS", "outbox.>", "\"sealed\":true");
    let transport = with_subject(server.url(), "outbox.all");
    let answer = publish(&transport, &event("a")).await;
    assert_eq!(kind(&answer), MISCONFIGURED);
    assert_eq!(about(&answer), Some("outbox.all"));
    let check = transport.check().await;
    let expected = (PublishErrorKind::Misconfigured, Some("outbox.all"));
    assert_eq!(problems(&check), [expected]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_does_not_acknowledge_is_a_problem_and_delays_no_other() {
    let server = server("");
    let mut raw = Raw::connect(server.url());
    raw.create_stream("SILENT", "outbox.silent", "\"no_ack\":true");
    raw.create_stream("ORDERS", "outbox.orders", "");
    let transport = open(server.url(), LONG / 2);
    let silent = [event("silent"), event("silent")];
    let silent = async { (transport.publish(&silent).await, Instant::now()) };
    let ((answers, silent), other) = tokio::join!(silent, async {
        for _ in 0..20 {
            assert_eq!(kind(&publish(&transport, &event("orders")).await), None);
        }
        Instant::now()
    });
    assert!(other < silent, "{:?}", other - silent);
    for answer in &answers {
        assert_eq!(kind(answer), Some(PublishErrorKind::Unavailable));
        assert_eq!(about(answer), Some("outbox.silent"));
        assert!(reason(answer).contains("stream SILENT"), "{answer:?}");
    }
    let check = with_subject(server.url(), "outbox.silent").check().await;
    let expected = (PublishErrorKind::Misconfigured, Some("outbox.silent"));
    assert_eq!(problems(&check), [expected]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_that_no_message_can_have_holds_no_other_event_of_the_template() {
    let server = server("");
    let mut raw = Raw::connect(server.url());
    raw.create_stream("ORDERS", "outbox.>", "");
    let transport = with_subject(server.url(), "outbox.{key}");
    let good = event("a").ordering_key("7");
    let long = "k".repeat(3000);
    for key in ["a b", "a.*", "", "a\r\nb", ".", &long] {
        let bad = event("a").ordering_key(key);
        let answers = transport.publish(&[good.clone(), bad.clone()]).await;
        assert_eq!(kind(&answers[0]), None, "{key:?}");
        assert_eq!(kind(&answers[1]), MISCONFIGURED, "{key:?}");
        let names = [&good, &bad].map(|event| transport.destination(event).expect("a name"));
        assert_eq!(about(&answers[1]), Some(&*names[1]));
        assert_ne!(names[0], names[1]);
    }
    let admin = with_subject(server.url(), "{header:to}");
    let attack = event("a").header("to", "$JS.API.STREAM.DELETE.ORDERS");
    assert_eq!(kind(&publish(&admin, &attack).await), MISCONFIGURED);
    assert_eq!(raw.count("ORDERS"), 1);
}

/// A server closes the connection of a client whose command line is longer than 4096 bytes.
#[tokio::test(flavor = "multi_thread")]
async fn the_longest_subject_is_published() {
    let server = server("");
    let mut raw = Raw::connect(server.url());
    raw.create_stream("ORDERS", "outbox.>", "");
    let transport = with_subject(server.url(), "outbox.{key}");
    let longest = event("a").ordering_key("k".repeat(2000 - "outbox.".len()));
    assert_eq!(kind(&publish(&transport, &longest).await), None);
    assert_eq!(raw.messages("ORDERS")[0].subject.len(), 2000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_reports_what_may_lose_or_repeat_messages() {
    let server = server("max_payload: 5000");
    let mut raw = Raw::connect(server.url());
    let transport = open(server.url(), LONG);
    let check = transport.check().await;
    assert_eq!(problems(&check), [(PublishErrorKind::Misconfigured, None)]);
    raw.create_stream(
        "RISKY",
        "outbox.>",
        "\"storage\":\"memory\",\"max_msgs\":10,\"max_msg_size\":777,\"max_age\":60000000000,\
         \"duplicate_window\":30000000000,\"retention\":\"interest\"",
    );
    let check = transport.check().await;
    assert_eq!(problems(&check), []);
    let notes = [check.notes, check.warnings].concat().join("\n");
    for expected in [
        "up to 5000 bytes",
        "up to 777 bytes",
        "in memory",
        "replicas: 1",
        "recognises duplicates for 30s only",
        "removes its oldest messages",
        "removes messages after 60s",
        "while it has no consumer",
    ] {
        assert!(notes.contains(expected), "{expected}: {notes}");
    }
    raw.delete_stream("RISKY");
    raw.create_stream(
        "SOUND",
        "outbox.>",
        "\"discard\":\"new\",\"duplicate_window\":600000000000",
    );
    let check = transport.check().await;
    assert_eq!(check.duplicate_window, Some(Duration::from_secs(600)));
    assert!(check.warnings.is_empty(), "{check:?}");
}

/// Calls wait for more acknowledgments than the driver has in flight by default, 5,000.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_with_more_events_than_the_driver_has_in_flight_is_published() {
    let server = server("");
    let mut raw = Raw::connect(server.url());
    raw.create_stream("ORDERS", "outbox.>", "");
    let transport = open(server.url(), Duration::from_secs(60));
    let events: Vec<Event> = (0..6000).map(|_| event("a")).collect();
    let answers = transport.publish(&events).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(raw.count("ORDERS"), 6000);
}

/// A server remembers the ids of the messages that it has, also when it is killed (nats-server#3272).
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_published_again_after_a_crash_is_stored_once() {
    let mut server = server("");
    Raw::connect(server.url()).create_stream("ORDERS", "outbox.>", "");
    let (transport, event) = (open(server.url(), LONG), event("a"));
    assert_eq!(kind(&publish(&transport, &event).await), None);
    server.crash().expect("started again");
    // The loss of the connection may be found by a call only.
    let _ = publish(&transport, &event).await;
    assert_eq!(kind(&publish(&transport, &event).await), None);
    assert_eq!(Raw::connect(server.url()).count("ORDERS"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_the_stream_has_already_is_counted_as_a_duplicate() {
    let server = server("");
    let mut raw = Raw::connect(server.url());
    raw.create_stream("ORDERS", "outbox.>", "");
    let transport = open(server.url(), LONG);
    let event = event("order.placed");
    for known in [0, 1, 2] {
        publish(&transport, &event).await.expect("published");
        assert_eq!(transport.duplicates(), known);
    }
}
