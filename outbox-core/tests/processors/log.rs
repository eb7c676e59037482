//! Captures what a call logs.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::instrument::WithSubscriber;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

/// The lines of `call` at `info` and above, each as `LEVEL message field=value …`.
pub(crate) async fn logged<T>(call: impl Future<Output = T>) -> (T, Vec<String>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let capture = Dispatch::new(Capture(Arc::clone(&lines)));
    // With a single subscriber, `tracing` caches per callsite whether the first thread listens. A
    // second one makes it ask the subscriber of each thread.
    let second = Dispatch::new(Capture(Arc::default()));
    let result = call.with_subscriber(capture).await;
    drop(second);
    let lines = lines.lock().expect("no panic while locked").clone();
    (result, lines)
}

/// The only line that contains `text`.
pub(crate) fn only<'a>(lines: &'a [String], text: &str) -> &'a str {
    let found: Vec<&String> = lines.iter().filter(|line| line.contains(text)).collect();
    assert_eq!(found.len(), 1, "one line has {text:?}: {lines:#?}");
    found[0]
}

struct Capture(Arc<Mutex<Vec<String>>>);

impl Subscriber for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let text = format!(
            "{} {}{}",
            event.metadata().level(),
            line.message,
            line.fields
        );
        self.0.lock().expect("no panic while locked").push(text);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        write!(self.fields, " {field}={value}").expect("text");
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            write!(self.fields, " {field}={value:?}").expect("text");
        }
    }
}
