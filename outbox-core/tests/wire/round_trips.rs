//! Any event comes back unchanged, and none of its headers steers a broker.

use crate::BINDINGS;
use outbox_core::wire::{self, Binding, Message, Mode, WireForm};
use outbox_core::{Event, Headers};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use std::time::{Duration, SystemTime};
use uuid::Uuid;

const NAMES: &[&str] = &[
    "",
    "outbox-id",
    "outbox-key",
    "Outbox-Header-x",
    "outbox%2Did",
    "ce-id",
    "CE-specversion",
    "ce_type",
    "cloudEvents:id",
    "CLOUDEVENTS_time",
    "content-type",
    "Content-Type",
    "Nats-Msg-Id",
    "My-Nats-Msg-Id",
    "nats-TTL",
    "Nmqtt-Pub",
    "KV-Operation",
    "Status",
    "description",
    "CC",
    "bcc",
    "X-Delay",
    "x-tenant",
    "host",
    "traceparent",
    "tracestate",
    "baggage",
    "Traceparent",
    "data",
    "data_base64",
    "id",
    "source",
    "type",
    "time",
    "specversion",
    "datacontenttype",
    "partitionkey",
    "subject",
    "dataschema",
    "a b",
    " a",
    "a:b",
    "a\r\nb",
    "é",
    "%41",
    "A",
    "a",
    "\0",
];

const VALUES: &[&str] = &[
    "",
    " ",
    " a ",
    "a ",
    "a b",
    "100%",
    "%41",
    "%ff",
    "\"quoted\"",
    "\"",
    "a\r\nNats-Msg-Id: b",
    "é",
    "\u{85}",
    "\u{fffe}",
    "/orders",
    "https://shop.example/a%20b",
    "null",
    "true",
    "\0",
];

const CONTENT_TYPES: &[&str] = &[
    "application/json",
    "application/vnd.shop+json; charset=utf-8",
    "text/plain",
    "TEXT/json",
    "text/csv;charset=utf-16",
    "application/cloudevents+json",
    "application/cloudevents-batch+json",
    "application/octet-stream",
    "a%41b",
    " x ",
];

const PAYLOADS: &[&str] = &[
    "",
    " ",
    "{}",
    " {}",
    "{}\n",
    "{\"a\":1.0,\"a\":1}",
    "null",
    "\"\\ud800\"",
    "1e999",
    "{",
    "é",
    "\u{feff}{}",
];

const MODES: [Mode; 3] = [
    Mode::Raw,
    Mode::CloudEventsBinary,
    Mode::CloudEventsStructured,
];

fn text(some: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop_oneof![
        3 => proptest::sample::select(some).prop_map(str::to_owned),
        1 => "[a-z0-9]{1,8}",
        1 => any::<String>(),
    ]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::sample::select(PAYLOADS).prop_map(|text| text.as_bytes().to_vec()),
        vec(any::<u8>(), 0..64),
    ]
}

/// From the year 0 to the end of 9999.
fn time() -> impl Strategy<Value = SystemTime> {
    (-62_167_219_200_i64..=253_402_300_799, 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| {
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let epoch = SystemTime::UNIX_EPOCH;
        let time = if seconds < 0 {
            epoch - whole
        } else {
            epoch + whole
        };
        time + Duration::from_nanos(nanos.into())
    })
}

fn to_the_microsecond(time: SystemTime) -> SystemTime {
    let far = SystemTime::UNIX_EPOCH - Duration::from_secs(62_167_219_200);
    let nanos = time.duration_since(far).expect("later").subsec_nanos() % 1000;
    time - Duration::from_nanos(nanos.into())
}

prop_compose! {
    fn event()(
        id in any::<u128>(),
        event_type in text(VALUES).prop_filter("empty", |text| !text.is_empty()),
        payload in payload(),
        content_type in text(CONTENT_TYPES).prop_filter("empty", |text| !text.is_empty()),
        headers in btree_map(text(NAMES), text(VALUES), 0..6),
        key in proptest::option::of(text(VALUES)),
        created_at in time(),
    ) -> Event {
        let mut event = Event::new(event_type, payload)
            .id(Uuid::from_u128(id).into())
            .content_type(content_type)
            .created_at(created_at);
        event.headers = headers;
        event.ordering_key = key;
        event
    }
}

