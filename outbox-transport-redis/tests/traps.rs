//! What Redis does to a publisher, and what the transport answers.

mod support;

use outbox_conformance::{TcpWire, Wire};
use outbox_core::{Event, PublishError, PublishErrorKind, Transport};
use outbox_transport_redis::{RedisTransport, Trim};
use std::error::Error;
use std::process::Command;
use std::time::Duration;
use support::{
    Redis, address, config, constant, entries, events, ids, keyed, new_name, open, send, shared,
};
use test_servers::search_path;

fn event() -> Event {
    Event::new("order.placed", "x").ordering_key("7")
}

async fn refused(transport: &RedisTransport) -> PublishError {
    let mut answers = transport.publish(&[event()]).await;
    let answer = answers.pop().expect("an answer");
    answer.expect_err("the server refuses it")
}

/// The whole chain of an error, as an operator sees it.
fn text(error: &PublishError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

async fn all_ok(transport: &RedisTransport, events: &[Event]) {
    for answer in transport.publish(events).await {
        answer.unwrap_or_else(|error| panic!("{}", text(&error)));
    }
}

#[tokio::test]
async fn a_key_of_another_type_is_misconfigured_with_its_name_and_the_words_of_redis() {
    let (url, stream) = (shared(), new_name());
    let transport = open(config(&url).stream(constant(&stream)));
    send::<()>(&url, &["SET", &stream, "x"]);
    let error = refused(&transport).await;
    assert_eq!(error.kind(), PublishErrorKind::Misconfigured);
    assert_eq!(error.destination(), Some(&*stream));
    assert!(text(&error).contains("WRONGTYPE"), "{}", text(&error));
    let check = transport.check().await;
    let problem = check.problems.first().expect("a problem");
    assert_eq!(problem.kind(), PublishErrorKind::Misconfigured);
    assert_eq!(problem.destination(), Some(&*stream));
    send::<()>(&url, &["DEL", &stream]);
    all_ok(&transport, &[event()]).await;
}

#[tokio::test]
async fn a_wrong_or_missing_password_is_misconfigured_and_not_shown() {
    let redis = Redis::start(&["--requirepass", "right"]);
    for url in [redis.url_of("default", "wrong"), redis.url()] {
        let transport = open(config(&url));
        let error = refused(&transport).await;
        assert_eq!(error.kind(), PublishErrorKind::Misconfigured, "{error:?}");
        assert_eq!(error.destination(), None);
        let problems = transport.check().await.problems;
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].kind(), PublishErrorKind::Misconfigured);
        let shown = format!("{} {error:?} {transport:?} {problems:?}", text(&error));
        assert!(
            !shown.contains("wrong@") && !shown.contains(":wrong"),
            "{shown}"
        );
    }
    let transport = open(config(&redis.url_of("default", "right")));
    all_ok(&transport, &[event()]).await;
}

#[tokio::test]
async fn a_user_without_the_right_to_a_transaction_adds_nothing() {
    let redis = Redis::start(&[]);
    let grant = |rights: &[&str]| {
        let user = ["ACL", "SETUSER", "relay", "reset", "on", ">secret", "~*"];
        redis.send::<()>(&[&user[..], rights].concat());
    };
    let transport = open(config(&redis.url_of("relay", "secret")));
    for rights in [
        &["+xadd"][..],
        &["+xadd", "+multi"],
        &["+xadd", "+exec"],
        &["+multi", "+exec"],
    ] {
        grant(rights);
        let error = refused(&transport).await;
        assert_eq!(error.kind(), PublishErrorKind::Misconfigured, "{rights:?}");
        assert_eq!(error.destination(), None, "{error:?}");
        assert_eq!(entries(&redis.url(), "outbox"), [], "{rights:?}");
    }
    grant(&["+xadd", "+multi", "+exec"]);
    all_ok(&transport, &[event()]).await;
}

