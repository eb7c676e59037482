//! What brokers do to a producer, each with its answer.

mod support;

use krafka::error::ErrorCode;
use krafka::testing::{ApiKey, Control};
use outbox_core::{Event, PublishError, PublishErrorKind, Transport};
use outbox_transport_kafka::KafkaConfig;
use outbox_transport_kafka::rdkafka::types::{RDKafkaApiKey as MockApi, RDKafkaRespErr as Code};
use std::net::TcpListener;
use std::time::{Duration, Instant};
use support::{
    Cluster, Fake, Mock, PATIENCE, TOPIC, all_ok, ids, keyed, open, refused, template, text,
};

/// Short enough for tests that wait for it.
const TIMEOUT: Duration = Duration::from_millis(1500);

const SIZE: Code = Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
const NONE: Code = Code::RD_KAFKA_RESP_ERR_NO_ERROR;

/// The next answers of a mock cluster to requests of a kind.
fn answer(mock: &Mock, api: MockApi, errors: &'static [Code]) {
    mock.run(move |cluster| cluster.request_errors(api, errors));
}

fn kinds(answers: &[Result<(), PublishError>]) -> Vec<Option<PublishErrorKind>> {
    let kind = |answer: &Result<(), PublishError>| answer.as_ref().err().map(PublishError::kind);
    answers.iter().map(kind).collect()
}

fn check_error(error: &PublishError, kind: PublishErrorKind, words: &str) {
    assert_eq!(error.kind(), kind, "{}", text(error));
    assert!(text(error).contains(words), "{}", text(error));
}

#[tokio::test]
async fn too_few_replicas_are_unavailable_until_there_are_enough() {
    let fake = Fake::start(1).await;
    fake.0.on(ApiKey::Produce, |_| {
        Control::Error(ErrorCode::NotEnoughReplicas)
    });
    let transport = open(fake.config().call_timeout(TIMEOUT));
    let events = keyed(4, 1);
    for answer in transport.publish(&events).await {
        let error = answer.expect_err("refused");
        check_error(
            &error,
            PublishErrorKind::Unavailable,
            "no delivery report within 1.5s",
        );
        assert_eq!(error.destination(), Some(TOPIC));
    }
    fake.0.clear_hooks();
    all_ok(&transport, &events).await;
    assert_eq!(ids(&fake.events(TOPIC).await), ids(&events));
}

/// A broker that does not know the producer takes any first sequence. So a second batch in flight behind a
/// refused first one would be taken, and librdkafka would then report both as delivered.
#[tokio::test]
async fn no_event_is_lost_when_the_first_batch_of_a_partition_is_refused() {
    for (errors, keys) in [(1, 1), (2, 1), (1, 6), (2, 6)] {
        let fake = Fake::start(1).await;
        fake.0.on_times(ApiKey::Produce, errors, |_| {
            Control::Error(ErrorCode::NotEnoughReplicas)
        });
        let mut events = keyed(6, keys);
        for event in &mut events {
            event.payload = vec![b'x'; 600_000].into();
        }
        all_ok(&fake.transport(), &events).await;
        let mut arrived = ids(&fake.events(TOPIC).await);
        if keys > 1 {
            arrived.sort();
        }
        assert_eq!(arrived, ids(&events), "{errors} errors, {keys} keys");
    }
}

#[tokio::test]
async fn a_forbidden_topic_is_misconfigured_and_named() {
    let forbidden = Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    let mock = Mock::start(1, 1);
    let transport = mock.transport();
    all_ok(&transport, &keyed(1, 1)).await;
    answer(
        &mock,
        MockApi::Produce,
        &[Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED],
    );
    let error = refused(&transport).await;
    check_error(
        &error,
        PublishErrorKind::Misconfigured,
        "authorization failed",
    );
    assert_eq!(error.destination(), Some(TOPIC));
    all_ok(&transport, &keyed(1, 1)).await;

    mock.run(move |cluster| cluster.topic_error(TOPIC, forbidden))
        .expect("set");
    let problems = mock.transport().check().await.problems;
    check_error(
        &problems[0],
        PublishErrorKind::Misconfigured,
        "authorization failed",
    );
    assert_eq!(problems[0].destination(), Some(TOPIC));
}