/// What the broker and its clients do to a message on its way.
fn carried(binding: Binding, message: &Message<'_>) -> Result<Headers, TestCaseError> {
    let mut carried = Headers::new();
    for (name, value) in &message.headers {
        let (mut name, mut value) = (name.to_string(), value.to_string());
        prop_assert!(!name.is_empty(), "a header without a name");
        if matches!(binding, Binding::Nats | Binding::Http) {
            let token =
                |byte: u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte);
            prop_assert!(name.bytes().all(token), "{name:?}");
            prop_assert!(
                value.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
                "{value:?}"
            );
            value = str::trim(&value).into();
        }
        // A server of NATS would take it for the id of the message.
        let has_id = name.contains("Nats-Msg-Id") || value.contains("Nats-Msg-Id");
        prop_assert!(binding != Binding::Nats || !has_id, "{name:?}: {value:?}");
        if binding == Binding::Http {
            name.make_ascii_lowercase();
        }
        prop_assert!(!steers(binding, &name), "{binding:?} acts on {name:?}");
        let other = carried.insert(name, value);
        prop_assert!(other.is_none(), "two headers of one name");
    }
    let broker = match binding {
        Binding::Nats => ("Nats-Msg-Id", "ours"),
        Binding::Http => ("host", "shop.example"),
        Binding::Amqp => ("x-death", "1"),
        _ => return Ok(carried),
    };
    carried.insert(broker.0.to_owned(), broker.1.to_owned());
    Ok(carried)
}

/// What the documentation of each broker says that it acts on.
fn steers(binding: Binding, name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    match binding {
        Binding::Nats => {
            name.starts_with("nats-")
                || ["kv-operation", "nmqtt-pub", "status", "description"].contains(&&*name)
        }
        Binding::Http => ["host", "content-type", "x-tenant", "x-delay"].contains(&&*name),
        Binding::Amqp => name.starts_with("x-") || name == "cc" || name == "bcc",
        _ => name == "content-type",
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_event_comes_back_unchanged(event in event()) {
        for binding in BINDINGS {
            for mode in MODES {
                let form = WireForm::new(mode).source("https://shop.example/a%20b").unwrap();
                let message = match form.write(binding, &event) {
                    Ok(message) => message,
                    Err(error) => {
                        let long = event.headers.keys().any(|name| name.len() > 200);
                        prop_assert!(binding == Binding::Amqp && long, "{error:?}");
                        continue;
                    }
                };
                let headers = carried(binding, &message)?;
                let headers = headers.iter().map(|(name, value)| (&**name, &**value));
                let content_type = match binding {
                    Binding::Nats | Binding::Http => message.content_type.trim(),
                    _ => &message.content_type,
                };
                let read = wire::read(binding, Some(content_type), headers, message.body.clone());
                let mut expected = event.clone();
                expected.created_at = to_the_microsecond(event.created_at);
                prop_assert_eq!(read.unwrap(), expected, "{} {:?} {:?}", mode, binding, message);
            }
        }
    }

    /// It may also be among the headers, as on NATS.
    #[test]
    fn the_content_type_may_be_a_header(event in event(), upper_case: bool) {
        let name = if upper_case { "Content-Type" } else { "content-type" };
        for mode in MODES {
            let form = WireForm::new(mode);
            let message = form.write(Binding::Nats, &event).unwrap();
            let headers = message.headers.iter().map(|(name, value)| (&**name, &**value));
            let headers = headers.chain([(name, &*message.content_type)]);
            let read = wire::read(Binding::Nats, None, headers, message.body.clone()).unwrap();
            prop_assert_eq!(read.content_type, event.content_type.clone());
            prop_assert_eq!(read.headers, event.headers.clone());
        }
    }
}