#[tokio::test]
async fn a_replica_and_too_few_replicas_are_unavailable_until_that_ends() {
    let redis = Redis::start(&[]);
    let transport = redis.transport();
    all_ok(&transport, &[event()]).await;
    redis.send::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    let error = refused(&transport).await;
    assert_eq!(error.kind(), PublishErrorKind::Unavailable, "{error:?}");
    redis.send::<()>(&["REPLICAOF", "NO", "ONE"]);
    all_ok(&transport, &[event()]).await;
    redis.send::<()>(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let error = refused(&transport).await;
    assert_eq!(error.kind(), PublishErrorKind::Unavailable, "{error:?}");
    assert!(text(&error).contains("NOREPLICAS"), "{}", text(&error));
    let problems = transport.check().await.problems;
    assert_eq!(problems[0].kind(), PublishErrorKind::Unavailable);
    redis.send::<()>(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    all_ok(&transport, &[event()]).await;
}

#[tokio::test]
async fn an_event_is_accepted_only_when_the_replicas_have_it() {
    let (master, replica) = (Redis::start(&[]), Redis::start(&[]));
    let moment = Duration::from_millis(200);
    let transport = open(config(&master.url()).wait(1, moment));
    let error = refused(&transport).await;
    assert_eq!(error.kind(), PublishErrorKind::Unavailable);
    assert!(text(&error).contains("0 of 1 replicas"), "{}", text(&error));
    assert_eq!(
        entries(&master.url(), "outbox").len(),
        1,
        "it may arrive twice"
    );
    let problems = transport.check().await.problems;
    assert!(text(&problems[0]).contains("0 replicas"), "{problems:?}");

    let port = master.port().to_string();
    replica.send::<()>(&["REPLICAOF", "127.0.0.1", &port]);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !transport.check().await.problems.is_empty() {
        assert!(std::time::Instant::now() < deadline, "no replica connects");
    }
    let patient = open(config(&master.url()).wait(1, Duration::from_secs(9)));
    let sent = keyed(3, 1);
    all_ok(&patient, &sent).await;
    let copied = events(&replica.url(), "outbox");
    assert_eq!(ids(&copied[copied.len() - 3..]), ids(&sent));
}

#[tokio::test]
async fn a_large_event_is_permanent_and_the_neighbours_arrive_if_the_user_may_not_ask_for_limits() {
    let redis = Redis::start(&["--proto-max-bulk-len", "1mb"]);
    let rights = ["+multi", "+exec", "+xadd"];
    let user = ["ACL", "SETUSER", "relay", "on", ">secret", "~*"];
    redis.send::<()>(&[&user[..], &rights].concat());
    let large = Event::new("order.placed", vec![b'x'; 2 << 20]).ordering_key("large");
    let behind = event().ordering_key("large");
    let call = [event(), large, behind, event()];

    let configured = config(&redis.url_of("relay", "secret")).largest_event(1 << 20);
    let answers = open(configured).publish(&call).await;
    let kinds = answers
        .iter()
        .map(|answer| answer.as_ref().map_err(PublishError::kind));
    let unavailable = Err(PublishErrorKind::Unavailable);
    let expected = [
        Ok(&()),
        Err(PublishErrorKind::Permanent),
        unavailable,
        Ok(&()),
    ];
    assert_eq!(kinds.collect::<Vec<_>>(), expected);
    let arrived = ids(&events(&redis.url(), "outbox"));
    assert_eq!(arrived, [call[0].id, call[3].id]);

    // Redis closes the connection, and its reason may be lost with it.
    let transport = open(config(&redis.url_of("relay", "secret")));
    let answers = transport.publish(&call).await;
    assert!(answers[0].is_ok() && answers[1].is_err() && answers[2].is_err());
    all_ok(&transport, &[event()]).await;
    let note = transport.check().await.notes.join("; ");
    assert!(note.contains("largest_event"), "{note}");
}

/// T7: the connection is cut at each piece of a call with three transactions of one key.
#[tokio::test]
async fn nothing_is_sent_behind_a_transaction_that_failed() {
    let url = shared();
    let wire = TcpWire::to(address(&url)).expect("a free port");
    let wired = format!("redis://127.0.0.1:{}/", wire.port());
    let mut cuts = 0;
    for pieces in 0.. {
        let stream = new_name();
        let transport = open(config(&wired).stream(constant(&stream)));
        let sent = keyed(1200, 1);
        wire.cut_request(pieces);
        let answers = transport.publish(&sent).await;
        let is_cut = wire.repair();
        let taken = answers.iter().take_while(|answer| answer.is_ok()).count();
        assert!(
            answers[taken..].iter().all(Result::is_err),
            "after {pieces} pieces"
        );
        let arrived = ids(&events(&url, &stream));
        assert!(arrived.len() >= taken, "after {pieces} pieces");
        assert_eq!(
            arrived,
            ids(&sent[..arrived.len()]),
            "after {pieces} pieces"
        );
        if !is_cut {
            assert_eq!(taken, sent.len());
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 3, "{cuts} cuts");
}

/// A transaction counts as part of the query buffer since Redis 7.4, so none may be as large as this limit.
#[tokio::test]
async fn a_large_call_fits_in_the_smallest_query_buffer() {
    let redis = Redis::start(&["--client-query-buffer-limit", "1mb"]);
    let mut sent = keyed(40, 4);
    for event in &mut sent {
        event.payload = vec![b'x'; 200 << 10].into();
    }
    all_ok(&redis.transport(), &sent).await;
    assert_eq!(ids(&events(&redis.url(), "outbox")), ids(&sent));
    let mut refused = keyed(1, 1);
    refused[0].payload = vec![b'x'; 1 << 20].into();
    let answers = redis.transport().publish(&refused).await;
    let error = answers[0].as_ref().expect_err("it is too large");
    assert_eq!(error.kind(), PublishErrorKind::Permanent, "{error:?}");
    assert!(
        text(error).contains("client-query-buffer-limit"),
        "{}",
        text(error)
    );
}

#[tokio::test]
async fn old_entries_stay_unless_the_config_trims_them() {
    let (url, stream) = (shared(), new_name());
    let sent = keyed(1200, 5);
    let plain = open(config(&url).stream(constant(&stream)));
    all_ok(&plain, &sent).await;
    assert_eq!(ids(&events(&url, &stream)), ids(&sent));
    let trimming = config(&url).stream(constant(&stream));
    all_ok(&open(trimming.trim(Trim::Length(300))), &[event()]).await;
    let left = entries(&url, &stream).len();
    assert!((300..=401).contains(&left), "{left} entries");
    let aged = config(&url).stream(constant(&stream));
    let hour = Duration::from_secs(3600);
    all_ok(&open(aged.trim(Trim::Age(hour))), &[event()]).await;
    assert_eq!(entries(&url, &stream).len(), left + 1);
    tokio::time::sleep(Duration::from_millis(5)).await;
    let aged = config(&url).stream(constant(&stream));
    all_ok(
        &open(aged.trim(Trim::Age(Duration::from_millis(1)))),
        &[event()],
    )
    .await;
    let left = entries(&url, &stream).len();
    assert!(left <= 101, "{left} entries");
}

#[tokio::test]
async fn redis_cli_shows_the_fields() {
    let (url, stream) = (shared(), new_name());
    let sent = event().header("data", "mine").header("tenant", "a b");
    all_ok(
        &open(config(&url).stream(constant(&stream))),
        std::slice::from_ref(&sent),
    )
    .await;
    let folder = search_path()
        .into_iter()
        .find(|folder| folder.join("redis-cli").is_file());
    let program = folder.expect("redis-cli").join("redis-cli");
    let output = Command::new(program)
        .args(["-u", &url, "XRANGE", &stream, "-", "+"])
        .output()
        .expect("redis-cli runs");
    let output = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<&str> = output.lines().skip(1).map(str::trim).collect();
    let id = sent.id.to_string();
    for (name, value) in [
        ("outbox-id", &*id),
        ("outbox-type", "order.placed"),
        ("outbox-key", "7"),
        ("outbox-header-data", "mine"),
        ("tenant", "a b"),
        ("content-type", &*sent.content_type),
        ("data", "x"),
    ] {
        let mut pairs = lines.chunks(2).filter(|pair| pair[0] == name);
        assert_eq!(pairs.next(), Some(&[name, value][..]), "{output}");
        assert_eq!(pairs.next(), None, "{name} is there twice: {output}");
    }
    assert_eq!(events(&url, &stream)[0].headers, sent.headers);
}

#[tokio::test]
async fn a_call_for_a_thousand_streams_is_published() {
    let (url, prefix) = (shared(), new_name());
    let template = constant(&format!("{prefix}:{{key}}"));
    let transport = open(config(&url).stream(template));
    let sent = keyed(2000, 1000);
    all_ok(&transport, &sent).await;
    for key in [0, 999] {
        let stream = format!("{prefix}:key {key}");
        assert_eq!(
            ids(&events(&url, &stream)),
            [sent[key].id, sent[key + 1000].id]
        );
    }
    let without = transport.publish(&[Event::new("order.placed", "x")]).await;
    let error = without[0].as_ref().expect_err("it has no key");
    assert_eq!(error.kind(), PublishErrorKind::Misconfigured);
}

#[tokio::test]
async fn a_check_warns_of_what_loses_events_and_adds_nothing() {
    let redis = Redis::start(&["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"]);
    let check = redis.transport().check().await;
    assert!(check.problems.is_empty(), "{check:?}");
    let notes = [check.warnings, check.notes].concat().join("\n");
    for note in [
        "allkeys-lru",
        "appendonly is off",
        "does not exist",
        "largest event",
    ] {
        assert!(notes.contains(note), "{notes}");
    }
    assert_eq!(redis.send::<usize>(&["DBSIZE"]), 0);
}

#[tokio::test]
async fn a_stream_that_can_take_no_more_ids_is_misconfigured() {
    let (url, stream) = (shared(), new_name());
    let last = format!("{0}-{0}", u64::MAX);
    send::<()>(&url, &["XADD", &stream, &last, "a", "b"]);
    let transport = open(config(&url).stream(constant(&stream)));
    let error = refused(&transport).await;
    assert_eq!(error.kind(), PublishErrorKind::Misconfigured, "{error:?}");
    assert_eq!(error.destination(), Some(&*stream));
}

#[tokio::test]
async fn a_socket_works() {
    let redis = Redis::start(&[]);
    let folder: Vec<String> = redis.send(&["CONFIG", "GET", "unixsocket"]);
    let transport = open(config(&format!("redis+unix://{}", folder[1])));
    all_ok(&transport, &keyed(3, 1)).await;
    assert_eq!(entries(&redis.url(), "outbox").len(), 3);
}

#[cfg(not(any(
    feature = "tls-rustls-ring-webpki",
    feature = "tls-rustls-ring-native-roots"
)))]
#[test]
fn tls_that_is_not_compiled_in_is_refused_by_name() {
    use outbox_transport_redis::RedisTransportConfig;
    let error = RedisTransportConfig::from_url("rediss://me:secret@host/").expect_err("no TLS");
    let error = error.to_string();
    assert!(error.contains("tls-rustls-ring"), "{error}");
    assert!(!error.contains("secret"), "{error}");
}