#[tokio::test]
async fn a_broker_without_idempotent_writes_is_misconfigured() {
    let mock = Mock::start(1, 1);
    let refusal = &[Code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED];
    answer(&mock, MockApi::InitProducerId, refusal);
    let transport = mock.transport();
    let error = refused(&transport).await;
    check_error(
        &error,
        PublishErrorKind::Misconfigured,
        "uthorization failed",
    );
    assert_eq!(error.destination(), None);
    all_ok(&transport, &keyed(1, 1)).await;
}

/// A broker refuses a batch as a whole, so its messages are sent again one by one.
#[tokio::test]
async fn a_batch_that_is_too_large_is_sent_one_by_one() {
    let mock = Mock::start(1, 1);
    let transport = mock.transport();
    all_ok(&transport, &keyed(1, 1)).await;
    answer(&mock, MockApi::Produce, &[SIZE]);
    let events = keyed(20, 1);
    all_ok(&transport, &events).await;
    let arrived = ids(&mock.events(TOPIC).await);
    assert_eq!(arrived[1..], ids(&events));
}

#[tokio::test]
async fn the_broker_finds_an_event_too_large_and_none_of_its_key_is_sent_behind_it() {
    for place in 0..4 {
        let mock = Mock::start(1, 1);
        let transport = mock.transport();
        all_ok(&transport, &keyed(1, 1)).await;
        let errors: &[Code] = match place {
            0 => &[SIZE, SIZE],
            1 => &[SIZE, NONE, SIZE],
            2 => &[SIZE, NONE, NONE, SIZE],
            _ => &[SIZE, NONE, NONE, NONE, SIZE],
        };
        answer(&mock, MockApi::Produce, errors);
        let call = keyed(4, 1);
        let answers = transport.publish(&call).await;
        let expected = (0..4).map(|number| match number {
            number if number < place => None,
            number if number == place => Some(PublishErrorKind::Permanent),
            _ => Some(PublishErrorKind::Unavailable),
        });
        let expected: Vec<_> = expected.collect();
        assert_eq!(kinds(&answers), expected, "{answers:?}");
        let accepted = call
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| answer.is_ok());
        let accepted: Vec<_> = accepted.map(|(event, _)| event.id).collect();
        assert_eq!(ids(&mock.events(TOPIC).await)[1..], accepted);
    }
}

#[tokio::test]
async fn an_invalid_record_is_rejected_and_its_neighbours_arrive() {
    const INVALID: Code = Code::RD_KAFKA_RESP_ERR_INVALID_RECORD;
    let mock = Mock::start(1, 1);
    // The three events are in one batch.
    let transport = open(mock.config().property("linger.ms", "500"));
    all_ok(&transport, &keyed(1, 1)).await;
    answer(&mock, MockApi::Produce, &[INVALID, NONE, INVALID]);
    let answers = transport.publish(&keyed(3, 3)).await;
    assert_eq!(
        kinds(&answers),
        [None, Some(PublishErrorKind::Rejected), None]
    );
    assert_eq!(
        answers[1].as_ref().expect_err("rejected").destination(),
        Some(TOPIC)
    );
}

/// These end the producer of librdkafka, or its epoch.
#[tokio::test]
async fn a_lost_sequence_is_unavailable_at_most_and_ends() {
    let errors: [&'static [Code]; 3] = [
        &[Code::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER],
        &[Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH],
        &[Code::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID],
    ];
    for error in errors {
        let mock = Mock::start(1, 1);
        let transport = mock.transport();
        let before = keyed(3, 1);
        all_ok(&transport, &before).await;
        answer(&mock, MockApi::Produce, error);
        let events = keyed(5, 1);
        let answers = transport.publish(&events).await;
        for kind in kinds(&answers) {
            let innocent = [None, Some(PublishErrorKind::Unavailable)];
            assert!(innocent.contains(&kind), "{error:?}: {answers:?}");
        }
        let taken = answers.iter().take_while(|answer| answer.is_ok()).count();
        assert!(
            answers[taken..].iter().all(Result::is_err),
            "{error:?}: {answers:?}"
        );
        all_ok(&transport, &events[taken..]).await;
        let arrived = ids(&mock.events(TOPIC).await);
        assert_eq!(arrived, [ids(&before), ids(&events)].concat(), "{error:?}");
    }
}

