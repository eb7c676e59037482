//! Messages from a broker: any is read or refused, and an event that is read comes back unchanged from
//! each mode.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use outbox_core::wire::{self, Binding, Mode, WireForm};
use outbox_core::{Event, PublishErrorKind};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    binding: u8,
    content_type: Option<Choice<'a>>,
    headers: Vec<(Choice<'a>, Choice<'a>)>,
    body: Body<'a>,
}

/// Any text, or one that a reader looks for.
#[derive(Arbitrary, Debug)]
enum Choice<'a> {
    Text(&'a str),
    Known(u8),
    Moved(&'a str),
    Attribute(&'a str),
}

#[derive(Arbitrary, Debug)]
enum Body<'a> {
    Bytes(&'a [u8]),
    /// Members behind those that must be there.
    Members(&'a str),
}

const ID: &str = "01900000-0000-7000-8000-000000000007";

const KNOWN: [&str; 18] = [
    "outbox-id",
    "outbox-type",
    "outbox-created-at",
    "outbox-key",
    "ce-specversion",
    "ce_id",
    "cloudEvents:type",
    "Ce-Time",
    "ce-datacontenttype",
    "ce-partitionkey",
    "content-type",
    "application/cloudevents+json",
    "application/json",
    "traceparent",
    ID,
    "1.0",
    "2026-01-31T12:00:00.5+02:00",
    "\"a\\\" b%20%C3%A9\"",
];

impl Choice<'_> {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => (*text).to_owned(),
            Self::Known(number) => KNOWN[usize::from(*number) % KNOWN.len()].to_owned(),
            Self::Moved(name) => format!("outbox-header-{name}"),
            Self::Attribute(name) => format!("ce-{name}"),
        }
    }
}

const BINDINGS: [Binding; 5] = [
    Binding::Nats,
    Binding::Http,
    Binding::Amqp,
    Binding::Kafka,
    Binding::Fields,
];

fn comes_back(event: &Event, binding: Binding, mode: Mode) {
    let form = WireForm::new(mode);
    let message = match form.write(binding, event) {
        Ok(message) => message,
        Err(error) => return assert_eq!(error.kind(), PublishErrorKind::Permanent),
    };
    let headers = message.headers.iter();
    let headers = headers.map(|(name, value)| (&**name, &**value));
    let content_type = Some(&*message.content_type);
    let read = wire::read(binding, content_type, headers, message.body.clone());
    let read = read.expect("what is written is read");
    assert_eq!(
        read,
        event.clone().created_at(read.created_at),
        "{message:?}"
    );
}

fuzz_target!(|input: Input<'_>| {
    let binding = BINDINGS[usize::from(input.binding) % BINDINGS.len()];
    let headers = input.headers.iter();
    let headers: Vec<_> = headers
        .map(|(name, value)| (name.text(), value.text()))
        .collect();
    let headers = headers.iter().map(|(name, value)| (&**name, &**value));
    let content_type = input.content_type.as_ref().map(Choice::text);
    let body = match input.body {
        Body::Bytes(bytes) => bytes.to_vec(),
        Body::Members(members) => {
            format!(r#"{{"specversion":"1.0","id":"{ID}","type":"x",{members}}}"#).into_bytes()
        }
    };
    match wire::read(binding, content_type.as_deref(), headers, body.into()) {
        Ok(event) => {
            for mode in [
                Mode::Raw,
                Mode::CloudEventsBinary,
                Mode::CloudEventsStructured,
            ] {
                for binding in BINDINGS {
                    comes_back(&event, binding, mode);
                }
            }
        }
        Err(error) => assert!(error.to_string().contains(" must be "), "{error}"),
    }
});
