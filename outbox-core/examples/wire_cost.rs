//! What it costs to write and to read an event with 1 KB of JSON, in each mode:
//! `cargo run --release -p outbox-core --example wire_cost --features wire`

use outbox_core::wire::{self, Binding, Mode, WireForm};
use outbox_core::{Event, OutboxError};
use std::hint::black_box;
use std::time::Instant;

const EVENTS: u32 = 1000;
const ROUNDS: u32 = 500;

/// The nanoseconds of one call, in the fastest round.
fn nanos<T>(mut call: impl FnMut() -> T) -> f64 {
    let round = |_| {
        let start = Instant::now();
        for _ in 0..EVENTS {
            black_box(call());
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(EVENTS)
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let items: Vec<_> = (0..16)
        .map(|number| {
            format!(r#"{{"item":{number},"name":"a thing to buy","price":1.25,"n":[1,2]}}"#)
        })
        .collect();
    let payload = format!(r#"{{"order":7,"items":[{}]}}"#, items.join(","));
    println!("{} bytes of JSON, 2 headers, ordering key", payload.len());
    let event = Event::new("order.placed", payload)
        .content_type("application/json")
        .ordering_key("order-7")
        .header("tenant", "eu")
        .header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        );
    for mode in [
        Mode::Raw,
        Mode::CloudEventsBinary,
        Mode::CloudEventsStructured,
    ] {
        for binding in [Binding::Nats, Binding::Amqp] {
            let form = WireForm::new(mode);
            let message = form.write(binding, &event)?;
            let written = nanos(|| form.write(binding, &event).is_ok());
            let read = || -> Result<Event, OutboxError> {
                let headers = message.headers.iter();
                let headers = headers.map(|(name, value)| (&**name, &**value));
                wire::read(
                    binding,
                    Some(&message.content_type),
                    headers,
                    message.body.clone(),
                )
            };
            assert_eq!(read()?.headers, event.headers);
            let read = nanos(|| read().is_ok());
            println!("{mode} {binding:?}: write {written:.0} ns, read {read:.0} ns");
        }
    }
    Ok(())
}
