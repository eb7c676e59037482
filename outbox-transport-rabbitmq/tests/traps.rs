//! What RabbitMQ and lapin do to a publisher, each as a test against a real broker.

mod support;

use outbox_conformance::{TcpWire, Wire};
use outbox_core::wire::{Mode, WireForm};
use outbox_core::{Event, EventId, PublishError, PublishErrorKind, Transport};
use outbox_transport_rabbitmq::lapin::ConnectionProperties;
use outbox_transport_rabbitmq::lapin::uri::AMQPUri;
use outbox_transport_rabbitmq::{RabbitMqConfig, RabbitMqTransport, Unroutable};
use serde_json::json;
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant, SystemTime};
use support::{Broker, PATIENCE, Place, template};
use test_servers::{Kind, Server, search_path};

fn shared() -> Broker {
    Broker::at(test_servers::url(Kind::RabbitMq).expect("a server"))
}

fn place() -> Place {
    Place::new(shared())
}

fn open(config: RabbitMqConfig) -> RabbitMqTransport {
    RabbitMqTransport::open(config).expect("a valid config")
}

fn event(number: usize) -> Event {
    Event::new("conformance.traps", format!("payload {number}"))
}

/// An error with all its sources.
fn text(error: &PublishError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[track_caller]
fn check_refused(answer: &Result<(), PublishError>, kind: PublishErrorKind, words: &str) {
    let error = answer.as_ref().expect_err("refused");
    assert_eq!(error.kind(), kind, "{}", text(error));
    assert!(text(error).contains(words), "{}", text(error));
}

async fn publish_one(transport: &RabbitMqTransport, event: &Event) -> Result<(), PublishError> {
    transport
        .publish(std::slice::from_ref(event))
        .await
        .remove(0)
}

/// Lapin hands a returned message to whichever confirm comes with it, and RabbitMQ confirms many at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_returned_message_is_the_answer_to_its_own_event() {
    let place = place();
    let transport = place.transport();
    for _round in 0..20 {
        let mut events: Vec<Event> = (0..200).map(event).collect();
        for event in events.iter_mut().skip(1).step_by(3) {
            event.event_type = "nowhere.traps".to_owned();
        }
        let answers = transport.publish(&events).await;
        for (event, answer) in events.iter().zip(&answers) {
            if event.event_type.starts_with("nowhere") {
                check_refused(answer, PublishErrorKind::Misconfigured, "312 NO_ROUTE");
            } else {
                answer.as_ref().expect("routed");
            }
        }
    }
    assert_eq!(place.received().len(), 20 * 133);
}

#[tokio::test]
async fn an_unroutable_event_is_dropped_if_that_is_wanted() {
    let place = place();
    let transport = open(place.config().unroutable(Unroutable::Drop));
    let events = [Event::new("nowhere.traps", "x"), event(1)];
    for answer in transport.publish(&events).await {
        answer.expect("published");
    }
    let arrived: Vec<EventId> = place.received().iter().map(|event| event.id).collect();
    assert_eq!(arrived, [events[1].id]);
}

#[tokio::test]
async fn the_properties_say_what_consumers_of_amqp_expect() {
    let place = place();
    let made = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_225_600_123);
    let event = event(1)
        .created_at(made)
        .content_type("text/plain")
        .ordering_key("k");
    publish_one(&place.transport(), &event)
        .await
        .expect("published");
    let form = WireForm::new(Mode::CloudEventsStructured);
    let early = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    let old = event.clone().id(EventId::new()).created_at(early);
    publish_one(&place.transport_with(&form), &old)
        .await
        .expect("published");
    let messages = place.received_messages();
    let properties = &messages[0]["properties"];
    assert_eq!(properties["message_id"], event.id.to_string());
    assert_eq!(properties["type"], "conformance.traps");
    assert_eq!(properties["timestamp"], 1_767_225_600);
    assert_eq!(properties["delivery_mode"], 2);
    assert_eq!(properties["content_type"], "text/plain");
    assert_eq!(properties["headers"]["outbox-key"], "k");
    assert_eq!(messages[0]["routing_key"], "conformance.traps");
    let properties = &messages[1]["properties"];
    assert_eq!(properties["timestamp"], json!(null));
    assert_eq!(properties["content_type"], "application/cloudevents+json");
    assert_eq!(place.received()[1].created_at, early);
}