/// A sequence that the broker does not expect: a part of the log is gone.
#[tokio::test]
async fn after_a_fatal_error_a_call_gets_a_new_producer() {
    let fake = Fake::start(1).await;
    let transport = fake.transport();
    all_ok(&transport, &keyed(1, 1)).await;
    fake.0.on_once(ApiKey::Produce, |_| {
        Control::Error(ErrorCode::OutOfOrderSequenceNumber)
    });
    let events = keyed(5, 1);
    let mut left = &events[..];
    for _call in 0..2 {
        let answers = transport.publish(left).await;
        left = &left[answers.iter().take_while(|answer| answer.is_ok()).count()..];
    }
    assert!(left.is_empty(), "{} events are left", left.len());
    assert_eq!(ids(&fake.events(TOPIC).await)[1..], ids(&events));
}

#[tokio::test]
async fn a_slow_broker_is_unavailable_and_the_order_is_kept() {
    let mock = Mock::start(1, 1);
    let transport = open(mock.config().call_timeout(TIMEOUT));
    let events = keyed(6, 1);
    all_ok(&transport, &events[..2]).await;
    let slow = |cluster: &support::Mocked| cluster.broker_round_trip_time(-1, TIMEOUT * 2);
    mock.run(slow).expect("slow");
    for answer in transport.publish(&events[2..]).await {
        check_error(
            &answer.expect_err("late"),
            PublishErrorKind::Unavailable,
            "within 1.5s",
        );
    }
    let quick = |cluster: &support::Mocked| cluster.broker_round_trip_time(-1, Duration::ZERO);
    mock.run(quick).expect("quick");
    let begun = Instant::now();
    while transport
        .publish(&events[2..])
        .await
        .iter()
        .any(Result::is_err)
    {
        assert!(begun.elapsed() < PATIENCE, "it stays slow");
    }
    let mut arrived = ids(&mock.events(TOPIC).await);
    let mut seen = std::collections::HashSet::new();
    arrived.retain(|id| seen.insert(*id));
    assert_eq!(arrived, ids(&events));
}

#[tokio::test]
async fn a_partition_without_a_leader_is_unavailable_and_the_check_says_so() {
    let mock = Mock::start(1, 1);
    let transport = open(mock.config().call_timeout(TIMEOUT));
    all_ok(&transport, &keyed(1, 1)).await;
    let headless = |cluster: &support::Mocked| cluster.partition_leader(TOPIC, 0, None);
    mock.run(headless).expect("set");
    let error = refused(&open(mock.config().call_timeout(TIMEOUT))).await;
    assert_eq!(
        error.kind(),
        PublishErrorKind::Unavailable,
        "{}",
        text(&error)
    );
    let problems = transport.check().await.problems;
    check_error(
        &problems[0],
        PublishErrorKind::Unavailable,
        "partitions without a leader: 1",
    );
    let led = |cluster: &support::Mocked| cluster.partition_leader(TOPIC, 0, Some(1));
    mock.run(led).expect("set");
    let begun = Instant::now();
    while transport.publish(&keyed(1, 1)).await[0].is_err() {
        assert!(begun.elapsed() < PATIENCE, "it finds no leader");
    }
}

#[tokio::test]
async fn leaders_change_between_calls_and_the_order_is_kept() {
    let fake = Fake::start_cluster(3, 1).await;
    let transport = fake.transport();
    let events = keyed(90, 3);
    for (round, events) in (0..).zip(events.chunks(10)) {
        assert!(fake.0.set_leader(TOPIC, 0, round % 3));
        all_ok(&transport, events).await;
    }
    assert_eq!(ids(&fake.events(TOPIC).await), ids(&events));
}

