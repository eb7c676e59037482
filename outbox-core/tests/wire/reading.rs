//! Messages of other programs, and messages that are refused.

use crate::{read, value};
use outbox_core::wire::{Binding, Mode, WireForm};
use outbox_core::{ErrorKind, Event, PublishErrorKind};
use std::error::Error;
use std::time::{Duration, SystemTime};

const ID: &str = "01900000-0000-7000-8000-000000000007";

const RAW: [(&str, &str); 3] = [
    ("outbox-id", ID),
    ("outbox-type", "x"),
    ("outbox-created-at", "2026-01-31T12:00:00Z"),
];

const BINARY: [(&str, &str); 4] = [
    ("ce-specversion", "1.0"),
    ("ce-id", ID),
    ("ce-source", "/a"),
    ("ce-type", "x"),
];

fn refused(binding: Binding, headers: &[(&str, &str)], body: &'static str, problem: &str) {
    let error = read(binding, headers, body).expect_err(problem);
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("wire: read: invalid: {problem}")),
        "{text}"
    );
}

/// The headers, with one of them replaced or removed.
fn with<'a, const N: usize>(
    headers: [(&'a str, &'a str); N],
    name: &'a str,
    value: Option<&'a str>,
) -> Vec<(&'a str, &'a str)> {
    let others = headers.into_iter().filter(|(other, _)| *other != name);
    others.chain(value.map(|value| (name, value))).collect()
}

#[test]
fn a_wrong_header_is_named_with_its_value_and_what_is_allowed() {
    for (name, value, problem) in [
        (
            "outbox-id",
            None,
            "outbox-id is missing, but must be a UUID such as",
        ),
        (
            "outbox-id",
            Some("7"),
            "outbox-id is \"7\", but must be a UUID such as",
        ),
        (
            "outbox-type",
            None,
            "outbox-type is missing, but must be a text",
        ),
        (
            "outbox-type",
            Some(""),
            "outbox-type is missing, but must be a text",
        ),
        (
            "outbox-created-at",
            None,
            "outbox-created-at is missing, but must be a time of RFC 3339",
        ),
        (
            "outbox-created-at",
            Some("12:00"),
            "outbox-created-at is \"12:00\", but must be a time",
        ),
        (
            "outbox-key",
            Some("%ff"),
            "outbox-key is \"%ff\", but must be percent-encoded UTF-8",
        ),
        (
            "outbox-header-a",
            Some("%C0%A0"),
            "outbox-header-a is \"%C0%A0\", but must be percent-enc",
        ),
        ("Outbox-Id", Some("7"), "Outbox-Id is "),
    ] {
        refused(Binding::Nats, &with(RAW, name, value), "", problem);
    }
    for (name, value, problem) in [
        (
            "ce-id",
            None,
            "ce-id is missing, but must be a UUID such as",
        ),
        (
            "ce-id",
            Some("A234-1234"),
            "ce-id is \"A234-1234\", but must be a UUID such as",
        ),
        ("ce-type", None, "ce-type is missing, but must be a text"),
        (
            "ce-time",
            Some("now"),
            "ce-time is \"now\", but must be a time of RFC 3339",
        ),
        (
            "ce-specversion",
            Some("0.3"),
            "ce-specversion is \"0.3\", but must be 1.0",
        ),
        (
            "ce-subject",
            Some("%C0%A0"),
            "ce-subject is \"%C0%A0\", but must be percent-encoded",
        ),
        ("CE-ID", Some("x"), "CE-ID is \"01900000"),
        (
            "content-type",
            Some("application/cloudevents+avro"),
            "content-type is \"application/cloudevents+avro\", but must be application/cloudevents+json",
        ),
    ] {
        refused(Binding::Nats, &with(BINARY, name, value), "", problem);
    }
    refused(
        Binding::Amqp,
        &[("a", "b")],
        "x",
        "message has no header outbox-id or cloudEvents:specversion, so its",
    );
    refused(
        Binding::Nats,
        &[("content-type", "text/plain")],
        "{}",
        "message has no header outbox-id",
    );
}

