//! The exact bytes of each mode, which are the examples of `docs/wire-form.md`.

use outbox_core::Event;
use outbox_core::wire::{Binding, Message, Mode, WireForm};
use std::time::{Duration, SystemTime};

const DOCS: &str = include_str!("../../../docs/wire-form.md");

/// The event of the page.
fn event() -> Event {
    Event::new("order.placed", r#"{"order":7}"#)
        .id("01900000-0000-7000-8000-000000000007"
            .parse()
            .expect("a UUID"))
        .content_type("application/json")
        .ordering_key("order 7")
        .created_at(SystemTime::UNIX_EPOCH + Duration::from_micros(1_769_860_800_000_250))
        .header("tenant", "größe")
        .header("Nats-Msg-Id", "mine")
        .header("X-Shop", "eu 1")
        .header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )
}

fn shown(message: &Message<'_>) -> String {
    let headers = message.headers.iter();
    let headers = headers.map(|(name, value)| format!("{name}: {value}\n"));
    let body = std::str::from_utf8(&message.body).expect("text");
    let headers: String = headers.collect();
    format!(
        "content-type: {}\n{headers}\n{body}\n",
        message.content_type
    )
}

/// The block below the heading.
fn documented(heading: &str) -> &'static str {
    let (_, section) = DOCS
        .split_once(&format!("\n### {heading}\n"))
        .expect(heading);
    let (_, block) = section.split_once("```text\n").expect(heading);
    block.split_once("```\n").expect(heading).0
}

#[test]
fn the_examples_of_the_page_are_what_is_written() {
    for (heading, mode, binding) in [
        ("Raw, on NATS", Mode::Raw, Binding::Nats),
        ("Raw, on RabbitMQ", Mode::Raw, Binding::Amqp),
        (
            "CloudEvents binary, on NATS",
            Mode::CloudEventsBinary,
            Binding::Nats,
        ),
        (
            "CloudEvents binary, on RabbitMQ",
            Mode::CloudEventsBinary,
            Binding::Amqp,
        ),
        (
            "CloudEvents binary, on Kafka",
            Mode::CloudEventsBinary,
            Binding::Kafka,
        ),
        (
            "CloudEvents structured, on NATS",
            Mode::CloudEventsStructured,
            Binding::Nats,
        ),
    ] {
        let event = event();
        let form = WireForm::new(mode).source("/shop").unwrap();
        let message = form.write(binding, &event).unwrap();
        assert_eq!(shown(&message), documented(heading), "{heading}");
    }
}

#[test]
fn the_payload_is_in_the_member_that_keeps_its_bytes() {
    let form = WireForm::new(Mode::CloudEventsStructured);
    for (content_type, payload, member) in [
        (
            "application/json",
            &b"{\"a\": [1.0,\n2]}"[..],
            "\"data\":{\"a\": [1.0,\n2]}}",
        ),
        ("Application/Problem+JSON; x=1", b"1.50", r#""data":1.50}"#),
        ("application/json", b"\"text\"", r#""data":"text"}"#),
        ("application/json", b"null", r#""data":null}"#),
        ("application/json", b"{} ", r#""data_base64":"e30g"}"#),
        ("application/json", b"{", r#""data_base64":"ew=="}"#),
        ("application/json", b"\"\xff\"", r#""data_base64":"Iv8i"}"#),
        ("text/plain", b"a\"\n\xc3\xa9", r#""data":"a\"\né"}"#),
        ("TEXT/CSV; charset=\"UTF-8\"", b"a", r#""data":"a"}"#),
        (
            "text/plain; charset=utf-16",
            b"a",
            r#""data_base64":"YQ=="}"#,
        ),
        ("text/plain", b"\xff", r#""data_base64":"/w=="}"#),
        (
            "application/octet-stream",
            b"{}",
            r#""data_base64":"e30="}"#,
        ),
        ("jsonish", b"{}", r#""data_base64":"e30="}"#),
    ] {
        let event = Event::new("x", payload).content_type(content_type);
        let message = form.write(Binding::Kafka, &event).unwrap();
        let body = std::str::from_utf8(&message.body).unwrap();
        assert!(body.ends_with(member), "{content_type}: {body}");
    }
    let event = Event::new("x", "").content_type("application/json");
    let message = form.write(Binding::Kafka, &event).unwrap();
    let body = std::str::from_utf8(&message.body).unwrap();
    assert!(
        !body.contains("data\"") && !body.contains("data_"),
        "{body}"
    );
}

#[test]
fn the_payload_is_not_copied_raw_and_in_binary_mode() {
    let event = event();
    for mode in [Mode::Raw, Mode::CloudEventsBinary] {
        let message = WireForm::new(mode);
        let message = message.write(Binding::Nats, &event).unwrap();
        assert_eq!(message.body.as_ptr(), event.payload.as_ptr(), "{mode}");
    }
}

#[test]
fn only_what_cloudevents_allow_is_an_attribute() {
    let form = WireForm::new(Mode::CloudEventsBinary);
    for (name, value, written) in [
        ("tenant", "a b", "ce_tenant"),
        ("subject", "a", "ce_subject"),
        ("dataschema", "https://a/b", "ce_dataschema"),
        ("dataschema", "order", "dataschema"),
        ("tenant", "", "tenant"),
        ("tenant", "a\nb", "tenant"),
        ("tenant", "\u{85}", "tenant"),
        ("tenant", "\u{fdd0}", "tenant"),
        ("tenant", "\u{1ffff}", "tenant"),
        ("Tenant", "a", "Tenant"),
        ("a_b", "a", "a_b"),
        ("data", "a", "data"),
        ("id", "a", "id"),
        ("partitionkey", "a", "partitionkey"),
    ] {
        let event = Event::new("x", "").ordering_key("").header(name, value);
        let message = form.write(Binding::Kafka, &event).unwrap();
        let headers: Vec<&str> = message.headers.iter().map(|(name, _)| &**name).collect();
        assert!(headers.contains(&written), "{name} {value:?}: {headers:?}");
        assert!(headers.contains(&"outbox-key"), "{headers:?}");
        assert_eq!(headers.len(), 7, "{headers:?}");
    }
}