/// The other call's partition has no leader, so its call timeout ends the producer that both share.
#[tokio::test]
async fn a_call_continues_when_another_one_ends_their_producer() {
    let mock = Mock::start(1, 1);
    mock.create("headless", 1);
    let headless = |cluster: &support::Mocked| {
        cluster.partition_leader("headless", 0, None)?;
        cluster.broker_round_trip_time(-1, Duration::from_millis(30))
    };
    mock.run(headless).expect("set");
    let transport = open(
        mock.config()
            .topic(template("{type}"))
            .call_timeout(PATIENCE),
    );
    let dropped = [Event::new("headless", "x")];
    let events: Vec<Event> = keyed(5, 1);
    let events: Vec<Event> = events
        .into_iter()
        .map(|mut event| {
            event.event_type = TOPIC.into();
            event
        })
        .collect();
    let answers = {
        let mut beside = transport.publish(&events);
        let mut other = Some(transport.publish(&dropped));
        let mut polls = 0;
        std::future::poll_fn(|context| {
            polls += 1;
            if let Some(call) = &mut other
                && polls < 2
            {
                assert!(call.as_mut().poll(context).is_pending());
            }
            let answers = beside.as_mut().poll(context);
            // Dropped while the messages of both are in flight.
            other = None;
            answers
        })
        .await
    };
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let mut arrived = ids(&mock.events(TOPIC).await);
    arrived.dedup();
    assert!(arrived.starts_with(&ids(&events)), "{arrived:?}");
}

#[tokio::test]
async fn a_missing_topic_costs_the_events_of_others_nothing() {
    let fake = Fake::start(1).await;
    let transport = open(fake.config().topic(template("{type}")));
    let typed = |name: &str| Event::new(name, "x").ordering_key("k");
    all_ok(&transport, &[typed(TOPIC)]).await;
    let call = [
        typed("missing"),
        typed("no topic"),
        typed(TOPIC),
        typed("missing"),
    ];
    for _again in 0..3 {
        let answers = transport.publish(&call[..1]).await;
        let error = answers[0].as_ref().expect_err("missing");
        check_error(error, PublishErrorKind::Misconfigured, "Unknown topic");
        assert_eq!(error.destination(), Some("missing"));
    }
    let others: Vec<Event> = call.map(|event| event.ordering_key(uuid())).to_vec();
    let answers = transport.publish(&others).await;
    let misconfigured = Some(PublishErrorKind::Misconfigured);
    assert_eq!(
        kinds(&answers),
        [misconfigured, misconfigured, None, misconfigured]
    );
    let error = answers[1].as_ref().expect_err("not allowed");
    check_error(
        error,
        PublishErrorKind::Misconfigured,
        "topic is \"no topic\", but must be 1 to 249",
    );
    // One producer, so nothing was purged.
    assert_eq!(fake.0.request_count(ApiKey::InitProducerId), 1);
    assert_eq!(fake.events(TOPIC).await.len(), 2);
}

fn uuid() -> String {
    outbox_core::EventId::new().to_string()
}

#[tokio::test]
async fn a_full_queue_is_waited_for() {
    let fake = Fake::start(1).await;
    let config = fake.config().property("queue.buffering.max.messages", "7");
    let events = keyed(500, 3);
    all_ok(&open(config), &events).await;
    assert_eq!(ids(&fake.events(TOPIC).await), ids(&events));
}