/// Lapin panics on a short string that is too long, and the broker closes the connection for headers
/// that do not fit into a frame.
#[tokio::test]
async fn what_amqp_cannot_hold_is_permanent_and_its_neighbours_arrive() {
    let place = place();
    let long = |length| format!("conformance.{}", "x".repeat(length - "conformance.".len()));
    let headers = event(2).header("big", "x".repeat(131_072));
    let events = [
        event(0),
        Event::new(long(256), "the routing key is too long"),
        headers.clone(),
        event(3).header("n".repeat(256), "the name of a header is too long"),
        Event::new(long(255), "the longest routing key"),
        event(5).header("big", "x".repeat(130_000)),
    ];
    let answers = place.transport().publish(&events).await;
    for (number, words) in [
        (1, "routing key is 256 bytes long, but must be at most 255"),
        (2, "headers make a frame of 131"),
        (3, "header name is 256 bytes long"),
    ] {
        check_refused(&answers[number], PublishErrorKind::Permanent, words);
    }
    for number in [0, 4, 5] {
        answers[number].as_ref().expect("published");
    }
    assert_eq!(place.received().len(), 3);
    // A constant routing key leaves the type to the headers.
    let config = place.config().routing_key(template("conformance.x"));
    publish_one(&open(config), &Event::new(long(1000), "x"))
        .await
        .expect("published");
    assert_eq!(place.received()[3].event_type, long(1000));
}

/// The exact limit, so that no event is refused without need and none closes the connection.
#[tokio::test]
async fn headers_may_fill_a_frame_to_the_last_byte() {
    let place = place();
    let transport = place.transport();
    let (mut fits, mut refused) = (120_000, 131_072);
    while refused - fits > 1 {
        let length = usize::midpoint(fits, refused);
        let event = event(0).header("big", "x".repeat(length));
        match publish_one(&transport, &event).await {
            Ok(()) => fits = length,
            Err(error) => {
                assert_eq!(
                    error.kind(),
                    PublishErrorKind::Permanent,
                    "{}",
                    text(&error)
                );
                refused = length;
            }
        }
    }
    assert!(fits > 130_700, "{fits}");
}

#[tokio::test]
async fn a_message_of_16_megabytes_arrives() {
    let place = place();
    let event = Event::new("conformance.large", vec![b'x'; 16_000_000]);
    publish_one(&place.transport(), &event)
        .await
        .expect("published");
    assert_eq!(place.received()[0].payload, event.payload);
}

#[tokio::test]
async fn a_wrong_login_or_virtual_host_is_misconfigured_without_its_password() {
    let broker = shared();
    for (login, vhost, words) in [
        ("guest:hunter2", "%2f", "ACCESS_REFUSED"),
        ("unknown_user:hunter2", "%2f", "ACCESS_REFUSED"),
        ("guest:guest", "nowhere", "nowhere"),
        ("guest:guest", "", "NOT_ALLOWED"),
    ] {
        let url = format!("amqp://{login}@127.0.0.1:{}/{vhost}", broker.port());
        let transport = open(RabbitMqConfig::from_url(&url).expect("a URL"));
        let answer = publish_one(&transport, &event(0)).await;
        check_refused(&answer, PublishErrorKind::Misconfigured, words);
        let error = answer.expect_err("refused");
        assert_eq!(error.destination(), None);
        let problems = transport.check().await.problems;
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].kind(), PublishErrorKind::Misconfigured);
        let shown = format!("{} {error:?} {transport:?} {problems:?}", text(&error));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[tokio::test]
