//! The official SDK reads our messages, and we read its messages.

use crate::value;
use cloudevents::binding::http::to_event;
use cloudevents::{AttributesReader, Data, EventBuilder, EventBuilderV10};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use outbox_core::wire::{self, Binding, Message, Mode, WireForm};
use outbox_core::{Event, EventId};
use std::time::SystemTime;

fn sent(message: &Message<'_>) -> cloudevents::Event {
    let mut headers = HeaderMap::new();
    headers.insert(
        "content-type",
        message.content_type.parse().expect("a value"),
    );
    for (name, value) in &message.headers {
        let name: HeaderName = name.parse().expect("a name");
        let value = HeaderValue::from_str(value).expect("a value");
        headers.insert(name, value);
    }
    to_event(&headers, message.body.to_vec()).expect("read by the SDK")
}

fn bytes(event: &cloudevents::Event) -> Vec<u8> {
    match event.data() {
        Some(Data::Binary(bytes)) => bytes.clone(),
        Some(Data::String(text)) => text.clone().into_bytes(),
        Some(Data::Json(json)) => serde_json::to_vec(json).expect("JSON"),
        None => Vec::new(),
    }
}

#[test]
fn the_sdk_reads_what_is_written() {
    for (content_type, payload) in [
        ("application/json", &br#"{"order":7}"#[..]),
        ("application/json", b"not json"),
        ("text/plain", b"caf\xc3\xa9"),
        ("application/octet-stream", b"\xff\x00"),
        ("application/cloudevents+json", br#"{"a":1}"#),
        ("application/json", b""),
    ] {
        let event = Event::new("order.placed", payload)
            .content_type(content_type)
            .ordering_key("order-7")
            .header("tenant", "eu")
            .header("subject", "s")
            .header("dataschema", "https://shop.example/order")
            .header("traceparent", "00-1-2-01")
            .header("Not-An-Attribute", "x")
            .header("id", "not the id");
        for mode in [Mode::CloudEventsBinary, Mode::CloudEventsStructured] {
            let form = WireForm::new(mode).source("/shop").unwrap();
            let message = form.write(Binding::Http, &event).unwrap();
            let read = sent(&message);
            assert_eq!(read.id(), event.id.to_string());
            assert_eq!(read.ty(), "order.placed");
            assert_eq!(read.source(), "/shop");
            assert_eq!(read.subject(), Some("s"));
            assert_eq!(
                read.dataschema().map(ToString::to_string).as_deref(),
                Some("https://shop.example/order")
            );
            assert_eq!(read.datacontenttype(), Some(content_type));
            let time = SystemTime::from(*read.time().unwrap());
            let cut = event.created_at.duration_since(time).unwrap();
            assert!(cut.as_nanos() < 1000, "{cut:?}");
            let mut extensions: Vec<String> = read
                .iter_extensions()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            extensions.sort();
            assert_eq!(
                extensions,
                ["partitionkey=order-7", "tenant=eu", "traceparent=00-1-2-01"],
                "{mode}"
            );
            assert_eq!(bytes(&read), payload, "{mode} {content_type}");
        }
    }
}

#[test]
fn what_the_sdk_writes_is_read() {
    let id = EventId::new();
    for (content_type, data, payload) in [
        (
            "application/json",
            Data::Json(serde_json::json!({"order": 7})),
            &br#"{"order":7}"#[..],
        ),
        (
            "application/json",
            Data::Json(serde_json::json!("text")),
            br#""text""#,
        ),
        (
            "text/plain",
            Data::String("café".to_owned()),
            "café".as_bytes(),
        ),
        (
            "application/octet-stream",
            Data::Binary(vec![0xff, 0]),
            b"\xff\x00",
        ),
    ] {
        let written = EventBuilderV10::new()
            .id(id.to_string())
            .ty("order.placed")
            .source("https://shop.example/orders")
            .subject("s")
            .time("2026-01-31T12:00:00.25+01:00")
            .extension("partitionkey", "order-7")
            .extension("count", 5)
            .extension("flag", true)
            .data(content_type, data)
            .build()
            .unwrap();
        let structured = serde_json::to_vec(&written).unwrap();
        let binary: Request<Option<Vec<u8>>> = written.try_into().unwrap();
        let headers = binary.headers().iter();
        let headers = headers.map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
        let binary_body = binary.body().clone().unwrap().into();
        let events = [
            wire::read(Binding::Http, None, headers, binary_body).unwrap(),
            wire::read(
                Binding::Http,
                Some("application/cloudevents+json"),
                [],
                structured.into(),
            )
            .unwrap(),
        ];
        for event in events {
            assert_eq!((event.id, &*event.event_type), (id, "order.placed"));
            assert_eq!(event.ordering_key.as_deref(), Some("order-7"));
            assert_eq!(
                (&*event.content_type, &*event.payload),
                (content_type, payload)
            );
            let headers: Vec<String> = event
                .headers
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            assert_eq!(headers, ["count=5", "flag=true", "subject=s"]);
            let time = event
                .created_at
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap();
            assert_eq!(time.as_micros(), 1_769_857_200_250_000);
        }
    }
}

/// cloudevents/sdk-rust does not decode values, so this shows what such a consumer sees.
#[test]
fn the_sdk_sees_values_encoded() {
    let event = Event::new("order placed", "").header("tenant", "größe");
    let form = WireForm::new(Mode::CloudEventsBinary);
    let message = form.write(Binding::Http, &event).unwrap();
    assert_eq!(value(&message, "ce-tenant"), Some("gr%C3%B6%C3%9Fe"));
    assert_eq!(sent(&message).ty(), "order%20placed");
}