#[tokio::test]
async fn an_absent_broker_is_unavailable_in_time_and_says_why() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let transport = open(KafkaConfig::new(address.to_string()).call_timeout(TIMEOUT));
    let begun = Instant::now();
    let error = refused(&transport).await;
    check_error(&error, PublishErrorKind::Unavailable, "refused");
    assert_eq!(error.destination(), None);
    let problems = transport.check().await.problems;
    check_error(&problems[0], PublishErrorKind::Unavailable, "refused");
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_wrong_password_is_misconfigured_at_once() {
    let fake = Fake::start(1).await;
    fake.0.require_sasl_plain("me", "secret");
    let url = |login: &str| format!("kafka://{login}@{}/{TOPIC}", fake.servers());
    let begun = Instant::now();
    let wrong = KafkaConfig::from_url(&url("me:wrong-word")).expect("a URL");
    let transport = open(wrong.call_timeout(PATIENCE));
    let error = refused(&transport).await;
    check_error(&error, PublishErrorKind::Misconfigured, "");
    assert!(!text(&error).contains("wrong-word"), "{}", text(&error));
    assert_eq!(error.destination(), None);
    let problems = transport.check().await.problems;
    check_error(&problems[0], PublishErrorKind::Misconfigured, "");
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    let right = KafkaConfig::from_url(&url("me:secret")).expect("a URL");
    all_ok(&open(right), &keyed(2, 1)).await;
}

/// T5, T7: the broker has taken the events of a dropped call, but not answered it.
#[tokio::test]
async fn the_events_of_a_dropped_call_do_not_pass_later_ones() {
    let fake = Fake::start(1).await;
    let transport = fake.transport();
    for applied in [true, false] {
        let events = keyed(8, 1);
        let before = fake.events(TOPIC).await.len();
        fake.0.on_once(ApiKey::Produce, move |_| {
            if applied {
                Control::ApplyThen(Box::new(Control::Silence))
            } else {
                Control::Silence
            }
        });
        let count = fake.0.request_count(ApiKey::Produce) + 1;
        tokio::select! {
            _ = transport.publish(&events[..4]) => panic!("an answer"),
            arrived = fake.0.wait_for_requests(ApiKey::Produce, count, PATIENCE) => assert!(arrived),
        }
        for event in &events {
            all_ok(&transport, std::slice::from_ref(event)).await;
        }
        let mut arrived = ids(&fake.events(TOPIC).await[before..]);
        let mut seen = std::collections::HashSet::new();
        arrived.retain(|id| seen.insert(*id));
        assert_eq!(arrived, ids(&events));
    }
}

#[tokio::test]
async fn the_largest_event_arrives_and_a_larger_one_is_permanent() {
    let fake = Fake::start(1).await;
    let transport = open(fake.config().largest_event(10_000));
    let of_size = |bytes: usize| Event::new("large", vec![b'x'; bytes]).ordering_key("k");
    let answers = transport.publish(&[of_size(10_001)]).await;
    let error = text(answers[0].as_ref().expect_err("too large"));
    let size: usize = error
        .split("record has ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next()?.parse().ok())
        .expect("a size");
    let fits = 10_000 - (size - 10_001);
    let call = [
        of_size(fits - 1),
        of_size(fits),
        of_size(fits + 1),
        of_size(1),
    ];
    let (permanent, behind) = (PublishErrorKind::Permanent, PublishErrorKind::Unavailable);
    let answers = transport.publish(&call).await;
    assert_eq!(kinds(&answers), [None, None, Some(permanent), Some(behind)]);
    assert_eq!(ids(&fake.events(TOPIC).await), ids(&call[..2]));
}

#[tokio::test]
async fn a_check_knows_brokers_and_partitions_and_publishes_nothing() {
    let fake = Fake::start_cluster(2, 3).await;
    let found = fake.transport().check().await;
    assert!(found.problems.is_empty(), "{found:?}");
    let notes = found.notes.join("\n");
    for note in [
        "brokers: 2",
        "partitions of the topic: 3",
        "up to about 1000000 bytes",
    ] {
        assert!(notes.contains(note), "{notes}");
    }
    let many = open(fake.config().topic(template("{type}"))).check().await;
    assert!(many.problems.is_empty() && many.notes.join("").contains("none was looked for"));
    assert_eq!(fake.0.request_count(ApiKey::Produce), 0);
}