async fn an_exchange_without_the_right_to_write_is_misconfigured() {
    let place = place();
    let user = format!("u-{}", EventId::new());
    let body = json!({"password": "secret", "tags": ""});
    place.broker.put(&format!("/users/{user}"), &body);
    let url = Broker::as_user(&format!("{user}:secret"), place.broker.port());
    let transport = open(place.config_at(&url));
    let answer = publish_one(&transport, &event(0)).await;
    check_refused(&answer, PublishErrorKind::Misconfigured, "access to vhost");
    let none = json!({"configure": "", "write": "", "read": ""});
    place.broker.put(&format!("/permissions/%2f/{user}"), &none);
    let events = [event(1), event(2)];
    for answer in transport.publish(&events).await {
        check_refused(&answer, PublishErrorKind::Misconfigured, "ACCESS_REFUSED");
        let destination = format!("{}/conformance.traps", place.name);
        assert_eq!(
            answer.expect_err("refused").destination(),
            Some(&*destination)
        );
    }
    let all = json!({"configure": "", "write": ".*", "read": ""});
    place.broker.put(&format!("/permissions/%2f/{user}"), &all);
    for answer in transport.publish(&events).await {
        answer.expect("published");
    }
    place.broker.delete(&format!("/users/{user}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_large_events_are_found_among_many_within_one_call() {
    let server = Server::start_rabbitmq(&search_path(), "max_message_size = 100000");
    let server = server.expect("a server");
    let place = Place::new(Broker::at(server.url()));
    let transport = place.transport();
    let mut events: Vec<Event> = (0..1000).map(event).collect();
    for number in [0, 500, 999] {
        events[number].payload = vec![b'x'; 100_001].into();
    }
    events[501].payload = vec![b'x'; 100_000].into();
    let answers = transport.publish(&events).await;
    for (number, answer) in answers.iter().enumerate() {
        if [0, 500, 999].contains(&number) {
            check_refused(answer, PublishErrorKind::Permanent, "100001");
        } else {
            let answer = answer.as_ref().map_err(text);
            assert_eq!(answer, Ok(&()), "event {number}");
        }
    }
    let mut arrived: Vec<EventId> = place.received().iter().map(|event| event.id).collect();
    arrived.sort_unstable();
    arrived.dedup();
    assert_eq!(arrived.len(), 997);
    blocked_in_the_middle(&server, &place).await;
}

/// An alarm that comes while a call is under way, and one that is there before the first call.
async fn blocked_in_the_middle(server: &Server, place: &Place) {
    let set = |share| {
        server
            .rabbitmqctl(&["set_vm_memory_high_watermark", share])
            .expect("set")
    };
    let transport = place.transport();
    publish_one(&transport, &event(0)).await.expect("published");
    let publisher = transport.clone();
    let publishing = tokio::spawn(async move {
        loop {
            let events: Vec<Event> = (0..200).map(event).collect();
            let start = Instant::now();
            let answers = publisher.publish(&events).await;
            if let Some(error) = answers.into_iter().find_map(Result::err) {
                return (error, start.elapsed());
            }
        }
    });
    tokio::task::block_in_place(|| set("0"));
    let (error, took) = publishing.await.expect("no panic");
    check_refused(
        &Err(error),
        PublishErrorKind::Unavailable,
        "blocks publishers: low on memory",
    );
    assert!(took < Duration::from_secs(8), "{took:?}");
    let start = Instant::now();
    let answer = publish_one(&transport, &event(1)).await;
    check_refused(&answer, PublishErrorKind::Unavailable, "low on memory");
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    let problems = transport.check().await.problems;
    assert_eq!(problems[0].kind(), PublishErrorKind::Unavailable);
    let fresh = place.transport();
    let answer = publish_one(&fresh, &event(2)).await;
    check_refused(&answer, PublishErrorKind::Unavailable, "low on memory");
    tokio::task::block_in_place(|| set("0.4"));
    for transport in [transport, fresh] {
        let start = Instant::now();
        while publish_one(&transport, &event(3)).await.is_err() {
            assert!(start.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn a_silent_peer_is_noticed_by_its_heartbeats_between_calls() {
    let place = place();
    let wire = TcpWire::to(("127.0.0.1", place.broker.port())).expect("a free port");
    let url = Broker::as_user("guest:guest", wire.port());
    let transport = open(place.config_at(&format!("{url}?heartbeat=1")));
    publish_one(&transport, &event(0)).await.expect("published");
    wire.go_silent();
    let start = Instant::now();
    while !wire.has_silenced() {
        assert!(start.elapsed() < PATIENCE, "no heartbeat came");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Twice the time of a heartbeat, and a margin for a busy machine.
    tokio::time::sleep(Duration::from_secs(5)).await;
    wire.repair();
    let start = Instant::now();
    publish_one(&transport, &event(1)).await.expect("published");
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

/// How many threads of lapin serve connections to `port`. Only these have sockets.
fn sockets(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("a table");
    let peer = format!("0100007F:{port:04X}");
    let is_to_peer = |line: &&str| line.split_whitespace().nth(2) == Some(&peer);
    let is_established = |line: &&str| line.split_whitespace().nth(3) == Some("01");
    table
        .lines()
        .filter(is_to_peer)
        .filter(is_established)
        .count()
}

/// Lapin waits for the broker's part of the handshake forever.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_broker_that_never_answers_leaves_no_connections_behind() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let url = format!("amqp://guest:guest@127.0.0.1:{port}");
    let config = RabbitMqConfig::from_url(&url).expect("a URL");
    let transport = open(config.call_timeout(Duration::from_millis(200)));
    for _call in 0..5 {
        let answer = publish_one(&transport, &event(0)).await;
        check_refused(
            &answer,
            PublishErrorKind::Unavailable,
            "no connection within",
        );
    }
    let start = Instant::now();
    while sockets(port) > 0 {
        assert!(start.elapsed() < PATIENCE, "{} connections", sockets(port));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_port_for_tls_is_misconfigured_and_the_error_names_amqps() {
    const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 22];
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("connected");
        stream.read_exact(&mut [0; 8]).expect("greeted");
        stream.write_all(&ALERT).expect("answered");
    });
    let config = RabbitMqConfig::from_url(&format!("amqp://127.0.0.1:{port}")).expect("a URL");
    let answer = publish_one(&open(config), &event(0)).await;
    check_refused(&answer, PublishErrorKind::Misconfigured, "needs amqps://");
    server.join().expect("no panic");
}

#[tokio::test]
async fn an_absent_broker_is_unavailable_at_once_and_for_concurrent_calls() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let config = RabbitMqConfig::from_url(&format!("amqp://127.0.0.1:{port}")).expect("a URL");
    let transport = open(config);
    let start = Instant::now();
    let one = event(0);
    let calls = (0..16).map(|_| publish_one(&transport, &one));
    for answer in futures_util::future::join_all(calls).await {
        check_refused(&answer, PublishErrorKind::Unavailable, "refused");
    }
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn streams_confirm_what_they_keep() {
    let place = Place::with_queue(shared(), json!({"x-queue-type": "stream"}));
    let events: Vec<Event> = (0..50).map(event).collect();
    for answer in place.transport().publish(&events).await {
        answer.expect("published");
    }
    let path = format!("/queues/%2f/{}", place.name);
    let start = Instant::now();
    while place.broker.http("GET", &path, &json!(null)).1["messages"] != 50 {
        assert!(start.elapsed() < PATIENCE, "the stream has not all events");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[test]
fn a_config_that_cannot_work_is_refused() {
    let config = || RabbitMqConfig::new(AMQPUri::default());
    let long = template(&"x".repeat(256));
    let recovering = ConnectionProperties::default().enable_auto_recover();
    let vhost = AMQPUri {
        vhost: "x".repeat(256),
        ..AMQPUri::default()
    };
    for (config, words) in [
        (
            config().call_timeout(Duration::ZERO),
            "call timeout is 0ns, but must be",
        ),
        (
            config().call_timeout(Duration::from_secs(86_401)),
            "call timeout is 86401s",
        ),
        (
            config().exchange(long.clone()),
            "exchange is 256 bytes long",
        ),
        (config().routing_key(long), "routing key is 256 bytes long"),
        (
            config().connection_properties(recovering),
            "auto-recovery is on",
        ),
        (RabbitMqConfig::new(vhost), "virtual host is 256 bytes long"),
    ] {
        let error = RabbitMqTransport::open(config).expect_err("refused");
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// Lapin without TLS would send the login in plain text.
#[cfg(not(any(
    feature = "tls-rustls-ring-native-roots",
    feature = "tls-rustls-ring-webpki"
)))]
#[test]
fn tls_that_is_not_compiled_in_is_refused() {
    let error = RabbitMqConfig::from_url("amqps://guest:guest@mq.example").expect_err("refused");
    assert!(
        error
            .to_string()
            .contains("tls-rustls-ring-webpki is not enabled"),
        "{error}"
    );
    let uri: AMQPUri = "amqps://mq.example".parse().expect("a URI");
    RabbitMqTransport::open(uri).expect_err("refused");
}