#[test]
fn a_wrong_member_is_named_with_its_value_and_what_is_allowed() {
    for (body, problem) in [
        ("", "body is not JSON (EOF"),
        ("[]", "body is not JSON ("),
        ("{}", "specversion is missing, but must be 1.0"),
        (
            r#"{"specversion":1.0}"#,
            "specversion is \"1.0\", but must be a string",
        ),
        (
            r#"{"specversion":"1.0","id":7,"type":"x"}"#,
            "id is \"7\", but must be a string",
        ),
        (
            r#"{"specversion":"1.0","id":"7","type":"x"}"#,
            "id is \"7\", but must be a UUID",
        ),
        (
            r#"{"specversion":"1.0","id":null,"type":"x"}"#,
            "id is missing, but must be a UUID",
        ),
    ] {
        let content_type = [("content-type", "application/cloudevents+json")];
        refused(Binding::Kafka, &content_type, body, problem);
    }
    for (members, problem) in [
        (r#""type":null"#, "type is missing, but must be a text"),
        (
            r#""type":"x","time":"1""#,
            "time is \"1\", but must be a time of RFC 3339",
        ),
        (
            r#""type":"x","data":1,"data_base64":"YQ==""#,
            "data is \"1\", but must be absent, as data_base64 is present",
        ),
        (
            r#""type":"x","data_base64":"?""#,
            "data_base64 is \"?\", but must be base64",
        ),
        (
            r#""type":"x","datacontenttype":"text/xml","data":{}"#,
            "data is \"{}\", but must be a string",
        ),
        (
            r#""type":"x","datacontenttype":"text/xml","data":"\ud800""#,
            "data is \"\\\"\\\\ud800",
        ),
    ] {
        let body: String = format!(r#"{{"specversion":"1.0","id":"{ID}",{members}}}"#);
        refused(Binding::Nats, &[], body.leak(), problem);
    }
}

#[test]
fn structured_events_of_others_are_read() {
    for (members, content_type, payload) in [
        (
            r#""data":{"a" : 1.50}"#,
            "application/json",
            r#"{"a" : 1.50}"#,
        ),
        (r#""data":"text""#, "application/json", r#""text""#),
        (r#""data":null"#, "application/json", "null"),
        (r#""data":1e999"#, "application/json", "1e999"),
        (
            r#""data":true,"datacontenttype":"text/json""#,
            "text/json",
            "true",
        ),
        (
            r#""data":"<a/>","datacontenttype":"application/xml""#,
            "application/xml",
            "<a/>",
        ),
        (
            r#""data":null,"datacontenttype":"application/xml""#,
            "application/xml",
            "",
        ),
        (
            r#""data_base64":"YQ","datacontenttype":"application/json""#,
            "application/json",
            "a",
        ),
        (
            r#""data":null,"data_base64":"YQ==""#,
            "application/octet-stream",
            "a",
        ),
        (r#""subject":null"#, "application/octet-stream", ""),
    ] {
        let body = format!(
            r#" {{{members}, "type":"x", "id":"{ID}", "source":"/a", "specversion":"1.0"}} "#
        );
        let before = SystemTime::now();
        let event = read(Binding::Nats, &[], body.leak()).expect(members);
        assert_eq!(
            (&*event.content_type, &*event.payload),
            (content_type, payload.as_bytes())
        );
        assert!((before..=SystemTime::now()).contains(&event.created_at));
        assert!(event.headers.is_empty(), "{event:?}");
    }
    let body = r#"{"specversion":"1.0","id":"01900000-0000-7000-8000-000000000007","source":"/a","type":"x",
        "subject":"s","unset":null,"count":5,"flag":true,"partitionkey":"k","dataschema":"https://a/b"}"#;
    let headers = [
        (
            "Content-Type",
            "Application/CloudEvents+JSON; charset=UTF-8",
        ),
        ("ce-id", "other"),
        ("x-b3", "hop"),
    ];
    let event = read(Binding::Kafka, &headers, body).unwrap();
    assert_eq!(event.ordering_key.as_deref(), Some("k"));
    let headers: Vec<(&str, &str)> = event
        .headers
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    let expected = [
        ("count", "5"),
        ("dataschema", "https://a/b"),
        ("flag", "true"),
        ("subject", "s"),
        ("x-b3", "hop"),
    ];
    assert_eq!(headers, expected);
}

#[test]
fn binary_events_of_others_are_read() {
    for (binding, prefix) in [
        (Binding::Nats, "Ce-"),
        (Binding::Http, "ce-"),
        (Binding::Amqp, "cloudEvents:"),
        (Binding::Amqp, "cloudEvents_"),
        (Binding::Kafka, "ce_"),
        (Binding::Fields, "ce-"),
    ] {
        let name = |attribute: &str| format!("{prefix}{attribute}");
        let headers = [
            (name("Type"), "x"),
            (name("Time"), "2026-01-31T12:00:00.5+02:00"),
            (name("partitionkey"), "k"),
            (name("Tenant"), "t"),
            (name("datacontenttype"), "text/a"),
            (name("ID"), ID),
            (name("specversion"), "1.0"),
        ];
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (&**name, *value))
            .collect();
        let event = read(binding, &headers, "body").unwrap();
        assert_eq!(event.id.to_string(), ID);
        assert_eq!(event.ordering_key.as_deref(), Some("k"));
        assert_eq!(event.headers["tenant"], "t");
        assert_eq!(event.content_type, "text/a");
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_769_853_600_500);
        assert_eq!(event.created_at, time);
    }
}

/// cloudevents/sdk-go#1331 and cloudevents/sdk-java#748: these write values without encoding them.
#[test]
fn values_that_others_do_not_encode_are_read() {
    for (written, meant) in [
        ("a b", "a b"),
        ("100%", "100%"),
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("%e2%82%ac", "€"),
        ("%41", "A"),
        ("größe", "größe"),
        (r#""a \"b\" \\%20c""#, r#"a "b" \ c"#),
        (r#"""#, r#"""#),
    ] {
        let event = read(
            Binding::Http,
            &with(BINARY, "ce-subject", Some(written)),
            "",
        )
        .unwrap();
        assert_eq!(event.headers["subject"], meant, "{written}");
        let event = read(
            Binding::Kafka,
            &with(BINARY, "ce-subject", Some(written)),
            "",
        )
        .unwrap();
        assert_eq!(event.headers["subject"], written, "{written}");
    }
}

#[test]
fn headers_of_others_are_kept_and_those_of_the_broker_left_out() {
    let headers = [
        ("tenant", "100%25"),
        ("Nats-Msg-Id", "1"),
        ("status", "503"),
        ("x-delay", "1"),
        ("CC", "a"),
        ("outbox-later", "of a later version"),
    ];
    let headers: Vec<_> = RAW.into_iter().chain(headers).collect();
    for (binding, expected) in [
        (Binding::Nats, &["CC", "tenant", "x-delay"][..]),
        (Binding::Http, &[]),
        (Binding::Amqp, &["Nats-Msg-Id", "status", "tenant"]),
        (
            Binding::Kafka,
            &["CC", "Nats-Msg-Id", "status", "tenant", "x-delay"],
        ),
    ] {
        let event = read(binding, &headers, "").unwrap();
        let names: Vec<&str> = event.headers.keys().map(String::as_str).collect();
        assert_eq!(names, expected, "{binding:?}");
        if binding != Binding::Http {
            assert_eq!(event.headers["tenant"], "100%25");
        }
    }
}

#[test]
fn a_hop_does_not_change_the_trace_of_the_event() {
    let event = Event::new("x", "").header("traceparent", "of the producer");
    for mode in [Mode::CloudEventsBinary, Mode::CloudEventsStructured] {
        let form = WireForm::new(mode);
        let message = form.write(Binding::Nats, &event).unwrap();
        assert_eq!(value(&message, "traceparent"), Some("of the producer"));
        let headers = message.headers.iter().map(|(name, value)| match &**name {
            "traceparent" => ("traceparent", "of the hop"),
            name => (name, &**value),
        });
        let content_type = Some(&*message.content_type);
        let read =
            outbox_core::wire::read(Binding::Nats, content_type, headers, message.body.clone());
        assert_eq!(read.unwrap().headers, event.headers, "{mode}");
    }
}

#[test]
fn what_can_never_be_written_is_permanent() {
    let early = SystemTime::UNIX_EPOCH - Duration::from_secs(62_167_219_201);
    let late = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_800);
    let long = "x".repeat(256);
    for (event, problem) in [
        (
            Event::new("", ""),
            "event type is empty, but must be 1 to 1024 bytes",
        ),
        (
            Event::new("x", "").created_at(early),
            "but must be in the years 0 to 9999",
        ),
        (
            Event::new("x", "").created_at(late),
            "but must be in the years 0 to 9999",
        ),
        (
            Event::new("x", "").content_type(&*long),
            "content type is 256 bytes long, but must be at most 255",
        ),
        (
            Event::new("x", "").header(long.to_uppercase(), ""),
            "header name is 256 bytes long, but must be",
        ),
    ] {
        let error = WireForm::default()
            .write(Binding::Amqp, &event)
            .unwrap_err();
        assert_eq!(error.kind(), PublishErrorKind::Permanent);
        let cause = error.source().unwrap().to_string();
        assert!(cause.contains(problem), "{cause}");
    }
}

#[test]
fn a_mode_is_parsed_from_its_name_and_a_source_is_checked() {
    for mode in [
        Mode::Raw,
        Mode::CloudEventsBinary,
        Mode::CloudEventsStructured,
    ] {
        assert_eq!(mode.to_string().parse::<Mode>().unwrap(), mode);
    }
    let error = "Raw".parse::<Mode>().unwrap_err().to_string();
    let allowed = "but must be raw, cloudevents-binary or cloudevents-structured";
    assert_eq!(
        error,
        format!("wire: parse: invalid: wire form is \"Raw\", {allowed}")
    );
    for source in [
        "outbox",
        "/a/b:c",
        "urn:shop:1",
        "https://a.b/c?d=e#f",
        "a%20b",
        "//h",
        "#a",
        "?a:b",
    ] {
        assert!(WireForm::default().source(source).is_ok(), "{source}");
    }
    for source in [
        "", "a b", "é", "a%2", "a%zz", "1:b", "a#b#c", "a\nb", "<a>", ":",
    ] {
        let error = WireForm::default().source(source).unwrap_err().to_string();
        let problem = format!("source is {source:?}, but must be a URI-reference such as");
        assert!(error.contains(&problem), "{error}");
    }
}
